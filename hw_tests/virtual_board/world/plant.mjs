// Layer: everything around the chip, wired by role: contacts, reader, loops, boom, lamps, sounder, battery.
// Levels are those of firmware/boards: contacts to ground read 0 when pressed or at the limit, a free loop reads 0.
import {Boom} from './boom.mjs';
import {Ds3231} from './ds3231.mjs';
import {I2cPort, Pn532} from './pn532.mjs';
import {sendBits, wiegandBits} from './wiegand.mjs';

const KEPT = 512; // changes of outputs that are remembered
const BOUNCE_US = 800;
const LIGHTS = ['led_green', 'led_red', 'lamp', 'vibration', 'uplink_de'];
const RELAYS = {relay_up: 'up', relay_down: 'down'};

export class Plant {
  // `saved`: what state().saved was before the power went.
  constructor(machine, wiring, saved = {}, settings = {}) {
    this.clock = machine.clock;
    this.machine = machine;
    this.wiring = wiring;
    this.pins = machine.pins;
    this.outputs = {};
    this.beeps = [];
    this.loops = saved.loops ?? {safety: false, approach: false};
    this.batteryMv = saved.batteryMv ?? settings.battery_mv ?? 4000;
    this.nfc = null;
    this.boom = null;
    this.passed = 0;
    this.docked = saved.docked ?? true;
    this.pressed = {};
    for (const [role, pin] of Object.entries(wiring)) {
      if (/^(button|wiegand)_/.test(role)) this.pins.drive(pin, 1);
    }
    for (const role of LIGHTS) this.watch(role);
    if (wiring.buzzer !== undefined) this.listen(wiring.buzzer);
    if (wiring.battery_adc !== undefined) machine.adc.set(wiring.battery_adc, () => this.batteryMv * 500);
    if (wiring.reader_uart !== undefined || wiring.reader_sda !== undefined) this.wireReader(wiring, saved.reader);
    this.dock(this.docked);
    this.rtc = null;
    if (settings.rtc) { // fitted, and its battery good
      this.rtc = new Ds3231(() => this.clock.now, saved.rtc, settings.rtc_ppm ?? 0);
      machine.i2c.bus(wiring.rtc_scl, wiring.rtc_sda).attach(0x68, this.rtc);
    }
    for (const [button, us] of Object.entries(saved.pressed ?? {})) {
      if (us > this.clock.now) this.hold(button, us);
    }
    if (wiring.relay_up !== undefined) this.wireBoom(saved, settings);
    for (const name of Object.keys(this.loops)) this.loop(name, this.loops[name]);
  }

  ms() {
    return Math.round((this.clock.now - this.machine.bootUs) / 1000);
  }

  watch(role, on = () => {}) {
    const pin = this.wiring[role];
    if (pin === undefined) return;
    const seen = {level: 0, changes: []};
    this.outputs[role] = seen;
    this.pins.watch(pin, (level) => {
      seen.level = level;
      seen.changes.push([this.ms(), level]);
      if (seen.changes.length > KEPT) seen.changes.shift();
      on(level);
    });
  }

  listen(pin) {
    let since = 0;
    let pitch = 0;
    this.pins.watch(pin, (level, frequency) => {
      if (pitch) {
        this.beeps.push([since, this.ms() - since, pitch]);
        if (this.beeps.length > KEPT) this.beeps.shift();
      }
      since = this.ms();
      pitch = level ? frequency || 1 : 0;
    });
  }

  wireReader(wiring, saved) {
    if (wiring.reader_sda !== undefined) {
      const port = new I2cPort(this.clock, (level) => this.pins.drive(wiring.reader_irq, level), saved);
      this.machine.i2c.bus(wiring.reader_scl, wiring.reader_sda).attach(0x24, port);
      this.nfc = port.chip;
    } else {
      const uart = this.machine.uarts[wiring.reader_uart];
      const irq = (level) => this.pins.drive(wiring.reader_irq, level);
      this.nfc = new Pn532(this.clock, (bytes) => uart.receive(Buffer.from(bytes)), {irq, saved});
      uart.send = (bytes) => this.nfc.receive(bytes);
    }
    if (wiring.reader_reset === undefined) return;
    this.pins.pin(wiring.reader_reset).onOutput = () => {
      const pin = this.pins.pin(wiring.reader_reset);
      this.nfc.setPower(pin.mode !== 3 || pin.out === 1);
    };
  }

  // In the charger: a contact to ground, and a line to the edge.
  dock(docked) {
    this.docked = docked;
    this.pins.drive(this.wiring.dock, docked ? 0 : 1);
    return 0;
  }

  wireBoom(saved, settings) {
    const {limit_open: open, limit_closed: closed} = this.wiring;
    this.boom = new Boom(this.clock, {travelMs: settings.travel_ms, position: saved.position ?? 0}, (isOpen, isClosed) => {
      this.pins.drive(open, isOpen ? 0 : 1);
      this.pins.drive(closed, isClosed ? 0 : 1);
    });
    for (const [role, name] of Object.entries(RELAYS)) this.watch(role, (level) => this.boom.relay(name, level));
  }

  role(name) {
    const pin = this.wiring[name];
    if (pin === undefined) throw new Error(`this board has no ${name}`);
    return pin;
  }

  // Each of these starts something and returns how many milliseconds it lasts.
  tap(uid, holdMs) {
    if (!this.nfc) throw new Error('this board has no card reader');
    if (![4, 7, 10].includes(uid.length)) throw new Error('a UID has 4, 7 or 10 bytes');
    this.nfc.hold(uid, this.clock.now + holdMs * 1000);
    return holdMs;
  }

  press(button, ms) {
    const pin = this.role(`button_${button}`);
    for (const [us, level] of [[0, 0], [BOUNCE_US, 1], [2 * BOUNCE_US, 0]]) {
      this.clock.after(us, () => this.pins.drive(pin, level));
    }
    this.release(button, this.clock.now + ms * 1000);
    return ms + 2;
  }

  // A finger that was on the button before the chip woke up.
  hold(button, untilUs) {
    this.pins.drive(this.role(`button_${button}`), 0);
    this.release(button, untilUs);
  }

  release(button, us) {
    const pin = this.role(`button_${button}`);
    this.pressed[button] = us;
    for (const [later, level] of [[0, 1], [BOUNCE_US, 0], [2 * BOUNCE_US, 1]]) {
      this.clock.at(us + later, () => this.pins.drive(pin, level));
    }
  }

  loop(name, occupied) {
    this.loops[name] = occupied;
    if (name === 'safety' && this.boom) this.boom.occupy(occupied);
    this.pins.drive(this.wiring[`loop_${name}`], occupied ? 1 : 0);
    return 0;
  }

  present(credential, lane) {
    return this.bits(wiegandBits(credential), lane);
  }

  bits(bits, lane) {
    const lines = [this.role(`wiegand_${lane}_d0`), this.role(`wiegand_${lane}_d1`)];
    return sendBits(this.clock, bits, (bit, level) => this.pins.drive(lines[bit], level)) / 1000;
  }

  // A vehicle drives up, shows its credential, waits for the open boom, passes, leaves. done(outcome) at the end:
  // {outcome: 'passed' | 'turned_away', waited_ms}.
  vehicle({credential, lane, approach_ms: approachMs, pass_ms: passMs, patience_ms: patienceMs}, done) {
    const {boom, clock} = this;
    if (!boom) throw new Error('this board has no boom');
    const after = (ms, action) => clock.after(ms * 1000, action);
    const inward = lane === 'in';
    let shownUs = 0;
    // Waits for the open boom, and goes when its patience ends, also if it opened for somebody else and closed again.
    const wait = () => {
      let gone = null;
      const go = () => {
        clock.cancel(gone);
        after(600, enter);
      };
      gone = after(patienceMs, () => {
        boom.forget(go);
        if (inward) this.loop('approach', false);
        done({outcome: 'turned_away', waited_ms: Math.round((clock.now - shownUs) / 1000)});
      });
      boom.whenOpen(go);
    };
    const enter = () => {
      if (!boom.isOpen()) { // it closes again before the wheels turn
        wait();
        return;
      }
      this.loop('safety', true);
      if (inward) after(passMs * 0.4, () => this.loop('approach', false));
      after(passMs, () => {
        this.loop('safety', false);
        this.passed += 1;
        done({outcome: 'passed', waited_ms: Math.round((clock.now - shownUs) / 1000 - passMs)});
      });
    };
    if (inward) this.loop('approach', true);
    after(approachMs, () => {
      shownUs = clock.now;
      this.present(credential, lane);
      wait();
    });
  }

  state() {
    const relays = {};
    const leds = {};
    for (const [role, seen] of Object.entries(this.outputs)) (role in RELAYS ? relays : leds)[role] = seen;
    return {leds, relays, beeps: this.beeps, loops: this.loops, battery_mv: this.batteryMv, passed: this.passed,
      boom: this.boom ? this.boom.state() : null, docked: this.docked, searches: this.nfc?.searches ?? 0,
      reader_awake: this.nfc?.awake ?? false};
  }

  saved() {
    return {loops: this.loops, batteryMv: this.batteryMv, docked: this.docked, pressed: this.pressed,
      ...(this.rtc ? {rtc: this.rtc.saved()} : {}), ...(this.nfc ? {reader: this.nfc.saved()} : {}), ...(this.boom ? {position: this.boom.position()} : {})};
  }
}
