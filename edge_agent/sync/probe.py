"""Layer: whether the office can be reached again: a small question, now and then, while uploads pause."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable


class Probe:
    """Ends a pause when the way to the office comes back. Only a change counts: an office that answers and refuses
    keeps its pause.
    """

    def __init__(self, reached: Callable[[], Awaitable[bool]], every_s: float, rng: random.Random) -> None:
        self._reached = reached
        self._every_s = every_s
        self._rng = rng
        self._turn = asyncio.Lock()  # lanes that pause together share one question
        self.tries = 0

    async def back(self, *, away: bool) -> None:
        """Returns when the office answers after it did not; away: it is known that it does not."""
        async with self._turn:
            while True:
                # Spread, so that a thousand edges do not knock together.
                await asyncio.sleep(self._every_s * (0.5 + self._rng.random() / 2))
                self.tries += 1
                if not await self._reached():
                    away = True
                elif away:
                    return
