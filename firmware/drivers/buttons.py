# Layer: contacts (buttons, limits, loops) -> settled levels. Edges wake it, time settles it; no polling while
# quiet.
import asyncio

try:
    from typing import Any, Callable
except ImportError:
    pass


# One contact. now_ms only moves forward. on_ms / off_ms: how long a new level must last before it is
# believed.
class Debounced:
    def __init__(self, active: bool, on_ms: int, off_ms: int) -> None:
        self.active = active
        self._on_ms = on_ms
        self._off_ms = off_ms
        self._since_ms = -1  # the moment the raw level left the settled one; -1 while they agree

    # raw: the level now -> True when .active has just changed
    def sample(self, raw: bool, now_ms: int) -> bool:
        if raw == self.active:
            self._since_ms = -1
            return False
        if self._since_ms < 0:
            self._since_ms = now_ms
        if now_ms - self._since_ms < (self._on_ms if raw else self._off_ms):
            return False
        self.active = raw
        self._since_ms = -1
        return True

    # ms until sample() can change something by time alone, -1 when settled
    def wait_ms(self, now_ms: int) -> int:
        if self._since_ms < 0:
            return -1
        return max(0, self._since_ms + (self._off_ms if self.active else self._on_ms) - now_ms)


# All contacts of a device.
class Contacts:
    # clock: () -> ms since boot, never backwards; on_change: (name, active, now_ms) -> None
    def __init__(
        self, flag: "Any", clock: "Callable[[], int]", on_change: "Callable[[str, bool, int], None]"
    ) -> None:
        self._flag = flag
        self._clock = clock
        self._on_change = on_change
        self._contacts: "dict[str, tuple[Any, int, Debounced]]" = {}

    # pin: an input (value(), irq()); level: what it reads when active. Returns whether it is active now.
    def add(self, name: str, pin: "Any", level: int, on_ms: int, off_ms: int) -> bool:
        contact = Debounced(pin.value() == level, on_ms, off_ms)
        self._contacts[name] = (pin, level, contact)
        pin.irq(self._edge, pin.IRQ_RISING | pin.IRQ_FALLING)
        return contact.active

    def _edge(self, _pin: "Any") -> None:
        self._flag.set()

    # Reads every contact once. Returns the ms until the next look that is needed, -1 for none before an edge.
    def look(self) -> int:
        now_ms = self._clock()
        soonest = -1
        for name, (pin, level, contact) in self._contacts.items():
            if contact.sample(pin.value() == level, now_ms):
                self._on_change(name, contact.active, now_ms)
            wait_ms = contact.wait_ms(now_ms)
            if wait_ms >= 0 and (soonest < 0 or wait_ms < soonest):
                soonest = wait_ms
        return soonest

    async def run(self) -> None:
        while True:
            wait_ms = self.look()
            if wait_ms < 0:
                await self._flag.wait()
            else:
                try:
                    await asyncio.wait_for_ms(self._flag.wait(), wait_ms)
                except asyncio.TimeoutError:
                    continue
