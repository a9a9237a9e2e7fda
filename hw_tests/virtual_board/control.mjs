// Layer: the control channel: requests of the test to the world. {id, op, ...} -> {id, result} or {id, error}.
// What lasts is answered when it is over; in manual time at once, since only the test moves time there.
const fromHex = (text) => Buffer.from(text, 'hex');

export class Control {
  constructor({clock, machine, plant, settings, reply}) {
    Object.assign(this, {clock, machine, plant, settings, reply});
    this.program = 'running';
    this.code = null;
    this.advances = [];
  }

  ended(code) {
    this.program = 'ended';
    this.code = code;
  }

  // The VM waits and nothing is left to happen before the target.
  settled() {
    for (const id of this.advances.splice(0)) this.reply({id, result: this.uptimeMs()});
  }

  uptimeMs() {
    return (this.clock.now - this.machine.bootUs) / 1000;
  }

  request(request) {
    const {id, op} = request;
    const operation = this[`op_${op}`];
    try {
      if (!operation) throw new Error(`unknown operation ${op}`);
      const result = operation.call(this, request);
      if (result !== undefined) this.reply({id, result});
    } catch (error) {
      this.reply({id, error: error.message});
    }
  }

  // Answers when `ms` have passed; in manual time at once.
  lasting(id, ms) {
    if (this.clock.mode === 'manual' || ms === 0) return ms;
    this.clock.after(ms * 1000, () => this.reply({id, result: ms}));
    return undefined;
  }

  op_advance_to({id, us}) {
    this.clock.targetUs = Math.max(this.clock.targetUs, us);
    this.advances.push(id);
  }

  op_uptime() {
    return this.uptimeMs();
  }

  op_tap({id, uid, hold_ms: holdMs}) {
    return this.lasting(id, this.plant.tap(fromHex(uid), holdMs));
  }

  op_press({id, button, ms}) {
    return this.lasting(id, this.plant.press(button, ms));
  }

  op_loop({name, occupied}) {
    return this.plant.loop(name, occupied);
  }

  op_present({id, credential, lane}) {
    return this.lasting(id, this.plant.present(fromHex(credential), lane));
  }

  op_bits({id, bits, lane}) {
    return this.lasting(id, this.plant.bits(bits, lane));
  }

  op_vehicle(request) {
    const {id} = request;
    this.plant.vehicle({...request, credential: fromHex(request.credential)}, (result) => this.reply({id, result}));
  }

  op_battery({mv}) {
    this.plant.batteryMv = mv;
    return mv;
  }

  op_boom({position, blocked}) {
    if (!this.plant.boom) throw new Error('this board has no boom');
    if (position !== undefined) this.plant.boom.force(position);
    if (blocked !== undefined) this.plant.boom.hold(blocked);
    return 0;
  }

  op_reader_fault({fault}) {
    if (!this.plant.nfc) throw new Error('this board has no card reader');
    this.plant.nfc.fault = fault;
    return 0;
  }

  op_dock({docked}) {
    return this.plant.dock(docked);
  }

  op_field() {
    if (!this.plant.nfc) throw new Error('this board has no card reader');
    return this.plant.nfc.field();
  }

  op_pin({number, level}) {
    if (level !== undefined) this.machine.pins.drive(number, level);
    return this.machine.pins.level(number);
  }

  op_cut_at({kind, nth, byte, spared}) {
    this.machine.flash.armCut(kind, nth, byte, spared);
    return 0;
  }

  op_cut() {
    this.machine.die('power', {op: 'asked'});
  }

  op_state() {
    const {clock, machine} = this;
    return {uptime_ms: Math.round(this.uptimeMs()), world_ms: Math.round(clock.now / 1000),
      behind_ms: clock.mode === 'scaled' ? Math.max(0, Math.round((clock.wall() - clock.now) / 1000)) : 0,
      slept_ms: machine.sleep.sleptMs(), deep: machine.sleep.deep, program: this.program, exit_code: this.code, flash: machine.flash.counts,
      uart_lost: machine.uarts.reduce((sum, uart) => sum + uart.lost, 0), ...this.plant.state()};
  }
}
