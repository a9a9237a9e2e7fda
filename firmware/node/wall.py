# Wall time without the edge: the clock chip's word becomes a TIME event, the edge's time sets the chip.
from gatelink import events

try:
    from typing import Any, Callable
except ImportError:
    pass

# slept time after which the chip is asked again: 5 % of it is unknown
_SLEPT_MS = 600_000


class Wall:
    # chip: drivers.ds3231.Ds3231 or the like; note(kind, *fields) -> stored?; fault: code of FAULT events.
    def __init__(self, chip: "Any", clock: "Any", note: "Callable[..., bool]", fault: int) -> None:
        self._chip = chip
        self._clock = clock
        self._note = note
        self._fault = fault
        self._told = ""
        self._slept_ms = 0
        self._anchor = None

    # What the chip says now, as an event; at the start and whenever much was slept.
    def state(self) -> None:
        self._slept_ms = self._clock.slept_ms
        reading = self._chip.read()
        if reading is None:
            self._trouble(self._chip.fault)
            return
        uptime_ms, wall_ms, error_ms = reading
        # the event's own uptime is the one that counts: now, in steps of 10 ms
        wall_ms += self._clock.uptime_ms() - uptime_ms
        fields = (wall_ms, error_ms + 12)
        self._note(events.TIME, *fields + ((self._slept_ms,) if self._clock.sleeper else ()))

    # Before an event: has so much been slept that the chip knows better?
    def before_event(self) -> None:
        if self._clock.slept_ms - self._slept_ms >= _SLEPT_MS:
            self.state()

    # After a contact with the edge: sets a chip that knows less, or that disagrees.
    def contacted(self) -> None:
        anchor = self._clock.anchor
        if anchor is None or anchor is self._anchor:
            return
        self._anchor = anchor
        reading = self._chip.read()
        if reading is None:
            if self._chip.fault in ("absent", "no answer"):
                return
        else:
            passed_ms = reading[0] - anchor[0]
            apart_ms = abs(reading[1] - anchor[1] - passed_ms)
            if apart_ms > reading[2] + anchor[2] + 100:
                self._trouble("off by %d ms" % apart_ms)
            elif reading[2] <= 2 * anchor[2] + 1000:
                return
        self._chip.set(anchor[0], anchor[1], anchor[2] + 1)

    # Each kind of trouble once.
    def _trouble(self, what: str) -> None:
        if what not in ("absent", "not set", self._told):
            self._told = what
            self._note(events.FAULT, self._fault, "clock " + what[:18])
