"""Layer: what the devices' own flash says against what edge and office hold; pure comparison and its table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tools.device_code import JournalEvent


class OfficeRow(NamedTuple):
    """One event as the office stores it."""

    seq: int
    boot: int
    uptime_cs: int
    payload: bytes
    t_lo_ms: int = 0
    t_hi_ms: int = 0


class Chain(NamedTuple):
    """How far the office could follow a device's own chain of MACs, and what it found wrong on the way."""

    proved_to: int
    findings: int


class EdgeRun(NamedTuple):
    """One run of events as the edge stores it."""

    first_seq: int
    last_seq: int
    boot: int


@dataclass(frozen=True)
class DeviceReport:
    """One line of the table. Everything from `missing` on has to be 0."""

    device: int
    name: str
    minted: int
    edge: int
    office: int
    proved: int
    missing: int
    duplicated: int
    out_of_order: int
    altered: int
    invented: int
    chain_faults: int

    @property
    def good(self) -> bool:
        """Nothing lost, doubled, moved, changed or added, and nothing that breaks the device's own chain."""
        zeros = (
            self.missing,
            self.duplicated,
            self.out_of_order,
            self.altered,
            self.invented,
            self.chain_faults,
        )
        return not any(zeros)


@dataclass(frozen=True)
class Finding:
    """Whether something that was planned (a fault) or promised (a check) is so, with the evidence."""

    what: str
    so: bool
    evidence: str


@dataclass
class Verdict:
    """The whole night's outcome."""

    devices: list[DeviceReport] = field(default_factory=list)
    faults: list[Finding] = field(default_factory=list)
    checks: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rejects: dict[str, int] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """All columns 0, something was minted by everyone, every fault happened, every check holds."""
        devices = bool(self.devices) and all(device.minted and device.good for device in self.devices)
        return devices and all(finding.so for finding in (*self.faults, *self.checks))


def compare(
    device: int,
    name: str,
    flash: Sequence[JournalEvent],
    edge: Iterable[EdgeRun],
    office: Sequence[OfficeRow],
    chain: Chain,
) -> DeviceReport:
    """One device's journal against the edge's runs and the office's rows (in the office's own order of events)."""
    held = {event.seq: event for event in flash}
    last = max(held, default=0)
    # a number that the flash itself no longer holds can't be vouched for: it counts as missing, too
    lost_on_flash = last - len(held)
    edge_seqs: set[int] = set()
    edge_total = 0
    for run in edge:
        edge_seqs.update(range(run.first_seq, run.last_seq + 1))
        edge_total += run.last_seq - run.first_seq + 1
    seen: set[int] = set()
    doubled = len(flash) - len(held) + edge_total - len(edge_seqs)
    moved = altered = invented = 0
    before = (0, 0, 0)
    latest_lo_ms = 0
    for row in office:
        if row.seq in seen:
            doubled += 1
            continue
        seen.add(row.seq)
        place = (row.seq, row.boot, row.uptime_cs)
        # later in the list must be later in every respect: number, boot, within a boot uptime, and time of day: it
        # may not be certain that it happened before something that stands above it
        if row.seq <= before[0] or (row.boot, row.uptime_cs) < before[1:] or row.t_hi_ms < latest_lo_ms:
            moved += 1
        latest_lo_ms = max(latest_lo_ms, row.t_lo_ms)
        before = max(before, place)
        event = held.get(row.seq)
        if event is None:
            invented += 1
        elif (event.boot, event.uptime_cs, event.payload) != row[1:4]:
            altered += 1
    return DeviceReport(
        device=device,
        name=name,
        minted=last,
        edge=len(edge_seqs),
        office=len(seen),
        proved=chain.proved_to,
        missing=lost_on_flash + len(set(held) - seen),
        duplicated=doubled,
        out_of_order=moved,
        altered=altered,
        invented=invented + len(edge_seqs - set(held)),
        chain_faults=chain.findings,
    )


_COLUMNS = {
    "minted": "minted",
    "edge": "at edge",
    "office": "at office",
    "proved": "proved to",
    "missing": "missing",
    "duplicated": "duplicated",
    "out_of_order": "out of order",
    "altered": "altered",
    "invented": "invented",
    "chain_faults": "chain faults",
}


def lines(verdict: Verdict) -> list[str]:
    """The table and what belongs to it, as plain text."""
    rows = [["device", *_COLUMNS.values(), "name"]]
    for entry in verdict.devices:
        rows.append([str(entry.device), *(f"{getattr(entry, column):,}" for column in _COLUMNS), entry.name])
    if verdict.devices:
        sums = (f"{sum(getattr(entry, column) for entry in verdict.devices):,}" for column in _COLUMNS)
        rows.append(["all", *sums, ""])
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]) - 1)]
    out = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[:-1], widths, strict=True)]
        out.append(("  ".join(cells) + "  " + row[-1]).rstrip())
    out.append("")
    for fault in verdict.faults:
        out.append(f"fault {'played' if fault.so else 'NOT PLAYED'}: {fault.what} ({fault.evidence})")
    for check in verdict.checks:
        out.append(f"{'checked' if check.so else 'NOT SO'}: {check.what} ({check.evidence})")
    if verdict.rejects:
        counts = ", ".join(
            f"{reason} {count:,}" for reason, count in sorted(verdict.rejects.items()) if count
        )
        out.append(f"frames refused at the edge: {counts or 'none'}")
    out += verdict.notes
    return out
