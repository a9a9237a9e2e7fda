"""Layer: a store of this program -> one that an older program knows.

As long as every table and column of the old version is still there, the rows just move. What the older version means
otherwise is written as it knows it, what it has no place for stays in the newer store, which is kept aside; where
that would be an event, it refuses.
"""

from __future__ import annotations

from pathlib import Path

import apsw

from edge_agent.errors import StoreError
from edge_agent.store import outbox
from edge_agent.store.database import INCREMENTAL, migrate, schema_steps, transaction

OUT_OF_ORDER = 6  # the first version that knows of rows delivered ahead and of refused ones
TREE, LEAVES_LAST = 5, 8  # the first with a tree, and with its leaves last in their table
# schema_v8.sql the other way round: index - (level << 48) -> index + (level << 48).
_LEAVES_FIRST = (
    "UPDATE tree_node SET place = place + ((-place + 281474976710655) >> 48 << 49) WHERE place < 0"
)


def convert(source: Path, target: Path, version: int) -> int:
    """Writes the store in `source`, which nobody uses, into a new file of an older version. Raises StoreError.

    Returns how many events wait again though the office has them: live ones that had overtaken others.
    """
    steps = schema_steps()
    if not 1 <= version <= len(steps):
        raise StoreError(f"there is no store of version {version}; this program knows 1 to {len(steps)}")
    try:
        newer = apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READONLY)
        connection = apsw.Connection(str(target))
        try:
            held = int(newer.pragma("user_version"))
            if held > len(steps):
                raise StoreError(
                    f"the store is of version {held}, this program knows 1 to {len(steps)}: only a program that "
                    "knows it can take it back"
                )
            again = _ahead(newer, held, version)
            connection.pragma("synchronous", "off")  # the caller syncs the whole file
            connection.pragma("auto_vacuum", INCREMENTAL)  # counts for a file that is still empty
            migrate(connection, steps[:version])
            connection.execute("ATTACH ? AS newer", (str(source),))
            with transaction(connection):
                for table in _tables(connection, "main"):
                    _move(connection, table, version)
                for lane, count in again.items():
                    connection.execute(
                        "UPDATE main.lane SET delivered = delivered - ? WHERE name = ?", (count, lane)
                    )
                if TREE <= version < LEAVES_LAST <= held:
                    connection.execute(_LEAVES_FIRST)
            connection.execute("DETACH newer")
        finally:
            connection.close()
            newer.close()
    except apsw.Error as error:
        raise StoreError(f"the store can't be written for version {version}: {error}") from error
    return sum(again.values())


def _ahead(newer: apsw.Connection, held: int, version: int) -> dict[str, int]:
    """Events of each lane that an older version delivers again. Raises StoreError where it would lose refused rows."""
    if not version < OUT_OF_ORDER <= held:
        return {}
    refused, _ = outbox.refusals(newer)
    if refused:
        raise StoreError(
            f"version {version} has no place for rows that the office refuses ({refused:,} here), and would take "
            "them for delivered: have the office take them (the agent asks anew at every start), or restore the backup "
            "that was made before the upgrade"
        )
    return outbox.ahead(newer)


def _tables(connection: apsw.Connection, schema: str) -> list[str]:
    found = connection.execute(
        f"SELECT name FROM {schema}.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"  # noqa: S608
    )
    return [str(name) for (name,) in found]


def _columns(connection: apsw.Connection, schema: str, table: str) -> list[str]:
    return [str(row[1]) for row in connection.execute(f'PRAGMA {schema}.table_info("{table}")')]


def _move(connection: apsw.Connection, table: str, version: int) -> None:
    wanted, there = _columns(connection, "main", table), _columns(connection, "newer", table)
    missing = [name for name in wanted if name not in there]
    if missing:
        raise StoreError(
            f"version {version} needs {table}.{missing[0]}, which this store no longer has: let the agent deliver what "
            "waits, then restore the backup that was made before the upgrade"
        )
    names = ", ".join(f'"{name}"' for name in wanted)
    connection.execute(f'DELETE FROM main."{table}"')  # noqa: S608 - what the schema puts in; names are the schema's
    connection.execute(
        f'INSERT INTO main."{table}" ({names}) SELECT {names} FROM newer."{table}"'  # noqa: S608 - as above
    )
    counts = connection.execute(
        f'SELECT (SELECT count(*) FROM main."{table}"), (SELECT count(*) FROM newer."{table}")'  # noqa: S608
    ).fetchall()[0]
    if counts[0] != counts[1]:
        raise StoreError(f"{table}: {counts[0]} of {counts[1]} rows could be taken along")
