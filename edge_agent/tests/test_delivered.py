"""How far delivery is, over all lanes: what the tree covers and what may be pruned."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.store import outbox
from edge_agent.store import tree as trees
from edge_agent.store.database import Database, transaction


async def test_only_what_every_lane_has_delivered(tmp_path: Path) -> None:
    connection = Database(tmp_path).writer
    row = [7, 1, 1, 1, 5, 0, 9, 9, 1, 0, None, b"\x82\x10\x41\x00", None]

    def add(pos: int, priority: int) -> None:
        row[8] = priority
        connection.execute("INSERT INTO log VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)", [pos, *row])

    def have(lane: str, through: int) -> None:
        with transaction(connection):
            outbox.delivered(connection, lane, 1, through, 1, {})

    assert outbox.delivered_through(connection) == 0
    for pos, priority in ((1, 1), (2, 2), (3, 0), (4, 1)):
        add(pos, priority)
    assert outbox.delivered_through(connection) == 0
    have("alarm", 2)
    assert outbox.delivered_through(connection) == 0
    have("normal", 1)
    assert outbox.delivered_through(connection) == 2
    have("normal", 4)
    assert outbox.delivered_through(connection) == 4
    add(5, 2)
    add(6, 1)
    assert outbox.delivered_through(connection) == 4
    have("normal", 6)
    assert outbox.delivered_through(connection) == 4
    have("alarm", 5)
    assert outbox.delivered_through(connection) == 6
    assert trees.prunable_through(connection) == 0


@pytest.mark.parametrize("when", range(6))
@pytest.mark.parametrize("priority", [1, 2])
def test_rows_that_come_in_while_somebody_looks_are_not_delivered(
    tmp_path: Path, when: int, priority: int
) -> None:
    """The keeper reads beside the writer: before its `when`-th statement a group with rows of both lanes commits."""
    database = Database(tmp_path)
    row = (7, 1, 1, 1, 5, 9, 9, 1, priority, 0, None, b"\x82\x10\x41\x00", None)
    statements = 0

    def meanwhile(*_: object) -> bool:
        nonlocal statements
        if statements == when:
            values = [(2, *row), (3, *row[:8], 3 - priority, *row[9:])]
            with transaction(database.writer):
                database.writer.executemany("INSERT INTO log VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)", values)
        statements += 1
        return True

    database.writer.execute("INSERT INTO log VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)", (1, *row))
    with transaction(database.writer):
        outbox.delivered(database.writer, "alarm", 1, 1, 1, {})
        outbox.delivered(database.writer, "normal", 1, 1, 1, {})
    reader = database.reader()
    reader.exec_trace = meanwhile
    assert outbox.delivered_through(reader) == 1
    reader.close()
    database.close()


def test_where_every_row_is_pruned_it_is_still_known_how_far_delivery_is(tmp_path: Path) -> None:
    """A tree that begins anew then goes on behind them: it must not say that there are none."""
    connection = Database(tmp_path).writer
    with transaction(connection):
        outbox.delivered(connection, "alarm", 1, 5_000, 1, {})
        outbox.delivered(connection, "normal", 1, 4_999, 1, {})
        trees.begin_anew(connection)
    assert trees.state(connection).first_pos == 5_001
