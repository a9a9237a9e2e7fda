// Layer: the chip's pins. The program drives outputs, the world drives inputs; an edge on an input may raise an IRQ.
export const IN = 1;
export const OUT = 3;
export const OPEN_DRAIN = 7;
const RISING = 1;
const FALLING = 2;

export class Pins {
  constructor(raiseIrq) {
    this.raiseIrq = raiseIrq;
    this.pins = new Map();
  }

  pin(number) {
    let pin = this.pins.get(number);
    if (!pin) {
      pin = {mode: IN, pull: 0, out: 0, world: null, trigger: 0, irq: 0, onOutput: null, pwm: null};
      this.pins.set(number, pin);
    }
    return pin;
  }

  // Level at the pin: what the program drives, else what the world drives, else the pull.
  level(number) {
    const pin = this.pin(number);
    if (pin.mode === OUT) return pin.out;
    if (pin.mode === OPEN_DRAIN && pin.out === 0) return 0;
    return pin.world ?? (pin.pull === 2 ? 1 : 0);
  }

  setup(number, mode, pull) {
    const pin = this.pin(number);
    if (mode >= 0) pin.mode = mode;
    if (pull >= 0) pin.pull = pull;
    this.tell(pin);
  }

  write(number, level) {
    const pin = this.pin(number);
    pin.out = level ? 1 : 0;
    pin.pwm = null;
    this.tell(pin);
  }

  setPwm(number, frequency, duty) {
    const pin = this.pin(number);
    pin.pwm = duty > 0 ? {frequency, duty} : null;
    if (pin.onOutput) pin.onOutput(duty > 0 ? 1 : 0, frequency);
  }

  tell(pin) {
    if (pin.onOutput) pin.onOutput(pin.mode === OUT || pin.mode === OPEN_DRAIN ? pin.out : 0, 0);
  }

  // Deep sleep, reset: nothing is driven any more.
  float() {
    for (const pin of this.pins.values()) {
      pin.mode = IN;
      pin.pwm = null;
      pin.irq = 0;
      if (pin.onOutput) pin.onOutput(0, 0);
    }
  }

  // The world reads a pin as an output; on(level, pwmFrequency) hears every change. A floating output counts as 0.
  watch(number, on) {
    let before = 0;
    let pitch = 0;
    this.pin(number).onOutput = (level, frequency) => {
      if (level === before && frequency === pitch) return;
      before = level;
      pitch = frequency;
      on(level, frequency);
    };
  }

  // A wire from one pin to another: what the program drives at the first is what the second sees.
  jumper(from, to) {
    const pin = this.pin(from);
    const before = pin.onOutput;
    pin.onOutput = (level, frequency) => {
      if (before) before(level, frequency);
      this.drive(to, pin.mode === OUT ? level : null);
    };
  }

  setIrq(number, trigger, irq) {
    const pin = this.pin(number);
    pin.trigger = trigger;
    pin.irq = irq;
  }

  // The world puts a level on an input (null: lets go).
  drive(number, level) {
    if (number === undefined) return;
    const before = this.level(number);
    const pin = this.pin(number);
    pin.world = level;
    const after = this.level(number);
    if (after === before || !pin.irq) return;
    if (pin.trigger & (after ? RISING : FALLING)) this.raiseIrq(pin.irq);
  }
}
