# Layer: the patrol tag: what comes in is judged, stored, and only then told to the guard.
import asyncio

from drivers import faults

from gatelink import events, messages
from node.errors import FlashError, JournalFull

try:
    from typing import Any, Callable
except ImportError:
    pass

# a card that was seen within this time may still be there
_CARD_MS = 1_000
_CALM_MS = 30_000


class Tag:
    # node: record(); clock: () -> ms; flag: an asyncio.ThreadSafeFlag for the SOS button
    def __init__(
        self,
        node: "Any",
        clock: "Callable[[], int]",
        flag: "Any",
        shift: "Any",
        sos: "Any",
        indicator: "Any",
        battery: "Any",
        battery_check_ms: int,
    ) -> None:
        self._node = node
        self._clock = clock
        self._flag = flag
        self._shift = shift
        self._sos = sos
        self._indicator = indicator
        self._battery = battery
        self._battery_check_ms = battery_check_ms
        self._card_ms = -1

    # True: the event is durable. False: there was no room for it; it is counted.
    def _record(self, *event: "Any") -> bool:
        try:
            self._node.record(*event)
        except (JournalFull, FlashError):
            return False
        return True

    # A guard counts on it: no deep sleep.
    @property
    def needed(self) -> bool:
        return self._shift.guard is not None or self._sos.next_wake_ms() >= 0

    @property
    def showing(self) -> bool:
        return bool(self._indicator.playing)

    # done: in the charger, and the edge has everything
    def rest(self, done: bool) -> None:
        self._indicator.rest(done)

    # problems: of the configuration; the first is reported, all are printed for the technician
    def on_start(self, problems: "list[str]") -> None:
        for problem in problems:
            print("config.json:", problem)
        if problems:
            self._record(events.FAULT, faults.CONFIG, faults.short(problems[0]))
            self._indicator.show("fault")
        else:
            self._indicator.show("ready")

    def on_card(self, uid: bytes, now_ms: int) -> None:
        self._card_ms = now_ms
        found, pattern = self._shift.judge(uid, now_ms)
        for event in found:
            if not self._record(*event):
                self._indicator.show("refused")
                return
            self._shift.taken(event)
        if found:
            self._shift.done(uid, now_ms)
        self._indicator.show(pattern)

    def on_reader_trouble(self) -> None:
        self._record(events.FAULT, faults.READER, "reader does not answer")
        self._indicator.show("fault")

    def on_contact(self, name: str, active: bool, now_ms: int) -> None:
        if name == "button_sos":
            self._sos.button(active, now_ms)
            self._flag.set()

    # Does somebody hold a card to the tag, or its SOS button?
    def busy(self) -> bool:
        return self._sos.next_wake_ms() >= 0 or self._card_ms > max(self._clock() - _CARD_MS, -1)

    # May it restart? In a shift not before pause_ms without a card, else after half a minute.
    def quiet(self, pause_ms: int) -> bool:
        since_ms = self._clock() - max(self._card_ms, 0)
        return not self.busy() and since_ms >= (pause_ms if self._shift.guard else _CALM_MS)

    # action, argument: of a COMMAND -> (RESULT code, detail)
    def on_command(self, action: int, _argument: "Any") -> "tuple[int, str]":
        if action == messages.BEEP:
            self._indicator.show("call")
            return messages.DONE, ""
        return messages.UNKNOWN_ACTION, ""

    async def watch_sos(self) -> None:
        while True:
            now_ms = self._clock()
            if self._sos.due(now_ms):
                if self._record(events.SOS, self._shift.checkpoint):
                    self._sos.stored(now_ms)
                    self._indicator.show("sos")
                else:
                    self._sos.failed(now_ms)
                    self._indicator.show("refused")
            due_ms = self._sos.next_wake_ms()
            if due_ms < 0:
                await self._flag.wait()
                continue
            try:
                await asyncio.wait_for_ms(self._flag.wait(), max(1, due_ms - self._clock()))
            except asyncio.TimeoutError:
                continue

    async def watch_battery(self) -> None:
        battery = self._battery
        told = battery.level
        while True:
            mv = battery.read_mv()
            battery.judge(mv)
            if battery.level != told and self._record(events.BATTERY, mv, battery.level):
                told = battery.level
                if told:
                    self._indicator.show("battery")
            await asyncio.sleep_ms(self._battery_check_ms)
