// Layer: light and deep sleep: which pins wake, what a sleeping chip misses. Levels wake, edges don't: the interrupt
// of an edge in light sleep is lost, and so are bytes that reach a UART, as on the silicon.
export const WAKE = {ext0: 2, ext1: 3, timer: 4, gpio: 7};
// From deep sleep to the first line of boot.py: ROM, bootloader, image check, MicroPython. Measured values differ with
// the flash; this is on the slow side of what an ESP32 with 40 MHz flash shows.
export const BOOT_US = 300_000;
// Pins that keep watch in deep sleep (data sheets, "RTC IO_MUX"; ESP32-C3: GPIO 0 to 5).
const range = (first, last) => Array.from({length: last - first + 1}, (_, index) => first + index);
const RTC_PINS = {
  esp32: [0, 2, 4, ...range(12, 15), ...range(25, 27), ...range(32, 39)],
  esp32s3: range(0, 21),
  esp32c3: range(0, 5),
};

export class Sleep {
  constructor({clock, pins, chip = 'esp32', reason = 0}) {
    Object.assign(this, {clock, pins, chip, reason});
    this.asleep = false;
    this.deep = false;
    this.sleptUs = 0;
    this.sources = {ext0: null, ext1: null, gpio: null};
    this.pulse = 0;
  }

  // source: ext0, ext1, gpio; numbers: pins, none to clear; level: 0 or 1. 1 = set, 0 = this chip can't.
  arm(source, numbers, level) {
    const fits = (number) => RTC_PINS[this.chip].includes(number);
    if (source !== 'gpio' && numbers.some((number) => !fits(number))) return 0;
    this.sources[source] = numbers.length ? {numbers, level} : null;
    return 1;
  }

  // Which source sees its level now; 0 for none.
  woken(deep) {
    const {ext0, ext1, gpio} = this.sources;
    const is = (level) => (number) => this.pins.level(number) === level;
    if (ext0 && ext0.numbers.some(is(ext0.level))) return WAKE.ext0;
    // the ESP32 wakes when all of them are low, younger chips when any is
    if (ext1 && (ext1.level || this.chip !== 'esp32' ? ext1.numbers.some(is(ext1.level)) : ext1.numbers.every(is(0)))) {
      return WAKE.ext1;
    }
    if (gpio && gpio.numbers.some((number) => is(gpio.level)(number) && (!deep || this.deepGpio(number)))) return WAKE.gpio;
    const pulse = this.pulse;
    this.pulse = 0;
    return pulse;
  }

  deepGpio(number) {
    return this.chip === 'esp32c3' && RTC_PINS.esp32c3.includes(number);
  }

  // Bytes on a line that idles high: short lows at that pin.
  pulsed(number) {
    for (const [name, source] of Object.entries(this.sources)) {
      if (source && source.level === 0 && source.numbers.includes(number)) this.pulse = WAKE[name];
    }
  }

  sleptMs() {
    return Math.round((this.sleptUs + (this.asleep ? this.clock.now - this.sinceUs : 0)) / 1000);
  }

  // Until a source or the timer wakes it; the reason.
  until(ms, deep) {
    this.asleep = true;
    this.deep = deep;
    this.pulse = 0;
    this.sinceUs = this.clock.read();
    this.reason = this.clock.wait(ms < 0 ? Infinity : ms * 1000, () => this.woken(deep)) || WAKE.timer;
    this.sleptUs += this.clock.read() - this.sinceUs;
    this.asleep = false;
    return this.reason;
  }
}
