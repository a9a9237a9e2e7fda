"""Layer: SQL of firmware on its way to devices."""

from __future__ import annotations

from typing import NamedTuple

import apsw


class UpdateRow(NamedTuple):
    """One row of table firmware_update."""

    device: int
    signed: bytes
    state: str
    reason: str
    changed_ms: int


def save(connection: apsw.Connection, row: UpdateRow) -> None:
    """Writes how an update stands."""
    connection.execute("INSERT OR REPLACE INTO firmware_update VALUES (?,?,?,?,?)", row)


def save_files(connection: apsw.Connection, device: int, files: dict[str, bytes]) -> None:
    """The files of this device's update; {} when they are no longer needed."""
    connection.execute("DELETE FROM firmware_file WHERE device = ?", (device,))
    connection.executemany(
        "INSERT INTO firmware_file VALUES (?,?,?)", [(device, name, data) for name, data in files.items()]
    )


def load(connection: apsw.Connection) -> list[UpdateRow]:
    """The last update of every device."""
    return [UpdateRow(*row) for row in connection.execute("SELECT * FROM firmware_update ORDER BY device")]


def load_files(connection: apsw.Connection, device: int) -> dict[str, bytes]:
    """What save_files() wrote."""
    found = connection.execute("SELECT name, content FROM firmware_file WHERE device = ?", (device,))
    return {str(name): bytes(content) for name, content in found}
