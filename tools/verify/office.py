"""The office's database against what was signed: every log, every device; read-only, while the server may run."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from edge_agent.integrity.leaves import Leaves
from edge_agent.integrity.tree import Frontier
from tools.office import intervals
from tools.office.chain import Chain
from tools.office.config import Config
from tools.office.intervals import Span
from tools.office.store.base import (
    ABSENT,
    FORGED,
    FORKED,
    LOG_REASONS,
    OTHER_KEY,
    RESTARTED,
    SHRUNKEN,
    UNLIKE,
)
from tools.office.store.logs import StoredHead, chosen
from tools.office.store.sqlite import VERSION
from tools.verify import columns, heads
from tools.verify.devices import DeviceCheck
from tools.verify.edge import Delivered
from tools.verify.faults import Fault, Report, ranges
from tools.verify.rows import Checker

FILE_NAME = "office.db"
# Of the events that these are about no trustworthy time is left: nobody can say that it was another day.
_TIMELESS = {
    "event_dropped", "event_times_changed", "best_changed", "row_changed", "restated_dropped", "restated_inserted",
    "span_changed", "loss_dropped", "loss_inserted",
}  # fmt: skip
_STORED = {"head_forked": FORKED, "head_shrunken": SHRUNKEN, "head_restarted": RESTARTED}


class Wanted(NamedTuple):
    """What is to be checked; event: device, boot, seq. key: the fingerprint that the edges' keys must have."""

    site: str | None = None
    device: int | None = None
    day: dt.date | None = None
    event: tuple[int, int, int] | None = None
    key: str | None = None


@contextmanager
def opened(config: Config) -> Iterator[apsw.Connection | None]:
    """One moment of the database, for reading; None where there is none that this program reads."""
    path = config.data_dir / FILE_NAME
    db = _connect(path)
    if db is None:
        yield None
        return
    try:
        db.execute("BEGIN")
        yield db if db.pragma("user_version") == VERSION else None
    finally:
        db.close()


def _connect(path: Path) -> apsw.Connection | None:
    try:
        db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        db.set_busy_timeout(5_000)
        db.pragma("user_version")
    except apsw.Error:
        return None
    return db


def check(config: Config, wanted: Wanted) -> Report:
    """All that was asked for. Raises apsw.Error where the file itself is damaged."""
    report = Report()
    with opened(config) as db:
        if db is None:
            report.unable = (
                f"{FILE_NAME} 无法打开，或其版本不是 {VERSION}（先用本程序启动一次办公室服务器）",
                f"{FILE_NAME} is not there or not of version {VERSION}: start this program's office server once",
            )
            return report
        found = sites(db, wanted.site)
        if not found:
            report.unable = ("没有这个小区的数据", "there is nothing of such a site")
            return report
        if not columns.check(db, report):
            return report  # what these columns hold can't be worked with
        known = False
        for key, site in found:
            one = _SiteCheck(db, report, config, wanted, site, key)
            one.run()
            known = known or one.known
        for table in ("edge_log", "device", "event"):
            strays = f"SELECT DISTINCT site FROM {table} WHERE site NOT IN (SELECT key FROM site)"  # noqa: S608 - constants
            for (number,) in db.execute(strays).fetchall():
                report.fault("site_dropped", detail=f"{table}.site {number}")
        for table in ("log_row", "log_head"):
            strays = f"SELECT DISTINCT log FROM {table} WHERE log NOT IN (SELECT key FROM edge_log)"  # noqa: S608 - constants
            for (log,) in db.execute(strays).fetchall():
                report.fault("log_dropped", detail=f"{table}.log {log}")
        if not known and not report.faults:
            report.unable = (
                "没有所问的设备或事件",
                "there is no such device or event, and no row that had it",
            )
    return report


def sites(db: apsw.Connection, only: str | None) -> list[tuple[int, str]]:
    """(key, id) of the sites."""
    found: list[Any] = db.execute(
        "SELECT key, id FROM site WHERE ?1 IS NULL OR id = ?1 ORDER BY id", (only,)
    ).fetchall()
    return found


def compare(config: Config, site: str, edge: str, delivered: list[Delivered], report: Report) -> None:
    """Whether the office still has every head that it has acknowledged to this edge."""
    with opened(config) as db:
        if db is None:
            return
        held = set(
            db.execute(
                "SELECT number, log_head.size, root FROM log_head JOIN edge_log ON edge_log.key = log"
                " JOIN site ON site.key = edge_log.site WHERE site.id = ? AND edge = ?",
                (site, edge),
            )
        )
    for first, last in ranges([head.number for head in delivered if tuple(head) not in held]):
        report.fault("head_unknown", site=site, edge=edge, head=first, last_head=last)
    report.line(
        f"边缘代理 {edge} 的 {len(delivered):,} 个已确认签名与办公室核对",
        f"{len(delivered):,} acknowledged heads of edge {edge} were looked for at the office",
    )


class _SiteCheck:
    """One site."""

    def __init__(
        self, db: apsw.Connection, report: Report, config: Config, wanted: Wanted, site: str, key: int
    ) -> None:
        self._db = db
        self._report = report
        self._config = config
        self._wanted = wanted
        self._site, self._key = site, key
        self.known = False  # whether there is anything of what was asked for
        self._found = Report()  # all of this site; what was not asked for is left out at the end

    def run(self) -> None:
        db, wanted = self._db, self._wanted
        device = wanted.event[0] if wanted.event else wanted.device
        if device is not None and not self._known(device):
            self._report.note(
                f"小区 {self._site} 没有设备 {device} 的数据",
                f"site {self._site} has nothing of device {device}",
            )
            return
        self.known = True
        checker = Checker(db, self._found, self._site, self._key)
        logs: list[Any] = db.execute(
            "SELECT key, edge, head, base_size, base FROM edge_log WHERE site = ? ORDER BY edge", (self._key,)
        ).fetchall()
        for log, edge, head, base_size, base in logs:
            self._log(log, edge, (head, base_size, base))
            rows, total = checker.check(log, edge, device)
            self._report.rows += rows
            self._report.events += total
        chains = {
            number: Chain(key)
            for (site, number), key in self._config.event_keys.items()
            if site == self._site
        }
        for number in self._devices(device):
            DeviceCheck(db, self._found, self._site, self._key, number, checker, chains.get(number)).run()
        self._keep()

    def _known(self, device: int) -> bool:
        return bool(
            self._db.execute(
                "SELECT EXISTS (SELECT 1 FROM device WHERE site = ?1 AND device = ?2)"
                " OR EXISTS (SELECT 1 FROM event WHERE site = ?1 AND device = ?2)"
                " OR EXISTS (SELECT 1 FROM log_row JOIN edge_log ON edge_log.key = log"
                " WHERE site = ?1 AND device = ?2)",
                (self._key, device),
            ).get
        )

    def _devices(self, only: int | None) -> list[int]:
        if only is not None:
            return [only]
        return [
            int(number)
            for (number,) in self._db.execute(
                "SELECT device FROM device WHERE site = ?1 UNION SELECT device FROM event WHERE site = ?1"
                " UNION SELECT device FROM log_row JOIN edge_log ON edge_log.key = log WHERE site = ?1",
                (self._key,),
            )
        ]

    def _log(self, log: int, edge: str, state: tuple[int, int, bytes]) -> None:
        db, found = self._db, self._found
        where = {"site": self._site, "edge": edge}
        stored = [
            StoredHead(*row) for row in db.execute("SELECT * FROM log_head WHERE log = ? ORDER BY id", (log,))
        ]
        first_use = {bytes(key) for (key,) in db.execute("SELECT public FROM log_key WHERE log = ?", (log,))}
        if len(first_use) > 1:
            found.fault("key_inserted", **where)
        enrolled = {
            bytes(key)
            for (key,) in db.execute(
                "SELECT public_key FROM edge_history WHERE site = ? AND edge = ? AND public_key IS NOT NULL",
                (self._key, edge),
            )
        }
        gaps = Leaves(self._site, edge)
        signed = heads.check(
            found, self._site, edge, stored, enrolled or first_use,
            lambda first, last, branch, attempt: chosen(db, log, first, last, branch, attempt), gaps.gap,
        )  # fmt: skip
        if self._wanted.key is not None and signed.keys and signed.keys != {self._wanted.key}:
            found.fault("head_key", **where, detail=", ".join(sorted(signed.keys)))
        again = db.execute(
            "SELECT pos FROM log_row WHERE log = ? GROUP BY pos HAVING count(*) > 1 ORDER BY pos", (log,)
        )
        for first, last in ranges([pos for (pos,) in again]):
            found.fault("row_again", **where, pos=first, last_pos=last)
        self._findings(log, edge, signed.findings)
        self._cached(state, stored, where)
        last_pos = db.execute("SELECT max(pos) FROM log_row WHERE log = ?", (log,)).get
        unsigned = db.execute(
            "SELECT count(*) FROM log_row WHERE log = ? AND pos > ?", (log, signed.through)
        ).get
        at = signed.last
        keys = " / ".join(sorted(signed.keys)) or "–"
        if at is None:
            self._report.line(
                f"小区 {self._site}，边缘代理 {edge}：尚无可信的签名",
                f"site {self._site}, edge {edge}: nothing is signed so far",
            )
        else:
            when = self._moment(at.time_ms)
            self._report.line(
                f"小区 {self._site}，边缘代理 {edge}：{len(stored):,} 个签名，密钥 {keys}；"
                f"日志行 {at.first_pos:,}..{signed.through:,} 给出第 {at.number:,} 号签名（{when}）",
                f"site {self._site}, edge {edge}: {len(stored):,} heads, key {keys};"
                f" rows {at.first_pos:,}..{signed.through:,} give head {at.number:,} of {when}",
            )
        if isinstance(unsigned, int) and unsigned:
            self._report.note(
                f"边缘代理 {edge}：{unsigned:,} 行尚未签名（至第 {last_pos:,} 行）",
                f"edge {edge}: {unsigned:,} rows are not signed yet (up to row {last_pos:,})",
            )

    def _findings(self, log: int, edge: str, codes: set[str]) -> None:
        """What the office noted then: the contradictions of heads are still noted, or somebody took the notes out."""
        stored: list[Any] = self._db.execute(
            "SELECT reason, first, last FROM log_finding WHERE log = ? ORDER BY first, reason", (log,)
        ).fetchall()
        reasons = {reason for reason, *_ in stored}
        for code, reason in _STORED.items():
            if code in codes and reason not in reasons:
                self._found.fault("finding_dropped", site=self._site, edge=edge, detail=LOG_REASONS[reason])
        for reason, first, last in stored:
            if reason in (FORGED, OTHER_KEY, ABSENT, UNLIKE):
                self._report.note(
                    f"边缘代理 {edge}：办公室当时记下 {LOG_REASONS[reason]}，行 {first:,}..{last:,}",
                    f"edge {edge}: the office noted {LOG_REASONS[reason]} then, rows {first:,}..{last:,}",
                )

    def _cached(self, state: tuple[int, int, bytes], stored: list[StoredHead], where: dict[str, str]) -> None:
        """How far the server's own check says that it has come."""
        number, size, packed = state
        head = next((one for one in stored if one.id == number), None)
        try:
            root = Frontier.from_bytes(size, packed).root()
        except ValueError:
            root = b""
        if number and (head is None or head.size != size or head.root != root):
            self._found.fault("verdict_changed", **where)

    def _keep(self) -> None:
        """Hands on what was asked for; the rest is counted."""
        spans = self._asked()
        left = 0
        for fault in self._found.faults:
            undated = self._wanted.event is None and fault.code in _TIMELESS
            if spans is None or undated or _touches(fault, spans):
                self._report.keep(fault)
            else:
                left += 1
        self._report.unnamed += self._found.unnamed
        self._report.lines += self._found.lines
        self._report.notes += self._found.notes
        if left:
            self._report.note(
                f"在所问范围之外另有 {left:,} 处不符",
                f"{left:,} further faults outside of what was asked for",
            )

    def _asked(self) -> dict[int, Span] | None:
        """device -> numbers that were asked for; None: all."""
        wanted = self._wanted
        if wanted.event is not None:
            device, boot, seq = wanted.event
            there = self._db.execute(
                "SELECT 1 FROM event WHERE site = ? AND device = ? AND boot = ? AND seq = ?",
                (self._key, device, boot, seq),
            ).fetchone()
            self.known = there is not None
            self._report.line(
                f"事件 {device}/{boot}/{seq}：{'已存' if there else '没有'}",
                f"event {device}/{boot}/{seq}: {'is stored' if there else 'is not here'}",
            )
            return {device: (seq, seq)}
        if wanted.day is None:
            return None
        offset = dt.timezone(dt.timedelta(minutes=self._config.utc_offset_min))
        begin = dt.datetime.combine(wanted.day, dt.time(), offset)
        low, high = (int((begin + dt.timedelta(days=days)).timestamp() * 1000) for days in (0, 1))
        found: list[Any] = self._db.execute(
            "SELECT device, min(seq), max(seq), count(*) FROM event WHERE site = ?"
            " AND coalesce(best_hi_ms, t_hi_ms) >= ? AND coalesce(best_lo_ms, t_lo_ms) < ?"
            " AND (?4 IS NULL OR device = ?4) GROUP BY device",
            (self._key, low, high, wanted.device),
        ).fetchall()
        count = sum(row[3] for row in found)
        self._report.line(
            f"小区 {self._site}，{wanted.day}：{count:,} 个事件",
            f"site {self._site}, {wanted.day}: {count:,} events",
        )
        return {device: (first, last) for device, first, last, _ in found}

    def _moment(self, at_ms: int) -> str:
        offset = dt.timezone(dt.timedelta(minutes=self._config.utc_offset_min))
        return dt.datetime.fromtimestamp(at_ms / 1000, offset).strftime("%Y-%m-%d %H:%M:%S")


def _touches(fault: Fault, spans: dict[int, Span]) -> bool:
    """Whether a fault is about what was asked for: about the log as a whole, or about these events."""
    if fault.device is None or fault.code == "event_dropped":
        return fault.device is None or fault.device in spans
    if fault.device not in spans:
        return False
    if fault.first is None:
        return True
    return bool(intervals.within([spans[fault.device]], fault.first, fault.last or fault.first))
