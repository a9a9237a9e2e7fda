// Layer: the boom and what stands under it. Relay outputs drive a self-locking motor, the position moves with time,
// limit switches close at its ends (contact to ground), a boom that is lowered onto a vehicle is a collision.
const STAND = 0;
const UP = 1;
const DOWN = -1;
const LIMIT_OPEN = 0.96; // from here on, and down to there, a limit switch is closed
const LIMIT_CLOSED = 0.04;
const ROOF = 0.4; // at this height the boom meets the vehicle under it

export class Boom {
  // `limits(open, closed)`: told whenever one of them changes.
  constructor(clock, {travelMs = 3000, position = 0}, limits) {
    this.clock = clock;
    this.travelUs = travelMs * 1000;
    this.at = position; // 0 closed .. 1 open, as of sinceUs
    this.sinceUs = clock.now;
    this.motion = STAND;
    this.relays = {up: 0, down: 0};
    this.limits = limits;
    this.under = false; // a vehicle stands under the boom
    this.openings = 0;
    this.collisions = 0;
    this.shorts = 0; // both relays at once
    this.blocked = false; // something holds the boom
    this.timer = null;
    this.waiting = [];
    this.tell();
  }

  position() {
    const moved = (this.motion * (this.clock.now - this.sinceUs)) / this.travelUs;
    return Math.min(1, Math.max(0, this.at + moved));
  }

  isOpen() {
    return this.position() >= LIMIT_OPEN;
  }

  relay(name, level) {
    this.relays[name] = level;
    if (this.relays.up && this.relays.down) this.shorts += 1;
    this.run();
  }

  occupy(under) {
    this.under = under;
    this.run();
  }

  hold(blocked) {
    this.blocked = blocked;
    this.run();
  }

  // Somebody lifts or lowers it by hand.
  force(position) {
    this.settle();
    this.at = position;
    this.tell();
    this.run();
  }

  settle() {
    this.at = this.position();
    if (this.at > 0.999) this.at = 1;
    if (this.at < 0.001) this.at = 0;
    this.sinceUs = this.clock.now;
  }

  run() {
    this.settle();
    this.clock.cancel(this.timer);
    const {up, down} = this.relays;
    let motion = up === down ? STAND : up ? UP : DOWN;
    if (this.blocked) motion = STAND;
    if (motion === DOWN && this.under && this.at <= ROOF && this.at > 0) {
      this.collisions += 1;
      motion = STAND;
    }
    if ((motion === UP && this.at === 1) || (motion === DOWN && this.at === 0)) motion = STAND;
    this.motion = motion;
    this.tell();
    if (motion === STAND) return;
    // To the next place where something happens: off the limit switch, at the roof of a vehicle, at the end.
    const way = motion === UP ? 1 - this.at : this.at;
    let leg = way;
    if (motion === DOWN && this.at >= LIMIT_OPEN) leg = this.at - LIMIT_OPEN + 1e-9;
    if (motion === UP && this.at <= LIMIT_CLOSED) leg = LIMIT_CLOSED - this.at + 1e-9;
    if (motion === DOWN && this.under && this.at > ROOF) leg = Math.min(leg, this.at - ROOF + 1e-9);
    this.timer = this.clock.after(leg * this.travelUs, () => {
      this.run();
      if (motion === UP && this.at === 1) {
        this.openings += 1;
        this.wake();
      }
    });
  }

  tell() {
    this.limits(this.at >= LIMIT_OPEN, this.at <= LIMIT_CLOSED);
  }

  // `action` once when it is open, now or later; the handle is for forget().
  whenOpen(action) {
    if (this.isOpen()) {
      action();
      return null;
    }
    this.waiting.push(action);
    return action;
  }

  forget(action) {
    this.waiting = this.waiting.filter((other) => other !== action);
  }

  wake() {
    for (const action of this.waiting.splice(0)) action();
  }

  state() {
    return {position: Math.round(this.position() * 1000) / 1000, motion: ['closing', 'standing', 'opening'][this.motion + 1],
      openings: this.openings, collisions: this.collisions, shorts: this.shorts, under: this.under,
      limit_open: this.at >= LIMIT_OPEN, limit_closed: this.at <= LIMIT_CLOSED};
  }
}
