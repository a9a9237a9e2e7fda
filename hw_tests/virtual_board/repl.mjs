// Layer: the console on UART 0 after (or instead of) main.py: MicroPython's own REPL, fed byte by byte.
const CTRL_A = 1;
const CTRL_B = 2;
const CTRL_C = 3;
const CTRL_E = 5;
const RAW_PASTE = Buffer.from('R\x00'); // "known, not supported"

export class Repl {
  constructor({clock, machine, out}) {
    Object.assign(this, {clock, machine, out});
    this.queue = [];
    this.executing = true; // main.py, at first
    this.raw = false;
  }

  // Ctrl-C stops what is running; everything else waits for the prompt.
  receive(bytes) {
    for (const byte of bytes) {
      if (byte === CTRL_C && this.executing) this.machine.pending.push(-1);
      else this.queue.push(byte);
    }
  }

  next(serve) {
    for (;;) {
      if (this.queue.length) return this.queue.shift();
      const {pending} = this.machine;
      const number = this.clock.wait(Infinity, () => (this.queue.length ? -2 : pending.length ? pending.shift() : 0));
      if (number > 0) serve(number);
    }
  }

  // Until a soft reset is asked for.
  run(mp, startRaw) {
    const {serve} = mp.pyimport('_wait');
    this.executing = false;
    mp.replInit();
    if (startRaw) this.queue.unshift(CTRL_A);
    for (;;) {
      const byte = this.next(serve);
      if (byte === CTRL_E && this.raw) {
        this.next(serve); // 'A'
        this.next(serve); // 1
        this.out(RAW_PASTE);
        continue;
      }
      if (byte === CTRL_A) this.raw = true;
      if (byte === CTRL_B) this.raw = false;
      this.executing = true;
      const over = mp.replProcessChar(byte);
      this.executing = false;
      if (over) return;
    }
  }
}
