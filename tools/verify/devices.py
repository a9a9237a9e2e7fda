"""One device at the office: every event vouched for by a row, the tables beside them, the chain from its event key."""

from __future__ import annotations

from typing import Any, NamedTuple

import apsw

from tools.office import intervals
from tools.office.chain import START, Chain
from tools.office.intervals import Span
from tools.office.items import UNKNOWN_MS, after
from tools.office.store.base import MISFIT
from tools.verify import chains
from tools.verify.chains import Claim
from tools.verify.faults import Report, ranges
from tools.verify.rows import Checker, outside


class _Stated(NamedTuple):
    """One row of table restated."""

    boot: int
    first: int
    last: int
    uptime_cs: int
    t_lo_ms: int
    t_hi_ms: int
    said_ms: int
    stored_ms: int


class DeviceCheck:
    """Runs after the rows of the site's logs."""

    def __init__(
        self,
        db: apsw.Connection,
        report: Report,
        site: str,
        site_key: int,
        device: int,
        checker: Checker,
        chain: Chain | None,
    ) -> None:
        self._db = db
        self._report = report
        self._site, self._device = site, device
        self._at = (site_key, device)
        self._vouched = checker.vouched
        self._bad = checker.bad.get(device, [])
        self._chain = chain
        self._where = {"site": site, "device": device}
        self._before: list[Span] = []
        for first, last in self._all(
            "SELECT first, last FROM before_log WHERE site = ? AND device = ? ORDER BY first"
        ):
            intervals.add(self._before, first, last)

    def run(self) -> None:
        numbers = self._events()
        self._losses(numbers)
        self._best(self._restated())
        self._conflicts()
        claims = self._proofs()
        words = self._follow(claims)
        if words is not None:
            stored = sum(last - first + 1 for first, last in numbers)
            self._report.line(
                f"小区 {self._site}，设备 {self._device}：{stored:,} 个编号；{words[0]}",
                f"site {self._site}, device {self._device}: {stored:,} numbers; {words[1]}",
            )

    def _all(self, query: str) -> list[Any]:
        return self._db.execute(query, self._at).fetchall()

    def _events(self) -> list[Span]:
        """Every event stands in a row of some log, or is from before rows were kept; the numbers that are there."""
        by_boot: dict[int, list[int]] = {}
        for seq, boot in self._all(
            "SELECT seq, boot FROM event WHERE site = ? AND device = ? ORDER BY seq, boot"
        ):
            by_boot.setdefault(boot, []).append(seq)
        old = 0
        there: list[Span] = []
        for boot, numbers in by_boot.items():
            for first, last in ranges(numbers):
                intervals.add(there, first, last)
            key = (self._device, boot)
            strange = outside(self._vouched.contents.get(key, []), numbers)
            made_up = outside(self._before, strange)
            old += len(strange) - len(made_up)
            for first, last in ranges(made_up):
                self._report.fault("event_inserted", **self._where, boot=boot, first=first, last=last)
            gone = set(strange)
            moved = [seq for seq in outside(self._vouched.times.get(key, []), numbers) if seq not in gone]
            for first, last in ranges(moved):
                self._report.fault("event_times_changed", **self._where, boot=boot, first=first, last=last)
        if old:
            self._report.note(
                f"设备 {self._device}：{old:,} 个事件早于日志行的保存，只能由校验链证明",
                f"device {self._device}: {old:,} events are from before rows were kept: only the chain proves them",
            )
        known = self._db.execute("SELECT 1 FROM device WHERE site = ? AND device = ?", self._at).fetchone()
        if by_boot and known is None:
            self._report.fault("device_dropped", **self._where)
        return there

    def _losses(self, there: list[Span]) -> None:
        stored = set(self._all("SELECT first, last FROM loss WHERE site = ? AND device = ?"))
        said = self._vouched.losses.get(self._device, set())
        for first, last in sorted(said - stored):
            self._report.fault("loss_dropped", **self._where, first=first, last=last)
        for first, last in sorted(stored - said):
            if not self._excused(first):
                self._report.fault("loss_inserted", **self._where, first=first, last=last)
        expected = there.copy()
        for first, last in stored:
            intervals.add(expected, first, last)
        spans = self._all("SELECT first, last FROM span WHERE site = ? AND device = ? ORDER BY first")
        if expected != spans:
            differing = sorted(set(expected) ^ set(spans))
            self._report.fault("span_changed", **self._where, first=differing[0][0], last=differing[-1][1])
        gaps = intervals.missing(expected, 8)
        if gaps:
            text = ", ".join(f"{first:,}..{last:,}" for first, last in gaps)
            self._report.note(f"设备 {self._device}：缺 {text}", f"device {self._device}: missing {text}")

    def _excused(self, seq: int) -> bool:
        """From before rows were kept, or of a row that does not fit by itself."""
        return not outside(self._before, [seq]) or not outside(self._bad, [seq])

    def _restated(self) -> list[_Stated]:
        stored = [
            _Stated(*row)
            for row in self._all(
                "SELECT boot, first, last, uptime_cs, t_lo_ms, t_hi_ms, said_ms, stored_ms FROM restated"
                " WHERE site = ? AND device = ? ORDER BY stored_ms, said_ms"
            )
        ]
        held = {tuple(one[:7]) for one in stored}
        said = self._vouched.restated.get(self._device, set())
        # The same statement may have come twice, said at another moment: the table keeps the first.
        shorter = {one[:6] for one in said}
        for one in sorted(shorter - {one[:6] for one in held}):
            self._report.fault("restated_dropped", **self._where, boot=one[0], first=one[1], last=one[2])
        for one in sorted(held - said):
            if not self._excused(one[1]):
                self._report.fault("restated_inserted", **self._where, boot=one[0], first=one[1], last=one[2])
        return stored

    def _best(self, stated: list[_Stated]) -> None:
        """The best times of events are what the statements make of the first word."""
        best: dict[tuple[int, int], tuple[int, int]] = {}
        widest: dict[tuple[int, int], tuple[int, int]] = {}
        shown: dict[tuple[int, int], tuple[int, int]] = {}
        for one in stated:
            for seq, uptime_cs, low, high, best_low, best_high in self._db.execute(
                "SELECT seq, uptime_cs, t_lo_ms, t_hi_ms, best_lo_ms, best_hi_ms FROM event"
                " WHERE site = ? AND device = ? AND boot = ? AND seq BETWEEN ? AND ?",
                (*self._at, one.boot, one.first, one.last),
            ):
                key = (one.boot, seq)
                shown[key] = (low if best_low is None else best_low, high if best_high is None else best_high)
                now = best.setdefault(key, (low, high))
                if uptime_cs < one.uptime_cs:
                    continue
                new = after(one.t_lo_ms, one.t_hi_ms, uptime_cs - one.uptime_cs)
                tighter = (max(now[0], new[0]), min(now[1], new[1]))
                if tighter[0] <= tighter[1] <= UNKNOWN_MS:
                    best[key] = tighter
                wide = widest.get(key, (low, high))
                widest[key] = (max(wide[0], new[0]), min(wide[1], new[1]))
        wrong = [key for key, value in shown.items() if value not in (best[key], widest.get(key))]
        for seq, boot in self._all(
            "SELECT seq, boot FROM event WHERE site = ? AND device = ?"
            " AND (best_lo_ms IS NOT NULL OR best_hi_ms IS NOT NULL)"
        ):
            if (boot, seq) not in shown:
                wrong.append((boot, seq))
        for boot in sorted({boot for boot, _ in wrong}):
            for first, last in ranges(sorted(seq for of, seq in wrong if of == boot)):
                self._report.fault("best_changed", **self._where, boot=boot, first=first, last=last)

    def _conflicts(self) -> None:
        stored = {
            (self._device, *row)
            for row in self._all(
                "SELECT seq, boot, uptime_cs, payload FROM conflict WHERE site = ? AND device = ?"
            )
        }
        came = {one for one in self._vouched.conflicts if one[0] == self._device}
        for one in sorted(came):
            self._report.fault("conflict", **self._where, boot=one[2], first=one[1])
        for one in sorted(stored - came):
            if not self._excused(one[1]):
                self._report.fault("conflict_inserted", **self._where, boot=one[2], first=one[1])

    def _proofs(self) -> list[Claim]:
        """The chain values as the rows brought them; those of before rows were kept as they stand in the table."""
        stored = {
            (seq, mac8): source
            for seq, mac8, source in self._all(
                "SELECT seq, mac8, source FROM proof WHERE site = ? AND device = ?"
            )
        }
        said = self._vouched.proofs.get(self._device, {})
        for seq, _ in sorted(said.keys() - stored.keys()):
            self._report.fault("proof_dropped", **self._where, first=seq)
        claims: list[Claim] = [(seq, mac8, max(sources)) for (seq, mac8), sources in said.items()]
        for (seq, mac8), source in sorted(stored.items()):
            if (seq, mac8) not in said:
                if self._excused(seq):
                    claims.append((seq, mac8, source))
                else:
                    self._report.fault("proof_inserted", **self._where, first=seq)
            elif source not in said[seq, mac8]:
                self._report.fault("proof_inserted", **self._where, first=seq, detail=f"source {source}")
        return claims

    def _cached(self, rows: list[Any], values: set[tuple[int, bytes]]) -> None:
        """How far the office's own check says that it has come: to one of the chain's values."""
        if rows and tuple(rows[0]) not in values:
            self._report.fault("verdict_changed", **self._where, first=rows[0][0])

    def _follow(self, claims: list[Claim]) -> tuple[str, str] | None:
        rows = self._all("SELECT checked_to, checked_mac FROM device WHERE site = ? AND device = ?")
        values = {(seq, mac8) for seq, mac8, _ in claims} | {(0, START)}
        if self._chain is None:
            self._cached(rows, values)
            return (
                ("没有事件密钥，校验链未查", "no event key here, its chain is not checked")
                if claims
                else None
            )
        found = chains.follow(self._db, *self._at, self._chain, claims)
        self._cached(rows, values | set(found.values.items()))
        stored = {
            (first, last)
            for first, last, reason in self._all(
                "SELECT first, last, reason FROM finding WHERE site = ? AND device = ?"
            )
            if reason == MISFIT
        }
        for first, last in found.misfits:
            self._report.fault("chain_misfit", **self._where, first=first, last=last)
        for seq in found.doubles:
            self._report.fault("double", **self._where, first=seq)
        # What does not fit now may have fitted then. But a note of then, of which nothing is left, was not needed.
        for first, last in stored - set(found.misfits):
            self._report.note(
                f"设备 {self._device}：办公室当时记下校验不符 {first:,}..{last:,}",
                f"device {self._device}: the office noted a misfit of {first:,}..{last:,} then",
            )
        if found.unproven:
            text = ", ".join(f"{first:,}..{last:,}" for first, last in found.unproven[:8])
            self._report.note(
                f"设备 {self._device}：校验链无法证明 {text}",
                f"device {self._device}: the chain can't prove {text}",
            )
        if not claims:
            return "校验链尚无校验值", "no value of its chain so far"
        return f"校验链证明至 {found.proven_to:,}", f"its chain is proven to {found.proven_to:,}"
