"""Layer: SQL of how long delivered rows stay, and of the room that the store takes."""

from __future__ import annotations

from typing import NamedTuple

import apsw

from edge_agent.store import devices, outbox, tree
from edge_agent.store.database import INCREMENTAL

PRUNED_EVENTS = "pruned_events"  # in table meta


class Usage(NamedTuple):
    """Bytes in use, bytes free inside the file, events in the log, events ever appended."""

    used: int
    spare: int
    held: int
    appended: int


class Mark(NamedTuple):
    """One row of table mark."""

    at_ms: int
    through: int
    appended: int


def last_mark(connection: apsw.Connection) -> Mark | None:
    """The newest mark."""
    return _mark(connection, "ORDER BY at_ms DESC LIMIT 1")


def mark_since(connection: apsw.Connection, at_ms: int) -> Mark | None:
    """The oldest mark that is not older than that."""
    return _mark(connection, "WHERE at_ms >= ? ORDER BY at_ms LIMIT 1", at_ms)


def mark(connection: apsw.Connection, now_ms: int, keep_from_ms: int) -> None:
    """Notes how far delivery is; of the marks from before keep_from_ms the last one stays."""
    connection.execute(
        "INSERT OR REPLACE INTO mark VALUES (?,?,?)",
        (now_ms, outbox.delivered_through(connection), _appended(connection)),
    )
    connection.execute(
        "DELETE FROM mark WHERE at_ms < (SELECT max(at_ms) FROM mark WHERE at_ms <= ?)", (keep_from_ms,)
    )


def shift_marks(connection: apsw.Connection, since_ms: int, by_ms: int) -> None:
    """The clock that made the marks from since_ms on was off by so much."""
    found = [Mark(*row) for row in connection.execute("SELECT * FROM mark WHERE at_ms >= ?", (since_ms,))]
    connection.execute("DELETE FROM mark WHERE at_ms >= ?", (since_ms,))
    connection.executemany(
        "INSERT OR REPLACE INTO mark VALUES (?,?,?)",
        [mark._replace(at_ms=mark.at_ms + by_ms) for mark in found],
    )


def prunable(connection: apsw.Connection, delivered_before_ms: int | None) -> int:
    """Rows up to here may go: delivered (before then), none of them refused, and the tree has their leaves."""
    through = outbox.delivered_through(connection)
    if delivered_before_ms is not None:
        found = _mark(connection, "WHERE at_ms <= ? ORDER BY at_ms DESC LIMIT 1", delivered_before_ms)
        through = min(through, found.through if found is not None else 0)
    return min(through, tree.prunable_through(connection))


def are_there(connection: apsw.Connection, through: int, rows: int) -> bool:
    """Whether the log holds at least so many rows up to `through`."""
    found = connection.execute("SELECT 1 FROM log WHERE pos <= ? LIMIT 1 OFFSET ?", (through, rows - 1))
    return found.fetchone() is not None


def prune(connection: apsw.Connection, through: int, limit: int) -> int:
    """Deletes the oldest rows up to `through`, about `limit` of them; returns how many."""
    first = connection.execute("SELECT min(pos) FROM log").get
    if not isinstance(first, int) or first > through:
        return 0
    last = min(through, first + limit - 1)
    gone = connection.execute(
        "SELECT sum(last_seq - first_seq + 1) FROM log WHERE pos BETWEEN ? AND ?", (first, last)
    ).get
    events = devices.meta(connection, PRUNED_EVENTS) + (int(gone) if isinstance(gone, int) else 0)
    devices.set_meta(connection, PRUNED_EVENTS, events)
    connection.execute("DELETE FROM log WHERE pos BETWEEN ? AND ?", (first, last))
    return int(connection.changes())


def oldest_pos(connection: apsw.Connection) -> int | None:
    """The first row that is still there."""
    found = connection.execute("SELECT min(pos) FROM log").get
    return int(found) if isinstance(found, int) else None


def spare_pages(connection: apsw.Connection) -> int:
    """Pages that could be given back to the file system; 0 for a store that can't."""
    if connection.pragma("auto_vacuum") != INCREMENTAL:
        return 0
    return int(connection.pragma("freelist_count"))


def give_back(connection: apsw.Connection, pages: int) -> None:
    """Shortens the file by so many pages; the file system has them after the next checkpoint."""
    connection.pragma("incremental_vacuum", pages)


def usage(connection: apsw.Connection) -> Usage:
    """What the store takes."""
    size, pages, spare = (int(connection.pragma(n)) for n in ("page_size", "page_count", "freelist_count"))
    appended = _appended(connection)
    held = max(appended - devices.meta(connection, PRUNED_EVENTS), 0)
    return Usage((pages - spare) * size, spare * size, held, appended)


def _appended(connection: apsw.Connection) -> int:
    return sum(lane.appended for lane in outbox.lanes(connection).values())


def _mark(connection: apsw.Connection, which: str, *values: int) -> Mark | None:
    found = connection.execute(f"SELECT * FROM mark {which}", values).fetchone()  # noqa: S608 - constants only
    return Mark(*found) if found is not None else None
