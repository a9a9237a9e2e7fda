// Layer: the chip's UARTs: a receive buffer, an IRQ, and a peer that gets what is sent. Bytes take no time.
const RX_LIMIT = 16384; // larger than any real buffer: bytes come in bursts here, not spread over their bit times
const IRQ_RX = 1;
const IRQ_RXIDLE = 0x1000;

export class Uart {
  // sleep: a Sleep; while it sleeps, what arrives is lost, but may wake it
  constructor(raiseIrq, sleep) {
    this.raiseIrq = raiseIrq;
    this.sleep = sleep;
    this.rxPin = -1;
    this.chunks = [];
    this.length = 0;
    this.trigger = 0;
    this.irq = 0;
    this.enabled = false;
    this.lost = 0;
    this.send = () => {};
  }

  setIrq(trigger, irq) {
    this.trigger = trigger;
    this.irq = irq;
    if (this.length) this.notify();
  }

  notify() {
    if (this.irq && this.trigger & (IRQ_RX | IRQ_RXIDLE)) this.raiseIrq(this.irq);
  }

  // From the world. A UART that the program has not opened hears nothing.
  receive(bytes) {
    if (!this.enabled) return;
    if (this.sleep.asleep) {
      this.lost += bytes.length;
      this.sleep.pulsed(this.rxPin);
      return;
    }
    const room = RX_LIMIT - this.length;
    this.lost += Math.max(0, bytes.length - room);
    const kept = bytes.subarray(0, room);
    if (!kept.length) return;
    this.chunks.push(kept);
    this.length += kept.length;
    this.notify();
  }

  take(length) {
    const all = this.chunks.length === 1 ? this.chunks[0] : Buffer.concat(this.chunks);
    const taken = all.subarray(0, length);
    const rest = all.subarray(taken.length);
    this.chunks = rest.length ? [rest] : [];
    this.length = rest.length;
    return taken;
  }

  clear() {
    this.chunks = [];
    this.length = 0;
  }
}
