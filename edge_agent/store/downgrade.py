"""Layer: a store of this program -> one that an older program knows.

Schemas only ever add: as long as every table and column of the old version is still there, the rows just move, and
nothing of it is lost. What only the newer version keeps stays in the newer store, which is kept aside.
"""

from __future__ import annotations

from pathlib import Path

import apsw

from edge_agent.errors import StoreError
from edge_agent.store.database import migrate, schema_steps, transaction


def convert(source: Path, target: Path, version: int) -> None:
    """Writes the store in `source`, which nobody uses, into a new file of an older version. Raises StoreError."""
    steps = schema_steps()
    if not 1 <= version <= len(steps):
        raise StoreError(f"there is no store of version {version}; this program knows 1 to {len(steps)}")
    try:
        connection = apsw.Connection(str(target))
        try:
            connection.pragma("synchronous", "off")  # the caller syncs the whole file
            migrate(connection, steps[:version])
            connection.execute("ATTACH ? AS newer", (str(source),))
            with transaction(connection):
                for table in _tables(connection, "main"):
                    _move(connection, table, version)
            connection.execute("DETACH newer")
        finally:
            connection.close()
    except apsw.Error as error:
        raise StoreError(f"the store can't be written for version {version}: {error}") from error


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
