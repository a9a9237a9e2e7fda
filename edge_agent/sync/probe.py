"""Layer: whether the office's address can be reached again: a bare TCP connect, now and then, while uploads pause."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable


class Probe:
    """Ends a pause when the way to the office comes back. Only a change counts: an office that takes connections and
    refuses, or never answers, keeps its pause.
    """

    def __init__(self, reached: Callable[[], Awaitable[bool]], every_s: float, rng: random.Random) -> None:
        self._reached = reached
        self._every_s = every_s
        self._rng = rng
        self._turn = asyncio.Lock()  # lanes that pause together share one connect
        self.tries = 0

    async def back(self, *, away: bool) -> None:
        """Returns when the address takes a connection after it did not; away: it is known that it does not."""
        async with self._turn:
            while True:
                # Spread, so that a thousand edges do not knock together.
                await asyncio.sleep(self._every_s * (0.5 + self._rng.random() / 2))
                self.tries += 1
                if not await self._reached():
                    away = True
                elif away:
                    return
