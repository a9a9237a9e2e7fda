"""Layer: SQL of the tree over the delivered log and of its signed heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import apsw

from edge_agent.errors import StoreError
from edge_agent.integrity.tree import Frontier, node_hash
from edge_agent.store import outbox
from edge_agent.store.events import Row

STORED_LEVELS = (
    8  # every 8th level of full subtrees is kept: a proof reads at most 255 hashes for each of its own
)
KEPT_HEADS = 1_000  # delivered ones; the office keeps all of them
_ROWS = "SELECT * FROM log WHERE pos > ? AND pos <= ? ORDER BY pos LIMIT ?"


class State(NamedTuple):
    """The tree as it stands."""

    first_pos: int
    frontier: Frontier

    @property
    def size(self) -> int:
        """How many rows it covers."""
        return self.frontier.size

    @property
    def last_pos(self) -> int:
        """The last row that it covers; first_pos - 1 when it covers none."""
        return self.first_pos + self.frontier.size - 1


class HeadRow(NamedTuple):
    """One row of table head; see schema_v5.sql and schema_v7.sql."""

    number: int
    size: int
    root: bytes
    time_ms: int
    public: bytes
    signature: bytes
    delivered_ms: int | None
    first_pos: int


def state(connection: apsw.Connection) -> State:
    """The tree as it stands. Raises StoreError when the store does not hold one that can be."""
    found = connection.execute("SELECT first_pos, size, frontier FROM tree").fetchone()
    if found is None:
        raise StoreError("the store has lost its tree (table tree is empty): put a backup back")
    try:
        return State(int(found[0]), Frontier.from_bytes(int(found[1]), bytes(found[2])))
    except ValueError as error:
        raise StoreError(f"the store's tree is damaged ({error}): put a backup back") from error


def begin_anew(connection: apsw.Connection) -> None:
    """An empty tree behind what was delivered so far; heads that the office has not got can't be proven any more."""
    connection.execute(
        "INSERT OR REPLACE INTO tree VALUES (1, ?, 0, x'')", (outbox.delivered_through(connection) + 1,)
    )
    connection.execute("DELETE FROM head WHERE delivered_ms IS NULL")


def rows(connection: apsw.Connection, after: int, through: int, limit: int) -> list[Row]:
    """Rows of the log, by position."""
    return [Row(*row) for row in connection.execute(_ROWS, (after, through, limit))]


def extend(
    connection: apsw.Connection, before: State, after: State, nodes: Sequence[tuple[int, int, bytes]]
) -> bool:
    """Makes the one tree the other by the nodes (level, index, hash); in one transaction.

    False, and nothing done, when the tree is another than `before`. A tree that begins anew writes over the old nodes.
    """
    connection.execute(
        "UPDATE tree SET first_pos = ?, size = ?, frontier = ? WHERE first_pos = ? AND size = ?",
        (after.first_pos, after.size, after.frontier.to_bytes(), before.first_pos, before.size),
    )
    if not connection.changes():
        return False
    connection.executemany(
        "INSERT OR REPLACE INTO tree_node VALUES (?,?)",
        [(place(level, index), hashed) for level, index, hashed in nodes],
    )
    return True


def node(connection: apsw.Connection, level: int, index: int) -> bytes:
    """The hash of a full subtree (tree.Node, with the store before it). Raises StoreError where one is missing."""
    above = level % STORED_LEVELS
    first = place(level - above, index << above)
    hashes = [
        bytes(hashed)
        for (hashed,) in connection.execute(
            "SELECT hash FROM tree_node WHERE place >= ? AND place < ? ORDER BY place",
            (first, first + (1 << above)),
        )
    ]
    if len(hashes) != 1 << above:
        raise StoreError(
            f"{(1 << above) - len(hashes)} hashes of the tree are missing at level {level - above}"
        )
    while len(hashes) > 1:
        hashes = [node_hash(hashes[at], hashes[at + 1]) for at in range(0, len(hashes), 2)]
    return hashes[0]


def place(level: int, index: int) -> int:
    """Where a node stands in table tree_node: the leaves last, so that the table grows at its end."""
    return index - (level << 48)


def save_head(connection: apsw.Connection, row: HeadRow) -> None:
    """Writes a head down; old ones that the office has go."""
    connection.execute("INSERT INTO head VALUES (?,?,?,?,?,?,?,?)", row)
    connection.execute(
        "DELETE FROM head WHERE number <= ? AND delivered_ms IS NOT NULL", (row.number - KEPT_HEADS,)
    )


def last_head(connection: apsw.Connection, *, delivered: bool = False) -> HeadRow | None:
    """The newest head, or the newest that the office has."""
    where = " WHERE delivered_ms IS NOT NULL" if delivered else ""
    found = connection.execute(f"SELECT * FROM head{where} ORDER BY number DESC LIMIT 1").fetchone()  # noqa: S608 - constants
    return HeadRow(*found) if found is not None else None


def head_delivered(connection: apsw.Connection, number: int, now_ms: int) -> None:
    """The office has this head."""
    connection.execute("UPDATE head SET delivered_ms = ? WHERE number = ?", (now_ms, number))


def prunable_through(connection: apsw.Connection) -> int:
    """Rows of the log up to here may go: their leaves stay in the tree, so every proof can still be made."""
    return state(connection).last_pos
