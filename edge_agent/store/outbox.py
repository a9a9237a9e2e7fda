"""Layer: SQL of the outbox: which rows of the log a lane still has to deliver."""

from __future__ import annotations

from typing import NamedTuple

import apsw
import cbor2

from edge_agent.coverage import Coverage
from edge_agent.store import events
from edge_agent.store.events import Row

LANES = ("alarm", "normal")
LAST_POS = (1 << 63) - 1
ROW_COST = 32  # bytes that a row takes in an upload beside its items, about
_WHERE = {"normal": "priority < 2", "alarm": "priority = 2"}
_READ = {
    lane: f"SELECT * FROM log WHERE pos > ? AND pos <= ? AND {where} ORDER BY pos LIMIT ?"  # noqa: S608 - constants only
    for lane, where in _WHERE.items()
}
_OLDEST = {
    lane: f"SELECT pos, received_ms FROM log WHERE pos > ? AND pos <= ? AND {where} ORDER BY pos LIMIT 1"  # noqa: S608 - constants
    for lane, where in _WHERE.items()
}
_EVENTS = {
    lane: "SELECT coalesce(sum(last_seq - first_seq + 1), 0) FROM log WHERE pos BETWEEN ?1 + ?3 AND ?2 + ?3"  # noqa: S608 - constants
    f" AND {where} AND pos - ?3 NOT IN (SELECT pos FROM refused)"
    for lane, where in _WHERE.items()
}
Receipts = dict[int, tuple[int, list[list[int]]]]  # device -> complete to, missing ranges


class Lane(NamedTuple):
    """A lane's cursor, what is delivered above it, and how many events were ever put into it and delivered."""

    cursor: int
    appended: int
    delivered: int
    ahead: list[tuple[int, int]]

    @property
    def coverage(self) -> Coverage:
        """The positions of which the office has every row of this lane."""
        return Coverage(self.cursor, list(self.ahead))

    @property
    def highest(self) -> int:
        """The highest position that was ever delivered."""
        return self.ahead[-1][1] if self.ahead else self.cursor


class Part(NamedTuple):
    """Rows of a lane: all that it has from `first` to `through`; full: it has more behind, up to where was asked."""

    first: int
    through: int
    rows: list[Row]
    full: bool
    head: int  # the highest position of the log when it was read

    @property
    def events(self) -> int:
        """How many events the rows hold."""
        return sum(row.last_seq - row.first_seq + 1 for row in self.rows)


class Refused(NamedTuple):
    """One row of table refused."""

    pos: int
    lane: str
    since_ms: int
    tried_ms: int
    reason: str


def lanes(connection: apsw.Connection) -> dict[str, Lane]:
    """Every lane's state; of a copy that is older than `ahead`, too."""
    return {
        str(name): Lane(int(cursor), int(appended), int(delivered), _spans(*ahead))
        for name, cursor, appended, delivered, *ahead in connection.execute("SELECT * FROM lane")
    }


def read(
    connection: apsw.Connection, lane: str, first: int, last: int, max_rows: int, max_bytes: int
) -> Part:
    """The lane's rows from position `first` on: at least one if there is one, about max_bytes, none behind `last`."""
    head = events.last_pos(connection)  # before the rows: what comes in meanwhile is read the next time
    last = min(last, head)
    rows: list[Row] = []
    size = 0
    for found in connection.execute(_READ[lane], (first - 1, last, max_rows + 1)):
        row = Row(*found)
        size += len(row.items) + ROW_COST
        if rows and (size > max_bytes or len(rows) == max_rows):
            return Part(first, rows[-1].pos, rows, full=True, head=head)
        rows.append(row)
    return Part(first, last, rows, full=False, head=head)


def oldest(connection: apsw.Connection, lane: str, state: Lane) -> tuple[int, int] | None:
    """(position, received_ms) of the oldest row that waits; None when nothing waits. Refused rows don't count."""
    for first, last in state.coverage.missing(1, LAST_POS):
        found = connection.execute(_OLDEST[lane], (first - 1, last)).fetchone()
        if found is not None:
            return int(found[0]), int(found[1])
    return None


def appended(connection: apsw.Connection, lane: str, count: int) -> None:
    """Counts events that were put into the lane; in the transaction of their rows."""
    connection.execute("UPDATE lane SET appended = appended + ? WHERE name = ?", (count, lane))


def delivered(
    connection: apsw.Connection, lane: str, first: int, through: int, count: int, receipts: Receipts
) -> None:
    """The office has every row of the lane from `first` to `through`: `count` events; in one transaction."""
    found = connection.execute("SELECT cursor, ahead FROM lane WHERE name = ?", (lane,)).fetchone()
    assert found is not None
    coverage = Coverage(int(found[0]), _spans(bytes(found[1])))
    if not coverage.add(first, through):
        return  # too scattered: these are sent again, and the office knows them
    connection.execute(
        "UPDATE lane SET cursor = ?, ahead = ?, delivered = delivered + ? WHERE name = ?",
        (coverage.upto, cbor2.dumps(coverage.islands), count, lane),
    )
    save_receipts(connection, receipts)


def save_receipts(connection: apsw.Connection, receipts: Receipts) -> None:
    """The office's last word on each of these devices."""
    connection.executemany(
        "INSERT OR REPLACE INTO receipt VALUES (?,?,?)",
        [(device, complete_to, cbor2.dumps(missing)) for device, (complete_to, missing) in receipts.items()],
    )


def receipts(connection: apsw.Connection) -> Receipts:
    """The office's last word on each device: (complete to, missing ranges)."""
    return {
        int(device): (int(complete_to), cbor2.loads(bytes(missing)))
        for device, complete_to, missing in connection.execute("SELECT * FROM receipt")
    }


# Rows that the office refuses for good.


def set_aside(connection: apsw.Connection, first: int, through: int, row: Refused) -> None:
    """One row is refused: what stands behind it goes on; in one transaction. first..through hold only this row."""
    connection.execute("INSERT OR REPLACE INTO refused VALUES (?,?,?,?,?)", row)
    delivered(connection, row.lane, first, through, 0, {})


def refused(connection: apsw.Connection, lane: str, tried_before_ms: int, limit: int) -> list[Refused]:
    """Refused rows of a lane that were last tried before then, the longest ago first."""
    found = connection.execute(
        "SELECT * FROM refused WHERE lane = ? AND tried_ms < ? ORDER BY tried_ms, pos LIMIT ?",
        (lane, tried_before_ms, limit),
    )
    return [Refused(*row) for row in found]


def refused_again(connection: apsw.Connection, row: Refused) -> None:
    """Tried once more, in vain."""
    connection.execute(
        "UPDATE refused SET tried_ms = ?, reason = ? WHERE pos = ?", (row.tried_ms, row.reason, row.pos)
    )


def taken_after_all(connection: apsw.Connection, row: Refused, count: int, receipts: Receipts) -> None:
    """The office has this row now."""
    connection.execute("DELETE FROM refused WHERE pos = ?", (row.pos,))
    connection.execute("UPDATE lane SET delivered = delivered + ? WHERE name = ?", (count, row.lane))
    save_receipts(connection, receipts)


def refusals(connection: apsw.Connection) -> tuple[int, Refused | None]:
    """How many rows are refused, and the first of them."""
    first = connection.execute("SELECT * FROM refused ORDER BY pos LIMIT 1").fetchone()
    count = connection.execute("SELECT count(*) FROM refused").get
    return (int(count) if isinstance(count, int) else 0), Refused(*first) if first else None


def move(connection: apsw.Connection, by: int) -> None:
    """Every row above its lane's cursor has moved by so many positions, and is to be delivered there.

    Those that were delivered ahead, too: the office has their events, but no row of these positions. Refused ones are
    asked for anew.
    """
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'refused'").get:
        return  # nothing is ahead in a store of that age
    for name, count in ahead(connection, by).items():
        connection.execute(
            "UPDATE lane SET delivered = delivered - ?, ahead = x'80' WHERE name = ?", (count, name)
        )
    connection.execute("DELETE FROM refused WHERE pos > (SELECT cursor FROM lane WHERE name = refused.lane)")


def ahead(connection: apsw.Connection, by: int = 0) -> dict[str, int]:
    """How many events each lane has delivered above its cursor; its rows there have moved by so many positions."""
    return {
        name: sum(
            int(str(connection.execute(_EVENTS[name], (first, last, by)).get)) for first, last in lane.ahead
        )
        for name, lane in lanes(connection).items()
    }


def _spans(value: bytes = b"\x80") -> list[tuple[int, int]]:
    return [(int(first), int(last)) for first, last in cbor2.loads(value)]


def delivered_through(connection: apsw.Connection) -> int:
    """The highest position up to which the office has every row, of all lanes; 0 for none."""
    # The end comes first: rows that the writer adds while this reads are behind it. Where all is pruned, lanes know it.
    last = events.last_pos(connection)
    found = lanes(connection)
    last = max(last, *(lane.highest for lane in found.values()))
    waiting = [oldest(connection, name, lane) for name, lane in found.items()]
    first_refused = connection.execute("SELECT min(pos) FROM refused").get
    known = [each[0] - 1 for each in waiting if each is not None]
    if isinstance(first_refused, int):
        known.append(first_refused - 1)
    return min([last, *known])
