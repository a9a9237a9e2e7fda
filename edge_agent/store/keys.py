"""Layer: SQL of link keys that are no longer as devices.toml gave them."""

from __future__ import annotations

from typing import NamedTuple

import apsw


class KeyRow(NamedTuple):
    """One row of table link_key; see schema_v3.sql."""

    device: int
    base_epoch: int
    base: bytes
    epoch: int
    key: bytes
    next_key: bytes | None
    revoked_ms: int | None

    def __repr__(self) -> str:
        return f"KeyRow({self.device}, epoch {self.epoch})"


def load(connection: apsw.Connection) -> dict[int, KeyRow]:
    """Every device whose key was rotated or revoked."""
    return {int(row[0]): KeyRow(*row) for row in connection.execute("SELECT * FROM link_key")}


def save(connection: apsw.Connection, row: KeyRow) -> None:
    """Writes a device's key; inside the caller's transaction."""
    connection.execute("INSERT OR REPLACE INTO link_key VALUES (?,?,?,?,?,?,?)", row)


def forget(connection: apsw.Connection, device: int) -> None:
    """The device was provisioned anew: devices.toml counts again."""
    connection.execute("DELETE FROM link_key WHERE device = ?", (device,))
