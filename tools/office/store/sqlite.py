"""The store in one SQLite file: one writing connection, one reading one, every commit on the disk before it returns."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import apsw

from edge_agent.integrity.statement import Answer
from edge_agent.store import wal
from tools.office import intervals
from tools.office.batch import MAX_DEVICES, Batch, Run
from tools.office.chain import Chain
from tools.office.errors import RequestError, StoreError
from tools.office.head import Statement
from tools.office.intervals import Span
from tools.office.items import EventRow
from tools.office.store import check, edges, later, logs, reading
from tools.office.store.base import (
    DOUBLE,
    Account,
    Cursor,
    DeviceState,
    Edges,
    LogState,
    Page,
    StoredEvent,
    Taken,
)
from tools.office.store.transactions import errors as _errors
from tools.office.store.transactions import snapshot as _snapshot
from tools.office.store.transactions import transaction as _transaction

MAX_GAPS = 64  # gaps named in a receipt, for each device
SCHEMAS = [Path(__file__).with_name(f"schema_v{version}.sql") for version in (1, 2, 3, 4)]
VERSION = len(SCHEMAS)

Writes = list[tuple[object, ...]]
_ADD_EVENT = (
    "INSERT OR IGNORE INTO event (site, device, seq, boot, kind, uptime_cs, t_lo_ms, t_hi_ms, received_ms, payload)"
    " VALUES (?,?,?,?,?,?,?,?,?,?)"
)


class SqliteStore:
    """base.Store on one file in `folder`; a second server on the same folder is refused.

    A command that is over soon works beside the server: it needs no lock when the tables are there already.
    """

    def __init__(self, folder: Path, *, command: bool = False) -> None:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock: int | None = None
            if not command or _version(folder / "office.db") != VERSION:
                self._lock = _lock(folder / "office.lock")
            _make_private(folder / "office.db")
            self._write = apsw.Connection(str(folder / "office.db"))
            _prepare(self._write)
            self._read = apsw.Connection(str(folder / "office.db"), flags=apsw.SQLITE_OPEN_READONLY)
            self._read.set_busy_timeout(5_000)
            self.edges: Edges = edges.SqliteEdges(self._write, self._read)
        except (apsw.Error, OSError) as error:
            raise StoreError(f"{folder}: the database can't be opened: {error}") from error

    def site_key(self, site: str) -> int:
        """base.Store.site_key"""
        with _transaction(self._write):
            self._write.execute("INSERT OR IGNORE INTO site (id) VALUES (?)", (site,))
            return int(self._write.execute("SELECT key FROM site WHERE id = ?", (site,)).get)

    def take(self, batch: Batch, stored_ms: int, public_key: bytes | None = None) -> Taken:
        """base.Store.take"""
        with _transaction(self._write):
            edges.admit(self._write, batch.site_key, batch.edge, public_key, stored_ms)
            return _Intake(self._write, batch, stored_ms).take()

    def check(self, site_key: int, device: int, chain: Chain, now_ms: int, limit: int) -> bool:
        """base.Store.check"""
        with _transaction(self._write):
            return check.follow(self._write, site_key, device, chain, now_ms, limit)

    def take_head(self, site_key: int, said: Statement, now_ms: int, public_key: bytes | None = None) -> Answer:
        """base.Store.take_head"""
        with _transaction(self._write):
            edges.admit(self._write, site_key, said.head.edge, public_key, now_ms)
            return logs.take(self._write, site_key, said, {public_key} if public_key else set(), now_ms)

    def check_heads(self, now_ms: int, limit: int) -> bool:
        """base.Store.check_heads"""
        with _transaction(self._write):
            log = logs.unchecked(self._write)
            if log is None:
                return False
            logs.compare(self._write, log, now_ms, limit)
            return logs.unchecked(self._write) is not None

    def logs(self, site: str | None = None) -> list[LogState]:
        """base.Store.logs"""
        with _snapshot(self._read):
            return reading.logs(self._read, site)

    def unchecked(self) -> list[tuple[int, int]]:
        """base.Store.unchecked"""
        with _errors():
            return check.unfinished(self._write)

    def devices(self, site: str | None = None, device: int | None = None) -> list[DeviceState]:
        """base.Store.devices"""
        with _snapshot(self._read):
            return reading.devices(self._read, site, device)

    def events(
        self, site: str | None, device: int | None, kinds: tuple[int, ...], before: Cursor | None, limit: int
    ) -> Page:
        """base.Store.events"""
        with _snapshot(self._read):
            return reading.events(self._read, site, device, kinds, before, limit)

    def history(self, site: str, device: int, after_seq: int, limit: int) -> list[StoredEvent]:
        """base.Store.history"""
        with _snapshot(self._read):
            return reading.history(self._read, site, device, after_seq, limit)

    def close(self) -> None:
        """base.Store.close"""
        with _errors():
            self._read.close()
            self._write.close()
        if self._lock is not None:
            os.close(self._lock)


class _Intake:
    """One batch on its way into the tables, within a transaction."""

    def __init__(self, db: apsw.Connection, batch: Batch, stored_ms: int) -> None:
        self._db = db
        self._batch = batch
        self._site = batch.site_key
        self._now = stored_ms
        self._spans: dict[int, list[Span]] = {}
        self._known: dict[int, list[Span]] = {}
        self._events: list[EventRow] = []
        self._proofs: Writes = []
        self._rewind: dict[int, int] = {}  # device -> lowest sequence number that a new chain value was for
        self._conflicts = 0
        self._restated: dict[int, bool] = {}  # device -> whether times of it were ever stated again
        self._late: list[Run] = []  # runs of such devices
        self._log = logs.Rows(db, batch, stored_ms)

    def take(self) -> Taken:
        self._note_devices()
        added = 0
        for run, row in zip(self._batch.runs, self._batch.rows, strict=True):
            spans = self._spans_of(run.device)
            fresh = bool(run.events)
            if run.skipped:
                self._declare_loss(run, spans)
            if run.restated is not None:
                added += self._flush()
                later.keep(self._db, self._site, run.restated, self._now)
                self._restated[run.device] = True
            if run.events:
                if self._was_restated(run.device):
                    self._late.append(run)
                if intervals.within(spans, run.first_seq, run.last_seq):
                    fresh = False
                    added += self._flush()
                    self._compare(run)
                intervals.add(spans, run.first_seq, run.last_seq)
                self._events += run.events
            if run.mac8 is not None and run.last_seq:
                self._proofs.append((self._site, run.device, run.last_seq, run.mac8, 0 if run.events else 1))
            self._log.add(row, fresh=fresh)
        added += self._flush()
        self._store_proofs()
        self._store_spans()
        self._log.store()
        count = sum(len(run.events) for run in self._batch.runs)
        batch = self._batch
        self._db.execute(
            "INSERT INTO batch (site, edge, lane, through, events, added, stored_ms) VALUES (?,?,?,?,?,?,?)",
            (self._site, batch.edge, batch.lane, batch.through, count, added, self._now),
        )
        accounts = {
            device: Account(intervals.complete_to(spans), intervals.missing(spans, MAX_GAPS))
            for device, spans in self._spans.items()
        }
        return Taken(count, added, self._conflicts, accounts)

    def _note_devices(self) -> None:
        seen = sorted({run.device for run in self._batch.runs} | {note.device for note in self._batch.notes})
        before = self._db.total_changes()
        self._db.executemany(
            "INSERT INTO device (site, device, edge) VALUES (?1, ?2, ?3)"
            " ON CONFLICT DO UPDATE SET edge = ?3 WHERE edge <> ?3",
            [(self._site, device, self._batch.edge) for device in seen],
        )
        if self._db.total_changes() != before:
            # Every page goes over all devices: an edge that invents them must not keep the office from others.
            count = self._db.execute("SELECT count(*) FROM device WHERE site = ?", (self._site,)).get
            if int(str(count)) > MAX_DEVICES:
                raise RequestError("devices", f"a site has at most {MAX_DEVICES:,} devices here")
        # An older batch may come after a younger one: what was known last stands.
        self._db.executemany(
            "UPDATE device SET role = coalesce(?3, role), name = ?4, firmware = coalesce(?5, firmware),"
            " battery_mv = coalesce(?6, battery_mv), last_contact_ms = coalesce(?7, last_contact_ms)"
            " WHERE site = ?1 AND device = ?2 AND coalesce(?7, 0) >= coalesce(last_contact_ms, 0)",
            [
                (self._site, n.device, n.role, n.name, n.firmware, n.battery_mv, n.last_contact_ms)
                for n in self._batch.notes
            ],
        )

    def _spans_of(self, device: int) -> list[Span]:
        spans = self._spans.get(device)
        if spans is None:
            spans = self._spans[device] = check.spans(self._db, self._site, device)
            self._known[device] = spans.copy()
        return spans

    def _declare_loss(self, run: Run, spans: list[Span]) -> None:
        first, last = run.first_seq - run.skipped, run.first_seq - 1
        self._db.execute(
            "INSERT OR IGNORE INTO loss VALUES (?,?,?,?,?)", (self._site, run.device, first, last, self._now)
        )
        intervals.add(spans, first, last)
        if run.mac_before is not None:
            self._proofs.append((self._site, run.device, last, run.mac_before, 2))

    def _flush(self) -> int:
        """Write the events gathered so far; how many of them were new."""
        if not self._events:
            return 0
        before = self._db.total_changes()
        self._db.executemany(_ADD_EVENT, self._events)
        self._events = []
        added = self._db.total_changes() - before
        for run in self._late:
            later.apply(self._db, self._site, run.device, run.boot, run.first_seq, run.last_seq)
        self._late = []
        return added

    def _was_restated(self, device: int) -> bool:
        found = self._restated.get(device)
        if found is None:
            found = self._restated[device] = later.any_of(self._db, self._site, device)
        return found

    def _compare(self, run: Run) -> None:
        """Some of these numbers are accounted for already: the same content is a repetition, another is evidence."""
        stored: dict[int, list[tuple[int, int, bytes]]] = {}
        for seq, boot, uptime_cs, payload in self._db.execute(
            "SELECT seq, boot, uptime_cs, payload FROM event WHERE site = ? AND device = ? AND seq BETWEEN ? AND ?",
            (self._site, run.device, run.first_seq, run.last_seq),
        ):
            stored.setdefault(seq, []).append((boot, uptime_cs, payload))
        for event in run.events:
            seq, boot, uptime_cs, payload = event[2], event[3], event[5], event[9]
            others = stored.get(seq, [])
            if not others or (boot, uptime_cs, payload) in others:
                continue
            self._conflicts += 1
            if any(other[0] == boot for other in others):
                row = (self._site, run.device, seq, boot, uptime_cs, payload, self._batch.edge, self._now)
                self._db.execute("INSERT OR IGNORE INTO conflict VALUES (?,?,?,?,?,?,?,?)", row)
            else:
                check.found(self._db, self._site, run.device, [(seq, seq, DOUBLE)], self._now)

    def _store_proofs(self) -> None:
        for proof in self._proofs:
            self._db.execute("INSERT OR IGNORE INTO proof VALUES (?,?,?,?,?)", proof)
            if self._db.changes():
                _, device, seq, *_ = proof
                assert isinstance(device, int)
                assert isinstance(seq, int)
                self._rewind[device] = min(seq, self._rewind.get(device, seq))
        for device, seq in self._rewind.items():
            check.rewind(self._db, self._site, device, seq)

    def _store_spans(self) -> None:
        for device, spans in self._spans.items():
            old, new = set(self._known[device]), set(spans)
            for first, _ in old - new:
                self._db.execute(
                    "DELETE FROM span WHERE site = ? AND device = ? AND first = ?", (self._site, device, first)
                )
            for first, last in sorted(new - old):
                self._db.execute("INSERT INTO span VALUES (?,?,?,?)", (self._site, device, first, last))


def _lock(path: Path) -> int:
    """Hold `path` as long as this process lives; its text is our process id."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(handle, 20).decode("ascii", "replace").strip()
        os.close(handle)
        raise StoreError(f"{path.parent}: another office server (process {holder}) works on this folder") from error
    os.ftruncate(handle, 0)
    os.write(handle, str(os.getpid()).encode())
    return handle


def _make_private(path: Path) -> None:
    """The database is its owner's alone: it holds card numbers. SQLite gives what it makes beside it the same mode."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    for suffix in ("", "-wal", "-shm"):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.chmod(0o600)


def _version(path: Path) -> int:
    """Of the tables in this file; 0: there is none."""
    if not path.exists():
        return 0
    db = apsw.Connection(str(path))
    db.set_busy_timeout(5_000)
    found = db.pragma("user_version")
    db.close()
    return int(str(found))


def _prepare(db: apsw.Connection) -> None:
    db.set_busy_timeout(5_000)
    db.execute("PRAGMA journal_mode = WAL")
    wal.write_again(db)
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA wal_autocheckpoint = 4000")
    db.execute("PRAGMA cache_size = -65536")
    found = db.pragma("user_version")
    if found == VERSION:
        return
    if not 0 <= found < VERSION:
        raise StoreError(f"the database is of version {found}; this office server reads version {VERSION}")
    for schema in SCHEMAS[found:]:
        with _transaction(db):
            db.execute(schema.read_text(encoding="utf-8"))
