"""Layer: why frames were refused, per port and per device; for the status page."""

from __future__ import annotations

from collections import Counter, OrderedDict

MAX_STRANGERS = 32


class Rejects:
    """Counts by reason (gatelink.reasons); a reason once counted is never forgotten while the agent runs."""

    def __init__(self) -> None:
        self.total: Counter[str] = Counter()
        self.by_port: dict[str, Counter[str]] = {}
        self.by_device: dict[int, Counter[str]] = {}
        self.strangers: OrderedDict[int, int] = OrderedDict()  # device number -> frames, the latest few

    def add(self, reason: str, port: str, device: int | None = None, count: int = 1) -> None:
        """One refused frame (or `count`); `device` only where the frame named a known one."""
        self.total[reason] += count
        self.by_port.setdefault(port, Counter())[reason] += count
        if device is not None:
            self.by_device.setdefault(device, Counter())[reason] += count

    def stranger(self, device: int) -> None:
        """A frame claimed to come from a device that is not provisioned here."""
        self.strangers[device] = self.strangers.pop(device, 0) + 1
        if len(self.strangers) > MAX_STRANGERS:
            self.strangers.popitem(last=False)
