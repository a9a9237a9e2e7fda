# Layer: the barrier's state machine on its contacts, relays, readers and journal.
#
# Order of things, because writing flash can hold the processor for a while: the motor stops or rises before
# anything is written; what a lowering boom's begin has to say is written before it lowers; while it lowers
# nothing is written.
import asyncio

from drivers import faults

from gatelink import events, messages
from node.errors import FlashError, JournalFull

from .barrier import APPROACH, DO_CLOSE, DO_OPEN, DO_STOP, DOWN, OFF, SAFETY

try:
    from typing import Any, Callable
except ImportError:
    pass

_BUTTONS = {"button_open": DO_OPEN, "button_close": DO_CLOSE, "button_stop": DO_STOP}
_LOOPS = {"loop_safety": SAFETY, "loop_approach": APPROACH}
# events that may wait for the boom to come to rest
_WAITING_MAX = 32


class Gate:
    # node: record(); clock: () -> ms since boot; flag: an asyncio.ThreadSafeFlag; lamp: output pin;
    # now: () -> (earliest, latest) unix s or None, for validity windows
    def __init__(
        self,
        node: "Any",
        clock: "Callable[[], int]",
        flag: "Any",
        barrier: "Any",
        relays: "Any",
        lamp: "Any",
        indicator: "Any",
        now: "Callable[[], tuple[int, int] | None]",
    ) -> None:
        self._node = node
        self._clock = clock
        self._flag = flag
        self._barrier = barrier
        self._relays = relays
        self._lamp = lamp
        self._indicator = indicator
        self._now = now
        self._waiting: "list[tuple[Any, ...]]" = []
        self._driving = OFF
        self.lost = 0  # events that the journal had no room for

    # problems: of the configuration; the first is reported, all are printed for the technician
    def on_start(self, problems: "list[str]") -> None:
        for problem in problems:
            print("config.json:", problem)
        if problems:
            self._waiting.append((events.FAULT, faults.CONFIG, faults.short(problems[0])))
        self._changed()

    def on_contact(self, name: str, active: bool, now_ms: int) -> None:
        barrier = self._barrier
        if name in _LOOPS:
            barrier.loop(active, now_ms, _LOOPS[name])
        elif name == "limit_open":
            barrier.limits(active, barrier.limit_closed, now_ms)
        elif name == "limit_closed":
            barrier.limits(barrier.limit_open, active, now_ms)
        elif active:
            barrier.request(_BUTTONS[name], events.BUTTON, now_ms)
        self._changed()

    # lane: a credential.Lane
    def on_credential(self, lane: "Any", credential: bytes) -> None:
        now_ms = self._clock()
        judged = lane.read(credential, now_ms, self._now())
        if judged is None:
            return
        granted, event = judged
        self._waiting.append(event)
        if granted:
            self._barrier.request(DO_OPEN, events.CREDENTIAL, now_ms)
        else:
            self._indicator.show("unknown")
        self._changed()

    # Does the boom move, or is something unwritten because of it?
    def busy(self) -> bool:
        return bool(
            self._barrier.drive or self._waiting or self._barrier.state in (events.OPENING, events.CLOSING)
        )

    # May it restart? Closed, nobody on a loop, no timer armed.
    def quiet(self) -> bool:
        barrier = self._barrier
        return barrier.state == events.CLOSED and barrier.next_wake_ms() < 0 and not self.busy()

    # action, argument: of a COMMAND -> (RESULT code, detail)
    def on_command(self, action: int, _argument: "Any") -> "tuple[int, str]":
        if action == messages.BEEP:
            self._indicator.show("call")
            return messages.DONE, ""
        if action not in (messages.OPEN, messages.CLOSE, messages.STOP):
            return messages.UNKNOWN_ACTION, ""
        done = self._barrier.request(action, events.COMMAND, self._clock())
        self._changed()
        if done:
            return messages.DONE, ""
        return messages.REFUSED, "occupied" if self._barrier.occupied else "fault"

    # Timers of the state machine.
    async def run(self) -> None:
        while True:
            now_ms = self._clock()
            self._barrier.poll(now_ms)
            self._settle()
            due_ms = self._barrier.next_wake_ms()
            if due_ms < 0:
                await self._flag.wait()
                continue
            try:
                await asyncio.wait_for_ms(self._flag.wait(), max(1, due_ms - now_ms))
            except asyncio.TimeoutError:
                continue

    # Something came in: the timers may be others now.
    def _changed(self) -> None:
        self._settle()
        self._flag.set()

    # Motor and journal follow the state machine.
    def _settle(self) -> None:
        barrier = self._barrier
        self._waiting.extend(barrier.take_events())
        drive = barrier.drive
        if drive != DOWN:
            self._relays.drive(drive)
        if drive != DOWN or self._driving != DOWN or len(self._waiting) >= _WAITING_MAX:
            self._write()
        if drive == DOWN and self._driving != DOWN:
            self._relays.drive(DOWN)
        self._driving = drive
        self._lamp.value(1 if barrier.state == events.OPEN else 0)

    def _write(self) -> None:
        waiting, self._waiting = self._waiting, []
        for event in waiting:
            try:
                self._node.record(*event)
            except (JournalFull, FlashError):
                # nobody is kept waiting at a barrier for that; the journal counts what it refused
                self.lost += 1
