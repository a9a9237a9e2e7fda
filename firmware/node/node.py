# The composition of a device: journal, clock, keys and uplink on injected hardware, and the tasks that run
# them.
import asyncio
import io
import os
import sys
import time

from gatelink import events, framing, messages

from .clock import Clock, kept
from .errors import FlashError, JournalFull
from .journal import Journal
from .keystore import KeyStore
from .uplink import Uplink
from .wall import Wall

try:
    from typing import Any, Callable
except ImportError:
    pass

# FAULT codes
TASK_DIED = 1
CLOCK_CHIP = 2
# machine.DEEPSLEEP_RESET of the ESP32
_DEEPSLEEP = 4
_CHUNK = 128
_STUCK_MS = 2000
# a device whose tasks die this often within this time starts over
_DEATHS = 5
_DEATHS_MS = 600_000
_FILL_WARN = 90
_FILL_CALM = 80


# "ValueError uplink:120" out of an exception's traceback: what fits a FAULT event. Prints the whole
# traceback.
def short_traceback(problem: BaseException) -> str:
    out = io.StringIO()
    sys.print_exception(problem, out)
    whole = out.getvalue()
    print(whole)
    where = ""
    for line in whole.split("\n"):
        if line.strip().startswith("File ") and '", line ' in line:
            name, number = line.split('", line ')
            where = name.split("/")[-1].split("\\")[-1].replace(".py", "").replace('File "', "").strip()
            where += ":" + number.split(",")[0].strip()
    return type(problem).__name__[: max(8, 23 - len(where))] + " " + where[-15:]


# uart: a machine.UART with room for a frame in its receive buffer; flash: node.flash; nvs: an esp32.NVS; role
# and firmware as in HELLO; cause: machine.reset_cause(); ticks_ms: time.ticks_ms; reset: machine.reset;
# on_command(action, argument) -> (RESULT code, detail); battery_mv() -> mV or None; watchdog: something with
# feed(); memory: a machine.RTC, for a device that sleeps deeply; slow_ms: ms of a clock that runs on meanwhile;
# chip(uptime_ms) -> a clock chip such as drivers.ds3231.Ds3231.
# Raises NotProvisioned: without keys a device neither records nor speaks. FlashError: no journal.
class Node:
    def __init__(
        self,
        uart: "Any",
        flash: "Any",
        nvs: "Any",
        role: int,
        firmware: str,
        ticks_ms: "Callable[[], int]",
        reset: "Callable[[], Any]",
        cause: int = 0,
        on_command: "Callable[[int, Any], tuple[int, str]] | None" = None,
        battery_mv: "Callable[[], int | None] | None" = None,
        watchdog: "Any" = None,
        heartbeat_ms: int = 60_000,
        random_bytes: "Callable[[int], bytes] | None" = None,
        memory: "Any" = None,
        slow_ms: "Callable[[], int] | None" = None,
        chip: "Callable[[Callable[[], int]], Any] | None" = None,
    ) -> None:
        random_bytes = random_bytes or os.urandom
        self._uart = uart
        self._reset = reset
        self._cause = cause
        self._firmware = firmware
        self._battery_mv = battery_mv or _nothing
        self._watchdog = watchdog
        self._heartbeat_ms = heartbeat_ms
        keystore = KeyStore(nvs)
        self.journal = Journal(flash, keystore.event_key, keystore)
        self.journal.mount()
        self._memory = memory
        self._slow_ms = slow_ms or _unix_ms
        # partial IVs always take a new boot number; time and events go on in the old one after deep sleep
        self.boot = keystore.next_boot()
        on = self._before_sleep(cause)
        uptime_ms = slept_ms = 0
        if on:
            self.boot, uptime_ms, slept_ms = on
        self.clock = Clock(ticks_ms, role == messages.TAG_ROLE, uptime_ms, slept_ms)
        self.uplink = Uplink(
            self.journal,
            self.clock,
            keystore,
            self.boot,
            random_bytes(8),
            role,
            firmware,
            on_command or _unknown,
            lambda: random_bytes(1)[0],
            self._battery_mv,
        )
        self.decoder = framing.Decoder()
        self._rx = asyncio.ThreadSafeFlag()
        self._wake = asyncio.Event()
        self._tasks: "list[Callable[[], Any]]" = []
        self._deaths: "list[int]" = []
        self._recorded_ms = 0
        self._reported = [0, 0, 0]
        self._warned = False
        if not on:
            self._note(events.BOOT, cause, firmware)
        self._wall = Wall(chip(self.clock.uptime_ms), self.clock, self._note, CLOCK_CHIP) if chip else None
        if self._wall:
            self._wall.state()

    # Call it right before machine.deepsleep(): with `memory` the device then wakes up in the same boot.
    def hibernate(self) -> None:
        if self._memory:
            self._memory.memory(self.clock.keep(self.boot, self._slow_ms()))

    # -> (boot, uptime_ms, slept_ms) to go on with, None for a new boot. Works once.
    def _before_sleep(self, cause: int) -> "tuple[int, int, int] | None":
        if not self._memory:
            return None
        data = bytes(self._memory.memory())
        self._memory.memory(b"")
        found = kept(data, self._slow_ms()) if cause == _DEEPSLEEP else None
        return found if found and found[0] < self.boot else None

    # Stores an event; durable when its seq is returned. Raises JournalFull (counted, reported later),
    # FlashError, and MessageError for fields that its kind doesn't have.
    def record(self, kind: int, *fields: "Any") -> int:
        payload = events.encode(kind, *fields)
        self._notices()
        if self._wall:
            self._wall.before_event()
        return self._append(payload, kind)

    # A task of the application, supervised like the node's own. factory() makes its coroutine.
    def supervise(self, factory: "Callable[[], Any]") -> None:
        self._tasks.append(factory)

    # Runs everything, for ever.
    async def run(self) -> None:
        trigger = getattr(self._uart, "IRQ_RXIDLE", None)
        if trigger is None:
            trigger = self._uart.IRQ_RX
        self._uart.irq(handler=self._on_uart, trigger=trigger)
        self.supervise(self._receive)
        self.supervise(self._transmit)
        self.supervise(self._heartbeat)
        if self._watchdog:
            self.supervise(self._feed)
        await asyncio.gather(*[self._keep(factory) for factory in self._tasks])

    def _on_uart(self, _: "Any") -> None:
        self._rx.set()

    # gather() hands over what killed the task; a task that just ends has done its work.
    async def _keep(self, factory: "Callable[[], Any]") -> None:
        while True:
            result = (await asyncio.gather(factory(), return_exceptions=True))[0]
            if not isinstance(result, BaseException):
                return
            self._died(result)
            await asyncio.sleep_ms(1000)

    def _died(self, problem: BaseException) -> None:
        now_ms = self.clock.uptime_ms()
        self._note(events.FAULT, TASK_DIED, short_traceback(problem))
        self._deaths = [ms for ms in self._deaths if now_ms - ms < _DEATHS_MS] + [now_ms]
        if len(self._deaths) >= _DEATHS:
            self._reset()

    async def _receive(self) -> None:
        while True:
            await self._rx.wait()
            while True:
                waiting = self._uart.any()
                data = self._uart.read(min(waiting, _CHUNK)) if waiting else None
                if not data:
                    break
                for frame in self.decoder.feed(data):
                    self.uplink.receive(frame, self.clock.uptime_ms())
            self._notices()
            if self._wall:
                self._wall.contacted()
            self._wake.set()

    async def _transmit(self) -> None:
        while True:
            self._wake.clear()
            for frame in self.uplink.poll(self.clock.uptime_ms()):
                await self._send(framing.encode(frame))
            wait_ms = self.uplink.next_wake_ms(self.clock.uptime_ms())
            if wait_ms:
                try:
                    await asyncio.wait_for_ms(self._wake.wait(), wait_ms)
                except asyncio.TimeoutError:
                    pass
            else:
                await asyncio.sleep_ms(0)

    # In pieces, so that a tap is not kept waiting for a long frame. A line that takes nothing loses the
    # frame: the uplink repeats it.
    async def _send(self, data: bytes) -> None:
        view = memoryview(data)
        at = 0
        since_ms = self.clock.uptime_ms()
        while at < len(data) and self.clock.uptime_ms() - since_ms < _STUCK_MS:
            sent = self._uart.write(view[at : at + _CHUNK])
            if sent:
                at += sent
            await asyncio.sleep_ms(0 if sent else 5)

    # Says that the device lives when nothing else has. Also keeps the uptime from missing a wrap.
    async def _heartbeat(self) -> None:
        while True:
            idle_ms = self.clock.uptime_ms() - self._recorded_ms
            if idle_ms >= self._heartbeat_ms:
                self._note(events.HEARTBEAT, self._battery_mv())
                # also when it was refused
                self._recorded_ms = self.clock.uptime_ms()
                idle_ms = 0
            await asyncio.sleep_ms(self._heartbeat_ms - idle_ms)

    async def _feed(self) -> None:
        while True:
            self._watchdog.feed()
            await asyncio.sleep_ms(2000)

    def _append(self, payload: bytes, kind: int) -> int:
        uptime_ms = self.clock.uptime_ms()
        seq = self.journal.append(self.boot, uptime_ms // 10, payload)
        self._recorded_ms = uptime_ms
        if events.class_of(kind) == events.ALARM:
            self.uplink.urgent(seq)
        self._wake.set()
        return seq

    # An event of the node itself: a journal without room for it counts it, and nobody waits for it. True when
    # stored.
    def _note(self, kind: int, *fields: "Any") -> bool:
        try:
            self._append(events.encode(kind, *fields), kind)
        except (JournalFull, FlashError) as problem:
            print(problem)
            return False
        return True

    # What the journal has to say about itself, as soon as it has room.
    def _notices(self) -> None:
        journal = self.journal
        if journal.loss and journal.has_room(events.NORMAL):
            first, last = journal.loss
            if self._note(events.JOURNAL_LOSS, first, last):
                journal.loss = None
        since = [journal.refused[index] - self._reported[index] for index in range(3)]
        if any(since):
            # routine events come back last; to report each of the others' refusals at once, room for them
            # will do
            back = events.NORMAL if since[1] or since[2] else events.ROUTINE
            if journal.has_room(back):
                reported = list(journal.refused)
                if self._note(events.REFUSED, since[0], since[1], since[2]):
                    self._reported = reported
        fill = journal.fill_percent
        if fill < _FILL_CALM:
            self._warned = False
        elif fill >= _FILL_WARN and not self._warned and journal.has_room(events.NORMAL):
            self._warned = self._note(events.JOURNAL_FILL, fill)


def _nothing() -> None:
    return None


# The system's clock: on an ESP32 it runs through deep sleep, wherever it started.
def _unix_ms() -> int:
    return time.time_ns() // 1_000_000


def _unknown(_action: int, _argument: "Any") -> "tuple[int, str]":
    return 3, ""
