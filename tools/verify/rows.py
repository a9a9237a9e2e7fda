"""The rows of the edges' logs against the stored events: leaves computed again, and what each row vouches for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice, product
from typing import NamedTuple

import apsw

from edge_agent.integrity.leaves import Leaves
from gatelink import cbor, events
from gatelink.errors import GatelinkError
from tools.office import intervals
from tools.office.intervals import Span
from tools.office.items import after
from tools.verify.faults import Report, ranges

MAX_CHOICES = 4_096  # combinations of contents that are tried for one row, where events came with several
_ROWS = (
    "SELECT pos, branch, device, boot, first, count, skipped, mac_before, mac8, uptime_cs, t_lo_ms, t_hi_ms,"
    " received_ms, leaf FROM log_row WHERE log = ? AND (?2 IS NULL OR device = ?2) ORDER BY pos, branch"
)
_EVENTS = (
    "SELECT seq, kind, uptime_cs, t_lo_ms, t_hi_ms, received_ms, payload FROM event"
    " WHERE site = ? AND device = ? AND seq BETWEEN ? AND ? AND boot = ? ORDER BY seq"
)
_CONFLICTS = (
    "SELECT seq, uptime_cs, payload FROM conflict"
    " WHERE site = ? AND device = ? AND seq BETWEEN ? AND ? AND boot = ?"
)


class LogRow(NamedTuple):
    """One row of table log_row without its log."""

    pos: int
    branch: int
    device: int
    boot: int
    first: int
    size: int
    skipped: int
    mac_before: bytes | None
    mac8: bytes | None
    uptime_cs: int | None
    t_lo_ms: int | None
    t_hi_ms: int | None
    received_ms: int | None
    leaf: bytes

    @property
    def last(self) -> int:
        """The last event; first - 1 for none."""
        return self.first + self.size - 1


class Stored(NamedTuple):
    """One event of the office."""

    seq: int
    kind: int
    uptime_cs: int
    t_lo_ms: int
    t_hi_ms: int
    received_ms: int
    payload: bytes


class Whole(NamedTuple):
    """A row put together again: the 13 values of the edge, and what it says of each of its events."""

    values: list[object]
    contents: list[tuple[int, bytes]]  # uptime_cs and payload


class Vouched:
    """What the rows of a site vouch for; by device where nothing else is said."""

    def __init__(self) -> None:
        self.contents: dict[
            tuple[int, int], list[Span]
        ] = {}  # (device, boot): events that are as some row has them
        self.times: dict[tuple[int, int], list[Span]] = {}  # ... and whose times are
        self.proofs: dict[int, dict[tuple[int, bytes], set[int]]] = {}  # (seq, mac8) -> sources
        self.losses: dict[int, set[Span]] = {}
        self.restated: dict[int, set[tuple[int, ...]]] = {}
        self.conflicts: set[tuple[int, int, int, int, bytes]] = set()  # device, seq, boot, uptime_cs, payload

    def add(self, row: LogRow, said: tuple[int, int, int, int]) -> None:
        """What stands in the row itself; said: its uptime_cs, t_lo_ms, t_hi_ms, received_ms."""
        restated = row.size == 0 and row.mac8 is None and row.mac_before is None and row.skipped
        if restated:
            self.restated.setdefault(row.device, set()).add(
                (row.boot, row.first, row.first + row.skipped - 1, *said)
            )
            return
        if row.skipped:
            self.losses.setdefault(row.device, set()).add((row.first - row.skipped, row.first - 1))
            if row.mac_before is not None:
                self._proof(row.device, row.first - 1, row.mac_before, 2)
        if row.mac8 is not None and row.last:
            self._proof(row.device, row.last, row.mac8, 0 if row.size else 1)

    def _proof(self, device: int, seq: int, mac8: bytes, source: int) -> None:
        self.proofs.setdefault(device, {}).setdefault((seq, mac8), set()).add(source)


class Checker:
    """Goes over the rows of one site's logs."""

    def __init__(self, db: apsw.Connection, report: Report, site: str, site_key: int) -> None:
        self._db = db
        self._report = report
        self._site, self._key = site, site_key
        self.vouched = Vouched()
        self.bad: dict[int, list[Span]] = {}  # device -> events of rows that are not as they came

    def values(self, edge: str, row: LogRow) -> list[object] | None:
        """The 13 values of one row as the edge had them; None if the stored events do not give its leaf."""
        stored = self._stored(row)
        said = _said(row, stored)
        if said is None or len(stored) < row.size:
            return None
        whole = self._fitting(row, said, stored, Leaves(self._site, edge))
        return whole.values if whole is not None else None

    def check(self, log: int, edge: str, device: int | None) -> tuple[int, int]:
        """All rows of a log, or those of one device; how many rows and events."""
        leaves = Leaves(self._site, edge)
        rows = total = 0
        for row in self._rows(log, device):
            rows += 1
            total += row.size
            self._row(row, edge, leaves)
        return rows, total

    def _rows(self, log: int, device: int | None) -> Iterator[LogRow]:
        for found in self._db.execute(_ROWS, (log, device)):
            yield LogRow(*found)

    def _row(self, row: LogRow, edge: str, leaves: Leaves) -> None:
        stored = self._stored(row)
        said = _said(row, stored)
        at = {"site": self._site, "edge": edge, "device": row.device, "boot": row.boot, "pos": row.pos}
        key = (row.device, row.boot)
        if len(stored) < row.size:
            gone = sorted(set(range(row.first, row.last + 1)) - {one.seq for one in stored})
            for first, last in ranges(gone):
                self._report.fault("event_dropped", **at, first=first, last=last)
            self._excuse(row)
            return
        whole = self._fitting(row, said, stored, leaves) if said is not None else None
        if said is None or whole is None:
            span = {"first": row.first, "last": row.last} if row.size else {}
            self._report.fault("row_changed", **at, **span)
            intervals.add(self.bad.setdefault(row.device, []), row.first, max(row.last, row.first))
            self._excuse(row)
            return
        self.vouched.add(row, said)
        same: list[int] = []
        timely: list[int] = []
        for one, (uptime_cs, payload) in zip(stored, whole.contents, strict=True):
            if (one.uptime_cs, one.payload) != (uptime_cs, payload):
                self.vouched.conflicts.add((row.device, one.seq, row.boot, uptime_cs, payload))
                continue
            same.append(one.seq)
            times = after(said[1], said[2], uptime_cs - said[0])
            if (one.t_lo_ms, one.t_hi_ms, one.received_ms) == (*times, said[3]):
                timely.append(one.seq)
            if one.kind != events.kind_of(one.payload):
                self._report.fault("kind_changed", **at, first=one.seq)
        for covered, numbers in ((self.vouched.contents, same), (self.vouched.times, timely)):
            for first, last in ranges(numbers):
                intervals.add(covered.setdefault(key, []), first, last)

    def _stored(self, row: LogRow) -> list[Stored]:
        if not row.size:
            return []
        found = self._db.execute(_EVENTS, (self._key, row.device, row.first, row.last, row.boot))
        return [Stored(*one) for one in found]

    def _excuse(self, row: LogRow) -> None:
        """Of these events the row's own fault is told; they are not called made up besides."""
        if row.size:
            for covered in (self.vouched.contents, self.vouched.times):
                intervals.add(covered.setdefault((row.device, row.boot), []), row.first, row.last)

    def _fitting(
        self, row: LogRow, said: tuple[int, int, int, int], stored: list[Stored], leaves: Leaves
    ) -> Whole | None:
        """The row as it gives its leaf, with other contents of the same events where such came; None if none does."""
        contents = [(one.uptime_cs, one.payload) for one in stored]
        whole = _whole(row, said, contents)
        if whole is not None and leaves.hash(whole.values) == row.leaf:
            return whole
        others: dict[int, list[tuple[int, bytes]]] = {}
        for seq, uptime_cs, payload in self._db.execute(
            _CONFLICTS, (self._key, row.device, row.first, row.last, row.boot)
        ):
            others.setdefault(seq, []).append((uptime_cs, payload))
        if not others:
            return None
        choices = [
            [*reversed(others.get(one.seq, [])), content]
            for one, content in zip(stored, contents, strict=True)
        ]
        for chosen in islice(product(*choices), MAX_CHOICES):
            whole = _whole(row, said, list(chosen))
            if whole is not None and leaves.hash(whole.values) == row.leaf:
                return whole
        return None


def _said(row: LogRow, stored: list[Stored]) -> tuple[int, int, int, int] | None:
    """uptime_cs, t_lo_ms, t_hi_ms and received_ms of the row; None where neither it nor an event has them."""
    own = (row.uptime_cs, row.t_lo_ms, row.t_hi_ms, row.received_ms)
    first = stored[0] if stored else None
    theirs = (first.uptime_cs, first.t_lo_ms, first.t_hi_ms, first.received_ms) if first else (None,) * 4
    merged = [one if one is not None else other for one, other in zip(own, theirs, strict=True)]
    a, b, c, d = merged
    if a is None or b is None or c is None or d is None:
        return None
    return a, b, c, d


def _whole(row: LogRow, said: tuple[int, int, int, int], contents: list[tuple[int, bytes]]) -> Whole | None:
    """None when times run backwards in it, which no row that came can have."""
    parts: list[bytes] = []
    before = said[0]
    for index, (uptime_cs, payload) in enumerate(contents):
        if uptime_cs < before or (index == 0 and uptime_cs != before):
            return None
        if index:
            parts.append(cbor.dumps(uptime_cs - before))
        parts.append(payload)
        before = uptime_cs
    try:
        values: list[object] = [
            row.pos, row.device, row.boot, row.first, row.last, *said, row.skipped, row.mac_before, b"".join(parts),
            row.mac8,
        ]  # fmt: skip
    except (TypeError, GatelinkError):
        return None  # a column holds something that no row can hold
    return Whole(values, contents)


def outside(spans: list[Span], numbers: Iterable[int]) -> list[int]:
    """Those of the sorted numbers that no interval holds."""
    found: list[int] = []
    at = 0
    for number in numbers:
        while at < len(spans) and spans[at][1] < number:
            at += 1
        if at == len(spans) or spans[at][0] > number:
            found.append(number)
    return found
