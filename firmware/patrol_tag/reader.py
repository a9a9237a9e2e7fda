# Layer: the PN532 state machine on its UART or I2C port. Sleeps until the chip speaks or a deadline of the machine
# passes.
import asyncio

from drivers.pn532 import Pn532
from drivers.pn532_frames import WAKE

try:
    from typing import Any, Callable
except ImportError:
    pass

_RESET_MS = 20
_BOOT_MS = 10


class Reader:
    # uart: any(), read(), write(); flag: set by its interrupt; reset: output pin (0 = reset) or None;
    # clock: () -> ms; on_card: (uid, now_ms) -> None; on_trouble: () -> None, once per outage;
    # wake: as in Pn532
    def __init__(
        self,
        uart: "Any",
        flag: "Any",
        reset: "Any",
        clock: "Callable[[], int]",
        on_card: "Callable[[bytes, int], None]",
        on_trouble: "Callable[[], None]",
        wake: bytes = WAKE,
    ) -> None:
        self._uart = uart
        self._flag = flag
        self._reset = reset
        self._clock = clock
        self._on_card = on_card
        self._on_trouble = on_trouble
        self._wake = wake
        self._pause_ms = 0
        self.chip = Pn532(clock(), wake)

    # pause_ms: between two looks for a card, 0: the chip searches all the time
    def economy(self, pause_ms: int) -> None:
        if pause_ms != self._pause_ms:
            self._pause_ms = pause_ms
            self.chip.economy(pause_ms, self._clock())
            self._flag.set()

    # Nothing is under way between chip and host.
    @property
    def quiet(self) -> bool:
        return self.chip.quiet and not self._uart.any()

    # Chip off, for deep sleep: see .chip.off.
    def pocket(self) -> None:
        self.chip.pocket(self._clock())
        self._flag.set()

    # After a light sleep: what the interrupt would have said. answered: the chip's answer was what ended it.
    def woken(self, answered: bool) -> None:
        if answered:
            self.chip.woken(self._clock())
        self._flag.set()

    async def run(self) -> None:
        chip = self.chip = Pn532(self._clock(), self._wake, self._pause_ms)
        told = False
        while True:
            # none twice in a row: a long answer is in the buffer before its interrupt
            data = self._uart.read() if self._uart.any() else None
            now_ms = self._clock()
            uid = chip.receive(data or b"", now_ms)
            if uid is not None:
                self._on_card(uid, now_ms)
            resets = chip.resets
            out = chip.poll(self._clock())
            if chip.resets != resets:
                await self._pulse()
                if not told:
                    told = True
                    self._on_trouble()
            elif chip.ready:
                told = False
            if out:
                self._uart.write(out)
            wait_ms = chip.next_wake_ms() - self._clock()
            if wait_ms > 0:
                try:
                    await asyncio.wait_for_ms(self._flag.wait(), wait_ms)
                except asyncio.TimeoutError:
                    continue
            else:
                await asyncio.sleep_ms(0)

    async def _pulse(self) -> None:
        if self._reset:
            self._reset.value(0)
            await asyncio.sleep_ms(_RESET_MS)
            self._reset.value(1)
            await asyncio.sleep_ms(_BOOT_MS)
