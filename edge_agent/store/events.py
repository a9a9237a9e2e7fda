"""Layer: SQL of the log: rows in, rows out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import apsw


class Row(NamedTuple):
    """One row of the log; see schema_v1.sql."""

    pos: int
    device: int
    boot: int
    first_seq: int
    last_seq: int
    uptime_cs: int
    t_lo_ms: int
    t_hi_ms: int
    received_ms: int
    priority: int
    skipped: int
    mac_before: bytes | None
    items: bytes
    mac8: bytes | None


# A row before it has its position.
Run = tuple[int, int, int, int, int, int, int, int, int, int, bytes | None, bytes, bytes | None]
_INSERT = "INSERT INTO log VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)"


def append(connection: apsw.Connection, rows: Sequence[tuple[object, ...]]) -> None:
    """Adds rows; inside the caller's transaction."""
    connection.executemany(_INSERT, rows)


def last_pos(connection: apsw.Connection) -> int:
    """The highest position in the log, 0 for an empty one."""
    found = connection.execute("SELECT max(pos) FROM log").get
    return int(found) if isinstance(found, int) else 0


def quarantine(
    connection: apsw.Connection,
    device: int,
    received_ms: int,
    reason: str,
    first_seq: int | None,
    last_seq: int | None,
    message: bytes,
) -> None:
    """Keeps a message that could not be taken; the same bytes only once."""
    connection.execute(
        "INSERT OR IGNORE INTO quarantine (device, received_ms, reason, first_seq, last_seq, message)"
        " VALUES (?,?,?,?,?,?)",
        (device, received_ms, reason, first_seq, last_seq, message),
    )
