// Layer: a PN532 (NXP UM0701-02): what it answers to which bytes, and when. On a UART (HSU) what it says goes out at
// once; on I2C it waits for the host to fetch it, with its IRQ line low.
const ACK = Buffer.from([0, 0, 0xff, 0, 0xff, 0]);
const ERROR = Buffer.from([0, 0, 0xff, 1, 0xff, 0x7f, 0x81, 0]);
const ACK_US = 400;
const ANSWER_US = 2000;
const DETECT_US = 15000; // from a card in the field to the answer
const TRY_US = 30000; // one search for a card
const ATQA = {4: [0x00, 0x04, 0x08], 7: [0x00, 0x44, 0x00], 10: [0x00, 0x84, 0x20]}; // SENS_RES 2, SEL_RES

export class Pn532 {
  // `send(bytes)`: towards the host. `irq(level)`: the IRQ line. `reset` pin low: powered down. `saved`: from saved().
  constructor(clock, send, {irq = () => {}, saved = {}} = {}) {
    this.clock = clock;
    this.send = send;
    this.irq = irq;
    this.card = null; // UID bytes in the field
    this.cardUntilUs = 0;
    this.powered = true;
    this.fault = null; // 'mute' | 'garble' | 'nack': what a test may break
    this.searches = 0;
    this.reset();
    Object.assign(this, {awake: saved.awake ?? false, wakeOnField: saved.wakeOnField ?? false});
    if (saved.card && saved.cardUntilUs > clock.now) this.hold(Buffer.from(saved.card, 'hex'), saved.cardUntilUs);
  }

  // What outlives a reset of the host: the chip has its own power.
  saved() {
    return {awake: this.awake, wakeOnField: this.wakeOnField, card: this.card?.toString('hex') ?? null,
      cardUntilUs: this.cardUntilUs};
  }

  hold(uid, untilUs) {
    this.cardUntilUs = untilUs;
    this.place(uid);
    this.clock.at(untilUs, () => {
      if (this.card === uid) this.place(null);
    });
  }

  // A phone or another reader comes near: only that wakes a chip in power-down that watches for it.
  field() {
    if (this.awake || !this.wakeOnField) return false;
    this.awake = true;
    this.wakeOnField = false;
    this.irq(0);
    return true;
  }

  reset() {
    this.clock.cancel(this.timer);
    this.buffer = Buffer.alloc(0);
    this.awake = false; // the UART wakes on 0x55
    this.retries = 0xff;
    this.searching = null;
    this.selected = null;
    this.last = null;
    this.timer = null;
    this.wakeOnField = false;
    this.irq(1);
  }

  setPower(on) {
    if (on === this.powered) return;
    this.powered = on;
    this.reset();
  }

  place(uid) {
    this.card = uid;
    if (uid === null) {
      this.selected = null;
      return;
    }
    if (this.searching) this.later(DETECT_US, () => this.found());
  }

  later(us, action) {
    this.clock.cancel(this.timer);
    this.timer = this.clock.after(us, action);
  }

  receive(bytes) {
    if (!this.powered || this.fault === 'mute') return;
    this.buffer = Buffer.concat([this.buffer, bytes]);
    while (this.next());
  }

  // Takes one frame out of the buffer; false: nothing whole is there.
  next() {
    const data = this.buffer;
    const start = data.indexOf(Buffer.from([0, 0xff]));
    const preamble = start < 0 ? data : data.subarray(0, start);
    if (preamble.includes(0x55)) this.wake();
    if (start < 0) {
      this.buffer = data.subarray(Math.max(0, data.length - 1));
      return false;
    }
    if (data.length < start + 4) return false;
    const length = data[start + 2];
    const check = data[start + 3];
    if (length === 0 && check === 0xff) {
      this.buffer = data.subarray(start + 4);
      this.abort();
      return true;
    }
    if (length === 0xff && check === 0) {
      this.buffer = data.subarray(start + 4);
      if (this.last) this.later(ANSWER_US, () => this.put(this.last));
      return true;
    }
    if (((length + check) & 0xff) !== 0) {
      this.buffer = data.subarray(start + 2);
      return true;
    }
    if (data.length < start + 5 + length) return false;
    const body = data.subarray(start + 4, start + 4 + length);
    const sum = body.reduce((total, byte) => total + byte, data[start + 4 + length]) & 0xff;
    this.buffer = data.subarray(start + 5 + length);
    if (!this.awake) return true;
    if (sum !== 0 || body[0] !== 0xd4) this.put(ERROR);
    else this.command(body[1], body.subarray(2));
    return true;
  }

  wake() {
    this.awake = true;
    this.wakeOnField = false;
    this.irq(1);
  }

  abort() {
    this.clock.cancel(this.timer);
    this.timer = null;
    this.searching = null;
  }

  put(bytes) {
    if (this.fault === 'garble') {
      const broken = Buffer.from(bytes);
      broken[broken.length - 2] ^= 0x01;
      this.send(broken);
      return;
    }
    this.send(bytes);
  }

  answer(code, data) {
    const body = Buffer.from([0xd5, code + 1, ...data]);
    const sum = body.reduce((total, byte) => total + byte, 0);
    this.last = Buffer.concat([Buffer.from([0, 0, 0xff, body.length, -body.length & 0xff]), body,
      Buffer.from([-sum & 0xff, 0])]);
    this.put(this.last);
  }

  command(code, data) {
    this.abort();
    this.clock.after(ACK_US, () => this.send(ACK));
    const reply = (bytes) => this.later(ANSWER_US, () => this.answer(code, bytes));
    if (code === 0x02) reply([0x32, 0x01, 0x06, 0x07]); // GetFirmwareVersion: PN532 1.6
    else if (code === 0x04) reply([0, 0, this.selected ? 1 : 0, 0x80]); // GetGeneralStatus
    else if (code === 0x14) reply([]); // SAMConfiguration
    else if (code === 0x32) {
      if (data[0] === 5 && data.length >= 4) this.retries = data[3];
      reply([]);
    } else if (code === 0x4a) this.search(data);
    else if (code === 0x52 || code === 0x44) {
      this.selected = null;
      reply([0]);
    } else if (code === 0x40) reply([0x01]); // InDataExchange: the card does not answer
    else if (code === 0x16) { // PowerDown: wake-up sources, IRQ when woken
      this.later(ANSWER_US, () => {
        this.answer(code, [0]);
        this.awake = false;
        this.wakeOnField = (data[0] & 0x08) !== 0 && data[1] === 1;
      });
    } else this.later(ANSWER_US, () => this.put(ERROR));
  }

  search(data) {
    if (data[1] !== 0) { // only 106 kbit/s type A is modelled
      this.later(ANSWER_US, () => this.put(ERROR));
      return;
    }
    this.searching = {code: 0x4a};
    this.searches += 1;
    if (this.card) this.later(DETECT_US, () => this.found());
    else if (this.retries !== 0xff) this.later((this.retries + 1) * TRY_US, () => this.given());
  }

  given() {
    this.searching = null;
    this.answer(0x4a, [0]);
  }

  found() {
    if (!this.searching) return;
    const uid = this.card;
    if (uid === null) { // gone before it was read
      this.search([1, 0]);
      return;
    }
    this.searching = null;
    this.selected = uid;
    this.answer(0x4a, [1, 1, ...ATQA[uid.length], uid.length, ...uid]);
  }
}

// The same chip on I2C: each frame is fetched whole, behind a byte that says "ready". A second frame shows after the
// first was fetched; a command forgets what was not.
export class I2cPort {
  // irq(level): the line to the host, low while something waits
  constructor(clock, irq, saved) {
    this.waiting = [];
    this.irq = irq;
    this.chip = new Pn532(clock, (bytes) => {
      this.waiting.push(bytes);
      this.tell();
    }, {irq: (level) => (this.waiting.length ? 0 : irq(level)), saved});
  }

  tell() {
    this.irq(this.waiting.length ? 0 : 1);
  }

  // The address wakes a chip in power-down, which is not there yet for this transfer.
  write(bytes) {
    if (!this.chip.powered || this.chip.fault === 'nack') return false;
    if (!this.chip.awake) {
      this.chip.wake();
      return false;
    }
    if (bytes.length && !isNack(bytes)) this.waiting = [];
    this.tell();
    this.chip.receive(bytes);
    return true;
  }

  read(length) {
    if (!this.chip.powered || this.chip.fault === 'nack') return null;
    const bytes = Buffer.alloc(length, 0);
    if (this.waiting.length && this.chip.fault !== 'busy') {
      bytes[0] = 1;
      const frame = this.waiting.shift();
      frame.copy(bytes, 1);
      bytes.fill(0xff, 1 + frame.length); // what follows a frame means nothing
      this.irq(1);
      if (this.waiting.length) this.chip.clock.after(100, () => this.tell());
    }
    return bytes;
  }
}

const isNack = (bytes) => bytes.equals(Buffer.from([0, 0, 0xff, 0xff, 0, 0]));
