// Layer: virtual time. One queue of events in microseconds of world time; `wait` is the only place where time passes.
//   manual   the clock stands until `advance` moves the target
//   scaled   the clock follows the wall clock x speed, but never runs ahead of what the VM has done: while the VM
//            computes, its clock stands, afterwards the events in between happen in their order
//   instant  nobody outside: idle time is skipped, computing costs real time

const SPIN_READS = 300; // clock reads without a wait in between that count as a busy loop
const SPIN_STEP_US = 50;

export class Clock {
  constructor({mode, speed = 1, nowUs = 0, startedMs = 0, inbox = null, realNowMs = () => 0}) {
    this.mode = mode;
    this.speed = speed;
    this.startedMs = startedMs;
    this.now = nowUs;
    this.targetUs = nowUs;
    this.inbox = inbox;
    this.realNowMs = realNowMs;
    this.onSettled = () => {};
    this.queue = [];
    this.order = 0;
    this.spins = 0;
    this.skippedUs = 0;
  }

  wall() {
    if (this.mode === 'manual') return this.targetUs;
    if (this.mode === 'scaled') return (this.realNowMs() - this.startedMs) * 1000 * this.speed;
    return Infinity;
  }

  read() {
    if (this.mode === 'instant') this.now = Math.max(this.now, performance.now() * 1000 + this.skippedUs);
    return this.now;
  }

  // Runs `action` at world time `us`; the handle is for cancel().
  at(us, action) {
    const event = {us: Math.max(us, this.now), order: this.order++, action};
    let low = 0;
    let high = this.queue.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.queue[middle].us <= event.us) low = middle + 1;
      else high = middle;
    }
    this.queue.splice(low, 0, event);
    return event;
  }

  after(us, action) {
    return this.at(this.read() + us, action);
  }

  cancel(event) {
    const index = event ? this.queue.indexOf(event) : -1;
    if (index >= 0) this.queue.splice(index, 1);
  }

  // Lets the world happen for `us` (Infinity: until woken) or until `wake()` is truthy; returns that, or 0.
  wait(us, wake) {
    this.spins = 0;
    const deadline = this.read() + us;
    for (;;) {
      if (this.inbox) this.inbox.drain();
      const woken = wake();
      if (woken) return woken;
      const next = this.queue.length ? this.queue[0].us : Infinity;
      const until = Math.min(next, deadline);
      const wall = this.wall();
      if (until <= wall && until !== Infinity) {
        if (until > this.now) {
          this.skippedUs += until - this.now;
          this.now = until;
        }
        if (next > deadline) return 0;
        this.queue.shift().action();
        continue;
      }
      if (this.mode === 'instant') throw new Error('the VM waits for something that can never come');
      if (wall > this.now) this.now = wall;
      if (this.mode === 'manual') this.onSettled();
      this.inbox.block(this.mode === 'scaled' && until !== Infinity ? (until - wall) / 1000 / this.speed : Infinity);
    }
  }

  // Called whenever the VM looks at the clock or a pin: a program that polls must see time pass.
  spin() {
    if (this.mode === 'instant' || ++this.spins < SPIN_READS) return;
    this.wait(SPIN_STEP_US, () => 0);
    this.spins = SPIN_READS;
  }
}

// The whole process reads this clock from now on; `epochMs` is what the VM believes to be 1 January 2000.
export function install(readUs, spin, epochMs) {
  Date.now = () => {
    spin();
    return epochMs + Math.floor(readUs() / 1000);
  };
}
