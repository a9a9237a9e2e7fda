# Layer: stands in for the node while there are no keys or no journal: the buttons and all safety work, cards
# and commands don't, nothing is recorded.
import asyncio

from node.clock import Clock

try:
    from typing import Any, Callable
except ImportError:
    pass


class Unprovisioned:
    journal = None

    # watchdog: something with feed(), or None
    def __init__(self, ticks_ms: "Callable[[], int]", watchdog: "Any") -> None:
        self.clock = Clock(ticks_ms)
        self._watchdog = watchdog
        self._tasks: "list[Any]" = []

    def record(self, _kind: int, *_fields: "Any") -> int:
        return 0

    def supervise(self, factory: "Callable[[], Any]") -> None:
        self._tasks.append(factory)

    async def run(self) -> None:
        await asyncio.gather(self._feed(), *[factory() for factory in self._tasks])

    async def _feed(self) -> None:
        while self._watchdog:
            self._watchdog.feed()
            await asyncio.sleep_ms(2000)
