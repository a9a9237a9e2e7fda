"""Layer: what really happened, known to nobody in the world: every event as minted, every row and event once durable.

The invariants are stated here, each where what it speaks of changes; one that does not hold raises Violation.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import apsw
import cbor2

from edge_agent.coverage import Coverage
from edge_agent.timing import UNKNOWN_MS
from gatelink import events
from tools.office.items import after

OWN = 1  # device number under which the edge records its own events


class Violation(AssertionError):  # noqa: N818 - what it is
    """An invariant does not hold."""


class Minted(NamedTuple):
    """One event as the device made it, and when that was."""

    boot: int
    uptime_cs: int
    payload: bytes
    true_ms: float
    alarm: bool


class Held:
    """Which seqs of one device are somewhere: how far without a gap, and how many in all."""

    def __init__(self) -> None:
        self.upto = 0
        self.seqs: set[int] = set()

    def add(self, seq: int) -> bool:
        """False: it was there already."""
        if seq in self.seqs:
            return False
        self.seqs.add(seq)
        while self.upto + 1 in self.seqs:
            self.upto += 1
        return True


class Truth:
    """trace(what, ...) tells the world's diary; now_ms() is true time."""

    def __init__(self, trace: Callable[..., None], now_ms: Callable[[], float]) -> None:
        self._trace = trace
        self._now_ms = now_ms
        self.minted: dict[int, dict[int, Minted]] = {}
        self.edge: dict[int, Held] = {OWN: Held()}
        self.office: dict[int, Held] = {OWN: Held()}
        self.rows: list[tuple[Any, ...]] = []  # the log as it was last seen committed
        self.own: dict[int, tuple[int, int, bytes]] = {}
        self.lanes: dict[str, tuple[int, bytes]] = {}
        self.delivered: dict[str, Coverage] = {}
        self.taken: dict[int, set[int]] = {}  # partial IVs of frames that took effect durably
        self.fresh: list[tuple[int, int]] = []  # (device, partial IV) accepted since the last group
        self.issued: dict[int, float] = {}  # command -> until when it may act
        self.acted: set[int] = set()
        self._gone = 0  # rows that were pruned
        self.speaking = 0  # whose frames the edge is looking at
        self.violation = ""
        self.checks: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    def wrong(self, what: str) -> None:
        """An invariant does not hold: the first one is what is told."""
        self.violation = self.violation or what
        self._trace("VIOLATION", what)
        raise Violation(what)

    def device(self, number: int) -> None:
        """This device exists."""
        self.minted[number] = {}
        self.edge[number] = Held()
        self.office[number] = Held()
        self.taken[number] = set()

    # The device.

    def acknowledged(self, device: int, acked: int, stored_upto: int) -> None:
        """A device was told `acked`; when that was sent, the edge had all up to stored_upto on its disk."""
        self.checks["acknowledgements"] += 1
        if acked > stored_upto:
            self.wrong(f"device {device} was told {acked}, but only {stored_upto} is on the edge's disk")

    def acts(self, number: int) -> None:
        """A device carries out a command."""
        self.checks["commands"] += 1
        if number in self.acted:
            self.wrong(f"command {number} acts twice")
        if self._now_ms() > self.issued[number]:
            self.wrong(f"command {number} acts {self._now_ms() - self.issued[number]:.0f} ms too late")
        self.acted.add(number)

    # The edge.

    def accepts(self, piv: int) -> None:
        """The edge takes a frame for fresh."""
        device = self.speaking
        if piv in self.taken.get(device, ()):
            self.wrong(f"frame {piv:010x} of device {device} is taken a second time")
        self.fresh.append((device, piv))

    @contextmanager
    def leaving(self) -> Iterator[None]:
        """A frame is left with its device for want of room: it is accepted, and has no effect that lasts."""
        before = len(self.fresh)
        yield
        del self.fresh[before:]

    def opened(self, connection: apsw.Connection) -> None:
        """An edge has found its store again after its end."""
        self.checks["recoveries"] += 1
        self.fresh.clear()
        found = list(connection.execute("SELECT * FROM log ORDER BY pos"))
        gone = next(
            (at for at, row in enumerate(self.rows) if found and row[0] >= found[0][0]), len(self.rows)
        )
        left = self.rows[gone:]
        if found[: len(left)] != left:
            self.wrong(f"rows that were committed are gone or altered: {len(found)} of {len(left)}")
        self._pruned(gone)
        known = {device for (device,) in connection.execute("SELECT device FROM device")}
        for device, held in self.edge.items():
            if held.seqs and device not in known:
                self.wrong(f"the watermark of device {device} is gone")
        self.look(connection, [])

    def _pruned(self, gone: int) -> None:
        """The first so many rows are no longer there: whose events the office has."""
        for row in self.rows[self._gone : gone]:
            self.checks["rows pruned"] += 1
            lane = "alarm" if row[9] == 2 else "normal"
            if lane not in self.delivered or self.delivered[lane].missing(row[0], row[0]):
                self.wrong(f"row {row[0]} is gone, and was not delivered")
        self._gone = max(self._gone, gone)

    def look(self, connection: apsw.Connection, group: list[tuple[int, int]]) -> None:
        """After a commit (its frames: `group`): what is new in the store must be true."""
        first = connection.execute("SELECT min(pos) FROM log").get
        while self._gone < len(self.rows) and (first is None or self.rows[self._gone][0] < first):
            self._pruned(self._gone + 1)
        last = self.rows[-1][0] if self.rows else 0
        for row in connection.execute("SELECT * FROM log WHERE pos > ? ORDER BY pos", (last,)):
            self.rows.append(row)
            self._row(row)
        for device, piv in group:
            self.taken[device].add(piv)
        for device, upto, blob in connection.execute("SELECT device, upto, islands FROM device"):
            held = self.edge[device]
            islands = cbor2.loads(blob) if blob != b"\x80" else ()
            if upto > held.upto:
                self.wrong(f"device {device}: watermark {upto}, stored without a gap {held.upto}")
            if upto + sum(high - low + 1 for low, high in islands) != len(held.seqs):
                self.wrong(f"device {device}: watermark {upto} and {islands} of {len(held.seqs)} stored")
        self.checks["commits"] += 1
        self._delivered(connection)

    def _row(self, row: tuple[Any, ...]) -> None:
        pos, device, boot, first, last, uptime_cs, low, high, _, _, skipped, _, items, mac8 = row
        if last < first:
            if mac8 is None:
                self._restated(device, boot, first, skipped, uptime_cs, low, high)
            return
        held = self.edge[device]
        if skipped:
            self.wrong(f"row {pos}: device {device} lost {skipped} events before {first}")
        found = events.split(items)
        if len(found) != last - first + 1:
            self.wrong(f"row {pos}: {len(found)} events as {first}..{last}")
        for index, (since, payload) in enumerate(found):
            seq = first + index
            if not held.add(seq):
                self.wrong(f"row {pos}: event {seq} of device {device} is stored a second time")
            if device == OWN:
                self.own[seq] = (boot, uptime_cs, payload)
                continue
            self._same("edge", device, seq, boot, uptime_cs + since, payload)
            self._inside("edge", device, seq, *after(low, high, since))

    def _same(self, where: str, device: int, seq: int, boot: int, uptime_cs: int, payload: bytes) -> None:
        minted = self.minted[device].get(seq)
        if minted is None or minted[:3] != (boot, uptime_cs, payload):
            self.wrong(f"{where}: event {seq} of device {device} was never like this: {payload.hex()}")
        self.checks["events"] += 1

    def _inside(self, where: str, device: int, seq: int, low: int, high: int) -> None:
        true = self.minted[device][seq].true_ms
        if not low <= true <= high:
            self.wrong(
                f"{where}: event {seq} of device {device} happened {true:.0f}, stated {low} to {high}"
                f" ({true - low:.0f}, {high - true:.0f})"
            )
        self.checks["times"] += 1
        if low and high < UNKNOWN_MS:
            self.checks["times of known width"] += 1

    def _restated(
        self, device: int, boot: int, first: int, count: int, uptime_cs: int, low: int, high: int
    ) -> None:
        for seq in range(first, first + count):
            minted = self.minted[device].get(seq)
            if minted is None or minted.boot != boot:
                self.wrong(f"times of event {seq} of device {device} are stated, which there is not")
            self._inside("edge, later", device, seq, *after(low, high, minted.uptime_cs - uptime_cs))

    def _delivered(self, connection: apsw.Connection) -> None:
        """What left the outbox is at the office."""
        moved = False
        for name, cursor, appended, delivered, ahead in connection.execute("SELECT * FROM lane"):
            if delivered > appended:
                self.wrong(f"lane {name}: {delivered} of {appended} delivered")
            before = self.lanes.get(name, (0, b"\x80"))
            if before == (cursor, ahead):
                continue
            self.lanes[name] = (cursor, ahead)
            moved = True
            self.checks["cursor moves"] += 1
            known = self.delivered.setdefault(name, Coverage())
            for first, last in [(1, cursor), *cbor2.loads(ahead)]:
                for low, high in known.missing(first, last):
                    self._at_the_office(name, low, high)
                known.add(first, last)
            if cursor < before[0] or known.upto != cursor:
                self.wrong(f"lane {name}: cursor {before[0]}, then {cursor}")
        if not moved:
            return
        for device, complete in connection.execute("SELECT device, complete_to FROM receipt"):
            if complete > self.office[device].upto:
                self.wrong(
                    f"receipt of device {device}: {complete}, at the office {self.office[device].upto}"
                )

    def _at_the_office(self, lane: str, first: int, last: int) -> None:
        for row in reversed(self.rows):
            if row[0] < first:
                break
            if row[0] > last or (row[9] == 2) != (lane == "alarm"):
                continue
            held = self.office[row[1]].seqs
            for seq in range(row[3], row[4] + 1):
                if seq not in held:
                    self.wrong(f"lane {lane} passed event {seq} of device {row[1]}: not at the office")

    def size(self, name: str, value: int, limit: int) -> None:
        """A queue in memory."""
        if value > self.most[name]:
            self.most[name] = value
            if value > limit:
                self.wrong(f"{name}: {value} are waiting, {limit} were promised")

    # The office.

    def took(self, runs: list[Any]) -> None:
        """The office has committed a batch."""
        self.checks["batches"] += 1
        for run in runs:
            for _, device, seq, boot, _, uptime_cs, low, high, _, payload in run.events:
                if device == OWN:
                    if self.own.get(seq, ())[2:] != (payload,) or self.own[seq][0] != boot:
                        self.wrong(f"office: the edge's event {seq} was never like this")
                else:
                    self._same("office", device, seq, boot, uptime_cs, payload)
                    self._inside("office", device, seq, low, high)
                self.office[device].add(seq)

    def office_opened(self, connection: apsw.Connection) -> None:
        """An office has found its database again, or the end has come: all of it is compared."""
        found: dict[int, set[int]] = {device: set() for device in self.office}
        for row in connection.execute(
            "SELECT device, seq, boot, uptime_cs, payload, coalesce(best_lo_ms, t_lo_ms),"
            " coalesce(best_hi_ms, t_hi_ms) FROM event"
        ):
            device, seq, boot, uptime_cs, payload, low, high = row
            if seq in found[device]:
                self.wrong(f"office: event {seq} of device {device} is there twice")
            found[device].add(seq)
            if device != OWN:
                self._same("office", device, seq, boot, uptime_cs, payload)
                self._inside("office, best", device, seq, low, high)
        for device, held in self.office.items():
            if held.seqs - found[device]:
                self.wrong(f"office: events of device {device} are gone: {sorted(held.seqs - found[device])}")
            for seq in found[device] - held.seqs:
                held.add(seq)
        for table in ("conflict", "finding", "loss", "log_finding"):
            if connection.execute(f"SELECT count(*) FROM {table}").get:
                told = list(connection.execute(f"SELECT * FROM {table} LIMIT 3"))
                self.wrong(f"office: {table} {told}")

    def missing(self, held: dict[int, Held], without: set[int]) -> list[str]:
        """What was minted and is not there."""
        told = []
        for device, minted in self.minted.items():
            if device not in without and len(held[device].seqs) < len(minted):
                first = min(minted.keys() - held[device].seqs)
                told.append(f"{len(minted) - len(held[device].seqs)} of device {device} from {first} on")
        if len(self.office[OWN].seqs) < len(self.own):
            told.append(f"{len(self.own) - len(self.office[OWN].seqs)} of the edge")
        return told


def short(data: bytes) -> str:
    """Length and CRC-32, for the diary."""
    return f"{len(data)}:{zlib.crc32(data):08x}"
