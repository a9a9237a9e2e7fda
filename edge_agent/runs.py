"""Layer: what the store needs to know of a batch of events, and how it is cut where parts are already held; pure."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from edge_agent.coverage import MAX_SEQ
from edge_agent.hot import normal_span, uint
from edge_agent.store.events import Run
from edge_agent.timing import UNKNOWN_MS
from gatelink import events, reasons
from gatelink.errors import MessageError
from gatelink.events_host import plain_split
from gatelink.messages import Events

CLASSES = tuple(events.class_of(kind) for kind in range(256))
# What a row holds at most, as the office takes it; more than a batch holds only where the short way read all of it.
MAX_EVENTS, MAX_ITEMS = 256, 4_096
_MAX_STEP = 9  # bytes of the time between two events
# A row's events follow from the first one's time with 10 ppm: 0.43 s in half a day. One message may span more.
MAX_SPAN_CS = 12 * 360_000
# What an event's uptime fits into, here, on the wire and at the office.
MAX_UPTIME_CS = (1 << 40) - 1


class Survey(NamedTuple):
    """How many events, how long after the first the last one happened, and the highest class among them."""

    size: int
    span_cs: int
    priority: int
    has_time: bool  # TIME events among them
    plain: bool  # the short way read them


def surveyed(message: Events) -> Survey:
    """As survey() of its items; raises also where its last event's number or uptime fits nowhere."""
    found = survey(message.items)
    if (
        message.first_seq + found.size - 1 > MAX_SEQ
        or message.uptime_cs + found.span_cs > MAX_UPTIME_CS
    ):
        raise MessageError(reasons.BAD_FIELD, "the last event's number or uptime")
    return found


def survey(items: bytes) -> Survey:
    """Items of a batch -> Survey. Raises GatelinkError when they are not well-formed; contents are the office's."""
    normal = normal_span(items)
    if normal is not None:
        return Survey(*normal, events.NORMAL, False, True)  # noqa: FBT003 - in the order of its fields
    found = events.split(items)
    kinds = {events.kind_of(payload) for _, payload in found}
    priority = max([CLASSES[kind] for kind in kinds])
    return Survey(len(found), found[-1][0], priority, has_time=events.TIME in kinds, plain=False)


def split(items: bytes) -> list[tuple[int, bytes]]:
    """As events.split(), of a row."""
    return plain_split(items, events.MAX_PAYLOAD, MAX_EVENTS) or events.careful_split(items)


class Joined:
    """A run of events as one row, its bytes as received; grows by what follows it, if `grows`.

    The first event's time is then the time of all of them: right where the boot has an anchor, for then each event's
    own bounds would be the same but for drift, which MAX_SPAN_CS bounds.
    """

    __slots__ = (
        "_bytes",
        "_grows",
        "_message",
        "_parts",
        "_plain",
        "boot",
        "has_time",
        "mac8",
        "priority",
        "size",
        "span_cs",
        "uptime_cs",
    )

    def __init__(self, message: Events, found: Survey, *, grows: bool) -> None:
        self._message = message
        self._parts = [message.items]
        self.boot: int = message.boot
        self.uptime_cs: int = message.uptime_cs
        self.size, self.span_cs, self.priority, self.has_time, self._plain = found
        self._bytes = len(message.items)
        self.mac8: bytes | None = message.mac8
        self._grows = grows

    def take(self, message: Events, found: Survey) -> bool:
        """Grows by a message; False, and nothing changed, when that does not follow.

        A later chain value proves what an earlier one did and takes its place; without one nothing follows it.
        """
        size = self.size + found.size
        delta_cs = message.uptime_cs - self.uptime_cs - self.span_cs
        plain = self._plain and found.plain
        if (
            not self._grows
            or (self.mac8 is not None and message.mac8 is None)
            or message.first_seq != self._message.first_seq + self.size
            or message.boot != self.boot
            or message.skipped
            or found.priority != self.priority
            or size > (MAX_EVENTS if plain else events.MAX_BATCH)
            or self._bytes + len(message.items) + _MAX_STEP > MAX_ITEMS
            or delta_cs < 0
            or self.span_cs + delta_cs + found.span_cs > MAX_SPAN_CS
        ):
            return False
        self._parts += (uint(delta_cs), message.items)
        self._bytes += len(message.items) + _MAX_STEP
        self._plain = plain
        self.size = size
        self.span_cs += delta_cs + found.span_cs
        self.has_time = self.has_time or found.has_time
        self.mac8 = message.mac8
        return True

    @property
    def items(self) -> bytes:
        """All of them as one batch."""
        return b"".join(self._parts) if len(self._parts) > 1 else self._parts[0]

    def run(self, device: int, t_lo_ms: int, t_hi_ms: int, received_ms: int) -> Run:
        """As a row."""
        message = self._message
        first: int = message.first_seq
        return (
            device, self.boot, first, first + self.size - 1, self.uptime_cs, t_lo_ms, t_hi_ms, received_ms,
            self.priority, message.skipped, message.mac_before, self.items, self.mac8,
        )  # fmt: skip


def proof_of(device: int, boot: int, seq: int, mac8: bytes, uptime_cs: int, received_ms: int) -> Run:
    """A row without events: the chain's value after `seq`."""
    return (device, boot, seq + 1, seq, uptime_cs, 0, received_ms, received_ms, 0, 0, None, b"", mac8)


def restated(
    device: int, boot: int, first_seq: int, size: int, uptime_cs: int, t_lo_ms: int, t_hi_ms: int, now_ms: int
) -> Run:
    """A row without events: what is known by now of the times of `size` events from first_seq on."""
    return (
        device,
        boot,
        first_seq,
        first_seq - 1,
        uptime_cs,
        t_lo_ms,
        t_hi_ms,
        now_ms,
        0,
        size,
        None,
        b"",
        None,
    )


def cut(run: Run, parts: list[tuple[int, int]]) -> list[Run]:
    """Those parts of a run that are not held yet, each a row; a chain value whose event is held stays as a proof."""
    (
        device,
        boot,
        first,
        last,
        uptime_cs,
        t_lo_ms,
        t_hi_ms,
        received_ms,
        _,
        skipped,
        mac_before,
        items,
        mac8,
    ) = run
    found = split(items)
    rows: list[Run] = []
    for low, high in parts:
        chosen = found[low - first : high - first + 1]
        since_cs = chosen[0][0]
        pieces = [chosen[0][1]]
        for (before_cs, _), (at_cs, payload) in pairwise(chosen):
            pieces += (uint(at_cs - before_cs), payload)
        priority = max(CLASSES[events.kind_of(payload)] for _, payload in chosen)
        head = low == first
        # As the office does it, with the crystal's 10 ppm; the first event's interval allows for everything else.
        drift_ms = -(-since_cs // 10_000)
        high_ms = min(t_hi_ms + since_cs * 10 + drift_ms, UNKNOWN_MS)
        low_ms = min(t_lo_ms + since_cs * 10 - drift_ms, high_ms) if t_lo_ms else 0
        rows.append(
            (
                device, boot, low, high, uptime_cs + since_cs,
                low_ms, high_ms, received_ms, priority, skipped if head else 0, mac_before if head else None,
                b"".join(pieces), mac8 if high == last else None,
            )
        )  # fmt: skip
    if mac8 is not None and rows and rows[-1][3] != last:
        rows.append(proof_of(device, boot, last, mac8, uptime_cs + found[-1][0], received_ms))
    return rows
