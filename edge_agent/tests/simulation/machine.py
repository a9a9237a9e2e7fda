"""Layer: a machine with its disk, and the life of what runs on it: ended by a kill, a power cut, in mid-write."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable

from edge_agent.tests.simulation.clock import Life, VirtualLoop
from edge_agent.tests.simulation.disk import Disk
from edge_agent.tests.simulation.truth import Truth


class Machine(ABC):
    """What edge and office have in common."""

    def __init__(
        self,
        name: str,
        loop: VirtualLoop,
        rng: random.Random,
        truth: Truth,
        count: Counter[str],
        trace: Callable[..., None],
        disturbed: Callable[[], None],
    ) -> None:
        self.name = name
        self.loop = loop
        self.rng = rng
        self.truth = truth
        self.count = count
        self.trace = trace
        self.disturbed = disturbed
        self.disk = Disk(rng, lambda what: count.update([f"{name} {what}"]))
        self.disk.on_crash = self._crashed
        self.life: Life | None = None

    @abstractmethod
    def start(self) -> None:
        """Starts what runs here; when it can't, again later."""

    @abstractmethod
    def _forget(self) -> None:
        """What ran here is gone."""

    def end(self, restart_ms: float, *, power: bool) -> bool:
        """SIGKILL, or with the power; again after restart_ms. False: nothing ran here."""
        if self.life is None:
            return False
        self.disk.crash(power=power)
        self._gone(restart_ms)
        return True

    def _crashed(self) -> None:
        """The disk saw the end come in the middle of a write."""
        self.count[f"{self.name} crash in a write"] += 1
        self._gone(self.rng.uniform(500, 15_000))

    def _gone(self, restart_ms: float) -> None:
        assert self.life is not None
        self.trace(self.name, "is gone")
        self.disturbed()
        self.life.end()
        self.life = None
        self._forget()
        self.loop.after_ms(restart_ms, self.start)
