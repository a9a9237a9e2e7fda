"""Later statements of when events happened: kept as they came; the best of all stands at the event.

Within the writer's transaction. A statement may come before its events, which travel in another lane.
"""

from __future__ import annotations

import apsw

from tools.office.batch import Restated
from tools.office.items import UNKNOWN_MS, after

_EVENTS = (
    "SELECT seq, uptime_cs, coalesce(best_lo_ms, t_lo_ms), coalesce(best_hi_ms, t_hi_ms) FROM event"
    " WHERE site = ? AND device = ? AND boot = ? AND seq BETWEEN ? AND ?"
)


def keep(db: apsw.Connection, site: int, found: Restated, stored_ms: int) -> None:
    """Takes a statement down and applies it to the events that are here."""
    db.execute(
        "INSERT OR IGNORE INTO restated VALUES (?,?,?,?,?,?,?,?,?,?)",
        (site, *found, stored_ms),
    )
    _apply(db, site, found, found.first, found.last)


def any_of(db: apsw.Connection, site: int, device: int) -> bool:
    """Whether anything was ever stated again of this device."""
    return bool(
        db.execute("SELECT EXISTS (SELECT 1 FROM restated WHERE site = ? AND device = ?)", (site, device)).get
    )


def apply(db: apsw.Connection, site: int, device: int, boot: int, first: int, last: int) -> None:
    """Events first..last have just come: what was stated of them before holds for them, too."""
    for row in list(
        db.execute(
            "SELECT device, boot, first, last, uptime_cs, t_lo_ms, t_hi_ms, said_ms FROM restated"
            " WHERE site = ? AND device = ? AND boot = ? AND first <= ? AND last >= ?",
            (site, device, boot, last, first),
        )
    ):
        _apply(db, site, Restated(*row), first, last)


def _apply(db: apsw.Connection, site: int, found: Restated, first: int, last: int) -> None:
    where = (site, found.device, found.boot)
    better: list[tuple[int, ...]] = []
    span = (max(first, found.first), min(last, found.last))
    for seq, uptime_cs, low, high in list(db.execute(_EVENTS, (*where, *span))):
        if uptime_cs < found.uptime_cs:
            continue
        new_low, new_high = after(found.t_lo_ms, found.t_hi_ms, uptime_cs - found.uptime_cs)
        new_low, new_high = max(low, new_low), min(high, new_high)
        # Two true statements overlap; where they don't, the first word stands.
        if new_low <= new_high and (new_low, new_high) != (low, high) and new_high <= UNKNOWN_MS:
            better.append((new_low, new_high, *where, seq))
    db.executemany(
        "UPDATE event SET best_lo_ms = ?, best_hi_ms = ? WHERE site = ? AND device = ? AND boot = ? AND seq = ?",
        better,
    )
