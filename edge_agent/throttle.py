"""Layer: wrong tries of a secret, per source -> how long that source is refused; pure: `now_s` is passed in."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

FREE_TRIES = 5
FIRST_S, LAST_S = 60.0, 3_600.0
MAX_SOURCES = 256  # remembered; whoever can speak from more addresses still has to guess 128 bits


class Throttle:
    """After FREE_TRIES wrong ones a source waits FIRST_S, and twice as long after each further one, LAST_S at most."""

    def __init__(self) -> None:
        self._sources: OrderedDict[str, tuple[int, float]] = OrderedDict()  # wrong tries, when the last one was

    def wait_s(self, source: str, now_s: float) -> float:
        """Seconds until the source may try again; 0: now."""
        tries, last_s = self._sources.get(source, (0, 0.0))
        if tries < FREE_TRIES:
            return 0.0
        return max(last_s + _pause_s(tries) - now_s, 0.0)

    def wrong(self, source: str, now_s: float) -> int:
        """Counts a wrong try -> how many there were; from FREE_TRIES on the source has to wait: that is an alarm."""
        tries, last_s = self._sources.pop(source, (0, now_s))
        if now_s - last_s > 2 * LAST_S:
            tries = 0
        self._sources[source] = (tries + 1, now_s)
        if len(self._sources) > MAX_SOURCES:
            self._sources.popitem(last=False)
        return tries + 1

    def right(self, source: str) -> None:
        """The source knows the secret: its wrong tries were slips."""
        self._sources.pop(source, None)


def source_of(address: str | None) -> str:
    """The source behind a peer's address: IPv4 as it is, of IPv6 the /64 that one subscriber has."""
    try:
        found = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return "unknown"
    if found.version == 6 and found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else str(found)


def _pause_s(tries: int) -> float:
    return min(FIRST_S * (1 << min(tries - FREE_TRIES, 10)), LAST_S)
