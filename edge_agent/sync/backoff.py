"""Layer: how long to wait after a failure: exponential with full jitter; pure but for its random numbers."""

from __future__ import annotations

import random


class Backoff:
    """delay() after each failure, reset() after a success."""

    def __init__(self, first_s: float, last_s: float, rng: random.Random) -> None:
        self._first_s = first_s
        self._last_s = last_s
        self._rng = rng
        self.failures = 0

    def delay(self) -> float:
        """Seconds: between 0 and a ceiling that doubles with every failure, but not less than a tenth of it."""
        ceiling = min(self._first_s * (1 << min(self.failures, 30)), self._last_s)
        self.failures += 1
        return ceiling * max(self._rng.random(), 0.1)

    def reset(self) -> None:
        """The next failure starts small again."""
        self.failures = 0
