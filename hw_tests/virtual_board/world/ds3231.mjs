// Layer: a DS3231 clock chip on the I2C bus: time in BCD registers that go on by the world's clock (off by `ppm`), also
// while the power is off; alarm registers as memory; the oscillator-stop flag until it is cleared.
const SIZE = 19;
const STATUS = 15;
const SETTABLE = 17;
// after the first power-up: Saturday 2000-01-01 00:00:00, oscillator-stop flag set
const FRESH = `00000007010100${'00'.repeat(7)}1c88000000`;
const bcd = (number) => (Math.floor(number / 10) << 4) | (number % 10);
const binary = (byte) => (byte >> 4) * 10 + (byte & 15);

export class Ds3231 {
  // nowUs() -> the world's time, going on through resets; `saved`: what saved() gave before.
  constructor(nowUs, saved = {}, ppm = 0) {
    this.nowUs = nowUs;
    this.rate = 1 + ppm * 1e-6;
    this.registers = Buffer.from(saved.registers ?? FRESH, 'hex');
    if (this.registers.length !== SIZE) throw new Error('a DS3231 has 19 registers');
    this.sinceUs = saved.sinceUs ?? nowUs();
    this.at = 0;
  }

  tick() {
    const seconds = Math.floor(((this.nowUs() - this.sinceUs) * this.rate) / 1e6);
    if (seconds <= 0) return;
    this.sinceUs += (seconds * 1e6) / this.rate;
    const r = this.registers;
    const before = Date.UTC(2000 + binary(r[6]), binary(r[5] & 0x1f) - 1, binary(r[4]), binary(r[2]), binary(r[1]), binary(r[0]));
    const now = new Date(before + seconds * 1000);
    const days = Math.floor((before % 86400000 + seconds * 1000) / 86400000);
    [now.getUTCSeconds(), now.getUTCMinutes(), now.getUTCHours()].forEach((number, i) => { r[i] = bcd(number); });
    r[3] = ((r[3] - 1 + days) % 7) + 1;
    [now.getUTCDate(), now.getUTCMonth() + 1, now.getUTCFullYear() % 100].forEach((number, i) => { r[4 + i] = bcd(number); });
  }

  write(bytes) {
    if (!bytes.length) return true;
    this.tick();
    this.at = bytes[0] % SIZE;
    for (const byte of bytes.subarray(1)) {
      const at = this.at;
      if (at === STATUS) this.registers[at] = (byte & 0x08) | (this.registers[at] & byte & 0x83);
      else if (at < SETTABLE) this.registers[at] = byte;
      if (at === 0) this.sinceUs = this.nowUs();
      this.at = (at + 1) % SIZE;
    }
    return true;
  }

  read(length) {
    this.tick();
    const out = Buffer.alloc(length);
    for (let i = 0; i < length; i++) {
      out[i] = this.registers[this.at];
      this.at = (this.at + 1) % SIZE;
    }
    return out;
  }

  saved() {
    return {registers: this.registers.toString('hex'), sinceUs: this.sinceUs};
  }
}
