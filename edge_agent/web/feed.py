"""Layer: the newest events as they are committed, for whoever watches; bounded, decoded only when looked at."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from edge_agent import runs
from edge_agent.live import is_live
from gatelink.errors import GatelinkError

KEEP_ROWS = 128
MAX_SHOWN = 50  # events of one look, the newest ones
UNKNOWN_MS = (1 << 48) - 1


Moment = tuple[int, int | None]  # this machine's time and how far it may be off; None: the time is not known


class Seen(NamedTuple):
    """One event as people see it. `at_ms`: the middle of what is known, None if nothing; late: not what goes on now."""

    pos: int
    device: int
    seq: int
    at_ms: int | None
    late: bool
    payload: bytes


class Feed:
    """The last rows of the log. Everything here runs on the event loop."""

    def __init__(self) -> None:
        self._rows: deque[tuple[tuple[Any, ...], Moment]] = deque(maxlen=KEEP_ROWS)  # with when it was committed
        self._more = asyncio.Event()
        self.newest = 0

    def committed(self, rows: Sequence[tuple[Any, ...]], moment: Moment) -> None:
        """Rows that are durable now, in the log's order; cheap, since every commit comes by here."""
        if not rows:
            return
        self._rows.extend((row, moment) for row in rows[-KEEP_ROWS:])
        self.newest = rows[-1][0]
        self._more.set()

    async def wait(self, after: int, seconds: float) -> None:
        """Returns when there is something behind `after`, or after so many seconds."""
        if self.newest > after:
            return
        self._more.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._more.wait()
        except TimeoutError:
            return

    def after(self, pos: int) -> list[Seen]:
        """Events of the rows behind `pos`, oldest first, the newest MAX_SHOWN of them."""
        found: list[Seen] = []
        for row, committed in reversed(self._rows):
            if row[0] <= pos or len(found) >= MAX_SHOWN:
                break
            found[:0] = _events_of(row, committed)
        return found[-MAX_SHOWN:]


def _events_of(row: tuple[Any, ...], committed: Moment) -> list[Seen]:
    pos, device, _, first, last, _, low, high = row[:8]
    if last < first:
        return []  # a proof, or times stated again
    try:
        split = runs.split(row[12])
    except GatelinkError:
        return []  # can't be: ingest has surveyed it
    found = []
    for index, (since_cs, payload) in enumerate(split):
        low_ms = low + since_cs * 10 if low else 0
        high_ms = high + since_cs * 10
        known = low_ms > 0 and high < UNKNOWN_MS
        late = not is_live(low, since_cs, *committed)  # what waited for the disk is no news either
        found.append(
            Seen(pos, device, first + index, (low_ms + high_ms) // 2 if known else None, late, payload)
        )
    return found

