# Layer: the barrier's judgement. A pure state machine: contacts, requests and time in; drive and events out.
#
# Held in every history: drive is DOWN only while the safety loop is free; a reversal rests pause_ms in
# between; a movement ends at its limit or after travel_ms in BROKEN; every change of state is an event with
# its cause.
from drivers import faults

from gatelink.events import (
    AUTO_CLOSE,
    BARRIER,
    BROKEN,
    CLOSED,
    CLOSING,
    FAULT,
    FORCE,
    FORCED,
    LIMIT,
    LOOP,
    LOOP_FAULT,
    OBSTRUCTED,
    OPEN,
    OPENING,
    POWER_ON,
    STOPPED,
    TIMEOUT,
)

try:
    from typing import Any
except ImportError:
    pass

# what the motor is told
OFF, UP, DOWN = 0, 1, 2
# what people and cards ask for: the numbers of the COMMAND message
DO_OPEN, DO_CLOSE, DO_STOP = 1, 2, 3
SAFETY, APPROACH = 0, 1

_NEVER = -1


class Barrier:
    # timing: travel_ms, auto_close_ms (0: never), pass_close_ms, pause_ms, forced_ms, stuck_ms.
    # limit_open, limit_closed, occupied: the settled contacts now; cycles: openings so far.
    def __init__(
        self,
        timing: "dict[str, int]",
        now_ms: int,
        limit_open: bool,
        limit_closed: bool,
        occupied: bool,
        cycles: int = 0,
    ) -> None:
        self._timing = timing
        self.limit_open = limit_open
        self.limit_closed = limit_closed
        self.occupied = occupied
        self.cycles = cycles
        self.drive = OFF
        self.state = BROKEN
        self._events: "list[tuple[Any, ...]]" = []
        self._last_drive = OFF
        self._rested_ms = now_ms  # from now on the motor may turn the other way
        self._wanted = OFF  # a movement that waits for that
        self._travel_ms = _NEVER
        self._close_ms = _NEVER
        self._forced_ms = _NEVER
        self._stuck_ms = [_NEVER, _NEVER]
        if occupied:
            self._stuck_ms[SAFETY] = now_ms + timing["stuck_ms"]
        if limit_open and limit_closed:
            self._break(faults.LIMITS, "both limits", LIMIT, now_ms)
        elif limit_open:
            self._enter(OPEN, POWER_ON, now_ms)
        else:
            self._enter(CLOSED if limit_closed else STOPPED, POWER_ON, now_ms)

    # -> [(kind, fields...), ...] since the last call, in order
    def take_events(self) -> "list[tuple[Any, ...]]":
        taken, self._events = self._events, []
        return taken

    # action: DO_*; cause: CREDENTIAL, COMMAND or BUTTON. False: refused, nothing changes.
    def request(self, action: int, cause: int, now_ms: int) -> bool:
        self.poll(now_ms)
        state = self.state
        if action == DO_STOP:
            if state in (OPENING, CLOSING, OPEN):
                self._enter(STOPPED, cause, now_ms)
            return True
        if self.limit_open and self.limit_closed:
            return False
        if action == DO_OPEN:
            if state == OPEN:
                self._arm(now_ms, self._timing["auto_close_ms"])
            elif state != OPENING:
                self._raise(cause, now_ms)
            return True
        if action != DO_CLOSE or self.occupied or state == BROKEN:
            return False
        if state not in (CLOSED, CLOSING):
            self._lower(cause, now_ms)
        return True

    # The safety loop under the boom, or the one in front of it.
    def loop(self, occupied: bool, now_ms: int, which: int = SAFETY) -> None:
        self._stuck_ms[which] = now_ms + self._timing["stuck_ms"] if occupied else _NEVER
        if which == SAFETY and occupied != self.occupied:
            self.occupied = occupied
            if occupied and self.state == CLOSING:
                if self.drive == DOWN:
                    self._events.append((OBSTRUCTED, SAFETY))
                self._raise(LOOP, now_ms)
            elif self.state == OPEN:
                # somebody has passed: no need to wait the whole time
                self._arm(now_ms, self._timing["pass_close_ms"])
        self.poll(now_ms)

    def limits(self, limit_open: bool, limit_closed: bool, now_ms: int) -> None:
        came_down = limit_closed and not self.limit_closed
        self.limit_open = limit_open
        self.limit_closed = limit_closed
        state = self.state
        if limit_open and limit_closed:
            if state != BROKEN:
                self._break(faults.LIMITS, "both limits", LIMIT, now_ms)
        elif state == OPENING and limit_open:
            self._enter(OPEN, LIMIT, now_ms)
        elif (state == CLOSING and limit_closed) or (state in (STOPPED, BROKEN) and came_down):
            self._enter(CLOSED, LIMIT, now_ms)
        elif (state == CLOSED and not limit_closed) or (state == OPEN and not limit_open):
            if self._forced_ms == _NEVER:
                self._forced_ms = now_ms + self._timing["forced_ms"]
        elif state in (CLOSED, OPEN):
            self._forced_ms = _NEVER
        self.poll(now_ms)

    # Time has passed. Call at the latest when next_wake_ms() says so.
    def poll(self, now_ms: int) -> None:
        if self._wanted and now_ms >= self._rested_ms:
            self._turn(self._wanted, now_ms)
        if _NEVER < self._travel_ms <= now_ms:
            self._break(faults.TRAVEL, "barrier travel", TIMEOUT, now_ms)
        if _NEVER < self._close_ms <= now_ms:
            self._lower(AUTO_CLOSE, now_ms)
        if _NEVER < self._forced_ms <= now_ms:
            self._forced_ms = _NEVER
            if self.state == OPEN:
                # it sank: up again, that harms nobody
                self._raise(LIMIT, now_ms)
            else:
                self._events.append((FORCED,))
                self._enter(STOPPED, FORCE, now_ms)
        for which in (SAFETY, APPROACH):
            if _NEVER < self._stuck_ms[which] <= now_ms:
                self._stuck_ms[which] = _NEVER
                self._events.append((LOOP_FAULT, which))

    # ms since boot, -1: nothing happens by time alone
    def next_wake_ms(self) -> int:
        soonest = self._rested_ms if self._wanted else _NEVER
        for due_ms in (
            self._travel_ms,
            self._close_ms,
            self._forced_ms,
            self._stuck_ms[SAFETY],
            self._stuck_ms[APPROACH],
        ):
            if due_ms != _NEVER and (soonest == _NEVER or due_ms < soonest):
                soonest = due_ms
        return soonest

    # Every change of state goes through here: the motor rests, all movement timers end, the event is made.
    def _enter(self, state: int, cause: int, now_ms: int) -> None:
        if self.drive != OFF:
            self._rested_ms = now_ms + self._timing["pause_ms"]
        self.drive = OFF
        self._wanted = OFF
        self._travel_ms = _NEVER
        self._close_ms = _NEVER
        self._forced_ms = _NEVER
        self.state = state
        self._events.append((BARRIER, state, cause, self.cycles))
        if state == OPEN:
            self._arm(now_ms, self._timing["auto_close_ms"])

    def _break(self, code: int, text: str, cause: int, now_ms: int) -> None:
        self._enter(BROKEN, cause, now_ms)
        self._events.append((FAULT, code, text))

    def _raise(self, cause: int, now_ms: int) -> None:
        if self.limit_open:
            self._enter(OPEN, cause, now_ms)
            return
        self.cycles += 1
        self._enter(OPENING, cause, now_ms)
        self._turn(UP, now_ms)

    def _lower(self, cause: int, now_ms: int) -> None:
        if self.limit_closed:
            self._enter(CLOSED, cause, now_ms)
            return
        self._enter(CLOSING, cause, now_ms)
        self._turn(DOWN, now_ms)

    # The motor turns, at once or when it has rested from the other direction.
    def _turn(self, drive: int, now_ms: int) -> None:
        if drive != self._last_drive and now_ms < self._rested_ms:
            self._wanted = drive
            return
        self._wanted = OFF
        self._last_drive = drive
        self.drive = drive
        self._travel_ms = now_ms + self._timing["travel_ms"]

    # The boom goes down by itself after delay_ms; never while the loop is occupied or auto-close is switched
    # off.
    def _arm(self, now_ms: int, delay_ms: int) -> None:
        self._close_ms = _NEVER
        if self._timing["auto_close_ms"] and not self.occupied:
            self._close_ms = now_ms + delay_ms
