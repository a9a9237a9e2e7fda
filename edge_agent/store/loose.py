"""Layer: SQL of the runs whose time may still be tightened."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import apsw


class Loose(NamedTuple):
    """One row of table loose; see schema_v4.sql."""

    device: int
    boot: int
    first_seq: int
    size: int
    uptime_cs: int
    span_cs: int
    t_lo_ms: int
    t_hi_ms: int


def save(connection: apsw.Connection, rows: Iterable[Loose]) -> None:
    """Writes runs, over what was known of the same ones."""
    connection.executemany("INSERT OR REPLACE INTO loose VALUES (?,?,?,?,?,?,?,?)", rows)


def drop(connection: apsw.Connection, rows: Iterable[Loose]) -> None:
    """These need no further look."""
    connection.executemany(
        "DELETE FROM loose WHERE device = ? AND boot = ? AND first_seq = ?", [row[:3] for row in rows]
    )


def load(connection: apsw.Connection) -> dict[int, list[Loose]]:
    """By device, oldest first."""
    found: dict[int, list[Loose]] = {}
    for row in connection.execute("SELECT * FROM loose ORDER BY device, boot, first_seq"):
        found.setdefault(int(row[0]), []).append(Loose(*row))
    return found
