"""Layer: SQL of the outbox: which rows of the log a lane still has to deliver."""

from __future__ import annotations

from typing import NamedTuple

import apsw
import cbor2

from edge_agent.store import events
from edge_agent.store.events import Row

LANES = ("alarm", "normal")
_WHERE = {"normal": "priority < 2", "alarm": "priority = 2"}
_READ = {
    lane: f"SELECT * FROM log WHERE pos > ? AND {where} ORDER BY pos LIMIT ?"  # noqa: S608 - constants only
    for lane, where in _WHERE.items()
}
_OLDEST = {
    lane: f"SELECT received_ms FROM log WHERE pos > ? AND {where} ORDER BY pos LIMIT 1"  # noqa: S608 - constants
    for lane, where in _WHERE.items()
}

_FIRST = {
    lane: f"SELECT pos FROM log WHERE pos > ? AND {where} ORDER BY pos LIMIT 1"  # noqa: S608 - constants
    for lane, where in _WHERE.items()
}


class Lane(NamedTuple):
    """A lane's cursor and how many events were ever put into it and delivered."""

    cursor: int
    appended: int
    delivered: int


def lanes(connection: apsw.Connection) -> dict[str, Lane]:
    """Every lane's state."""
    return {
        str(name): Lane(int(cursor), int(appended), int(delivered))
        for name, cursor, appended, delivered in connection.execute("SELECT * FROM lane")
    }


def read(connection: apsw.Connection, lane: str, after: int, max_rows: int, max_bytes: int) -> list[Row]:
    """The next rows of a lane, at least one if there is one, at most max_rows and about max_bytes of items."""
    rows: list[Row] = []
    size = 0
    for found in connection.execute(_READ[lane], (after, max_rows)):
        row = Row(*found)
        size += len(row.items)
        if rows and size > max_bytes:
            break
        rows.append(row)
    return rows


def oldest_ms(connection: apsw.Connection, lane: str, after: int) -> int | None:
    """When the oldest row that waits was received; None when nothing waits."""
    found = connection.execute(_OLDEST[lane], (after,)).get
    return int(found) if isinstance(found, int) else None


def appended(connection: apsw.Connection, lane: str, events: int) -> None:
    """Counts events that were put into the lane; in the transaction of their rows."""
    connection.execute("UPDATE lane SET appended = appended + ? WHERE name = ?", (events, lane))


def advance(
    connection: apsw.Connection,
    lane: str,
    through: int,
    events: int,
    receipts: dict[int, tuple[int, list[list[int]]]],
) -> None:
    """The office has every row of the lane up to `through`; never moves back."""
    connection.execute(
        "UPDATE lane SET cursor = ?1, delivered = delivered + ?2 WHERE name = ?3 AND cursor < ?1",
        (through, events, lane),
    )
    connection.executemany(
        "INSERT OR REPLACE INTO receipt VALUES (?,?,?)",
        [(device, complete_to, cbor2.dumps(missing)) for device, (complete_to, missing) in receipts.items()],
    )


def receipts(connection: apsw.Connection) -> dict[int, tuple[int, list[list[int]]]]:
    """The office's last word on each device: (complete to, missing ranges)."""
    return {
        int(device): (int(complete_to), cbor2.loads(bytes(missing)))
        for device, complete_to, missing in connection.execute("SELECT * FROM receipt")
    }


def delivered_through(connection: apsw.Connection) -> int:
    """The highest position up to which the office has every row, of all lanes; 0 for none."""
    waiting = [
        connection.execute(_FIRST[name], (lane.cursor,)).get for name, lane in lanes(connection).items()
    ]
    known = [pos for pos in waiting if isinstance(pos, int)]
    return min(known) - 1 if known else events.last_pos(connection)
