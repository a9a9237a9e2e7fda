"""Layer: the virtual board as a target: its own thread plays the bench, the tests only see its serial ports."""

import asyncio
import os
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from hw_tests.suite import wiring
from hw_tests.suite.target import ON_REQUEST, SerialTarget
from hw_tests.virtual_board.board import VirtualBoard

T = TypeVar("T")
CARD = bytes.fromhex("04a1b2c3d4e5f6")
_CALL_S = 60.0


class VirtualTarget(SerialTarget):
    """A blank board: empty flash, no files, jumpers plugged. What is on it came over its console."""

    name = "virtual"

    def __init__(self, folder: Path, board: str, role: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="bench", daemon=True)
        self._thread.start()
        jumpers = [[out, into] for _, out, into in wiring.pin_jumpers(board, role)]
        # nothing is mounted and nothing is run but what lies in the board's own files
        self.device = VirtualBoard(
            folder, wiring.ROLES[role], board=board, code={}, main=folder / "files" / "main.py",
            plant={"jumpers": jumpers},
        )  # fmt: skip
        super().__init__(self.call(self._start()), board, role, frozenset(ON_REQUEST), self.device.port)
        self.can = self.can - {"processor"} | {"power"}

    async def _start(self) -> str:
        await self.device.start()
        return self.device.open_console()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Something the bench does."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_CALL_S)

    def close(self) -> None:
        super().close()
        self.call(self.device.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @contextmanager
    def uart_jumper(self) -> Iterator[None]:
        port = os.open(self.device.port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        self._loop.call_soon_threadsafe(self._loop.add_reader, port, lambda: os.write(port, os.read(port, 4096)))
        try:
            yield
        finally:
            done = threading.Event()

            def unplug() -> None:
                self._loop.remove_reader(port)
                done.set()

            self._loop.call_soon_threadsafe(unplug)
            done.wait()
            os.close(port)

    def cut_power_at(self, op: str, nth: int, byte: int) -> None:
        """Arms a cut; the console goes with the power."""
        self.call(self.device.cut_power_at(op, nth, byte))

        async def unplug() -> None:
            await self.device.wait_off(_CALL_S)
            self.device.close_console()

        self._cut = asyncio.run_coroutine_threadsafe(unplug(), self._loop)

    def power_on(self) -> None:
        """After the cut has struck."""
        self.free()
        self._cut.result(_CALL_S)

        async def plug() -> None:
            await self.device.power_on()
            self.device.open_console()

        self.call(plug())

    def hold_card(self) -> str:
        """The card comes while the device is looking for it."""
        asyncio.run_coroutine_threadsafe(self.device.tap(CARD, 5000), self._loop)
        return CARD.hex()
