"""Layer: reads what the edge and the office have on disk, over connections of its own."""

from __future__ import annotations

from pathlib import Path

import apsw

from tools.simulate.errors import NightError
from tools.simulate.report import Chain, EdgeRun, OfficeRow

_EDGE_RUNS = (
    "SELECT first_seq, last_seq, boot FROM log"
    " WHERE device = ? AND last_seq >= first_seq ORDER BY first_seq, pos"
)
# The order in which the office itself tells a device's history: by the device's own numbers.
_OFFICE_ROWS = (
    "SELECT seq, boot, uptime_cs, payload, t_lo_ms, t_hi_ms FROM site_event"
    " WHERE site = ? AND device = ? ORDER BY seq, boot"
)
_OFFICE_COUNTS = "SELECT device, count(*) FROM site_event WHERE site = ? GROUP BY device"
_OFFICE_PROVED = (
    "SELECT checked_to FROM device t JOIN site ON site.key = t.site WHERE site.id = ? AND device = ?"
)
_OFFICE_FINDINGS = (
    "SELECT count(*) FROM finding t JOIN site ON site.key = t.site WHERE site.id = ? AND device = ?",
    "SELECT count(*) FROM conflict t JOIN site ON site.key = t.site WHERE site.id = ? AND device = ?",
    "SELECT count(*) FROM loss t JOIN site ON site.key = t.site WHERE site.id = ? AND device = ?",
)


def _open(path: Path) -> apsw.Connection:
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(5_000)
    except apsw.Error as error:
        raise NightError(f"{path}: can't be read: {error}") from error
    return connection


def edge_runs(path: Path, device: int) -> list[EdgeRun]:
    """The runs of a device in the edge's log."""
    connection = _open(path)
    try:
        return [EdgeRun(*row) for row in connection.execute(_EDGE_RUNS, (device,))]
    finally:
        connection.close()


def office_rows(path: Path, site: str, device: int) -> list[OfficeRow]:
    """The events of a device in the office's database."""
    connection = _open(path)
    try:
        return [OfficeRow(*row) for row in connection.execute(_OFFICE_ROWS, (site, device))]
    finally:
        connection.close()


def office_chain(path: Path, site: str, device: int) -> Chain:
    """How far the office proved a device's history, and how many contradictions it noted."""
    connection = _open(path)
    try:
        proved = connection.execute(_OFFICE_PROVED, (site, device)).get
        findings = [connection.execute(query, (site, device)).get for query in _OFFICE_FINDINGS]
        return Chain(int(str(proved or 0)), sum(int(str(count)) for count in findings))
    finally:
        connection.close()


def office_counts(path: Path, site: str) -> dict[int, int]:
    """device -> how many events the office has."""
    connection = _open(path)
    try:
        found = connection.execute(_OFFICE_COUNTS, (site,))
        return {int(device): int(count) for device, count in found}
    finally:
        connection.close()
