"""Layer: the counter of frames to devices: reserved on disk in blocks, so that no value is used twice, ever."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import apsw

from edge_agent.entries import Job
from edge_agent.errors import StoreClosedError
from edge_agent.store import devices

# A start takes little, so that one that is started over and over again stays behind its clock; who sends gets more.
FIRST, BLOCK = 1 << 11, 1 << 16
NAME = devices.DOWN_PIV
_TOP = (1 << 40) - 1


class DownCounter:
    """Strictly increasing 40-bit numbers. One for all devices: each has its own keys."""

    def __init__(self, next_value: int, reserved_to: int) -> None:
        self._next = next_value
        self._reserved_to = reserved_to
        self._low = FIRST // 2
        self._asked = False
        self.submit: Callable[[Job], None] | None = None

    @classmethod
    def open(cls, connection: apsw.Connection, unix_s: int) -> DownCounter:
        """Reserves the first block; call inside a transaction. Also beyond a store that was lost: time goes on."""
        start = max(devices.meta(connection, NAME) + 1, unix_s << 8)
        devices.set_meta(connection, NAME, start + FIRST - 1)
        return cls(start, start + FIRST - 1)

    def next(self) -> int | None:
        """The next value, or None while the disk has not granted one."""
        if not self._asked and self._reserved_to - self._next < self._low and self.submit is not None:
            self._asked = True
            target = self._reserved_to + BLOCK
            # The answers of the last commit take numbers, too: those that are reserved will do.
            with contextlib.suppress(StoreClosedError):
                self.submit(
                    Job(lambda connection: devices.set_meta(connection, NAME, target), lambda: self._got(target))
                )
        if self._next > min(self._reserved_to, _TOP):
            return None
        value = self._next
        self._next += 1
        return value

    def _got(self, reserved_to: int) -> None:
        self._reserved_to = reserved_to
        self._low = BLOCK // 2
        self._asked = False
