"""Layer: which link key of a device counts: that of devices.toml, a rotated one of the store, or none any more."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import apsw

from edge_agent.config import DeviceConfig
from edge_agent.errors import ConfigError
from edge_agent.store import devices, keys
from edge_agent.store.devices import Ledger
from edge_agent.store.keys import KeyRow


class Found(NamedTuple):
    """What the store and devices.toml say together; revoked: the row says so already."""

    rows: dict[int, KeyRow]
    renewed: set[int]


def given(device: DeviceConfig) -> KeyRow:
    """The key as devices.toml gives it."""
    base = hashlib.sha256(b"gatepost link key" + device.epoch.to_bytes(2, "big") + device.link_key).digest()
    return KeyRow(device.device, device.epoch, base, device.epoch, device.link_key, None, None)


def pending(row: KeyRow, next_key: bytes) -> KeyRow:
    """With a key of the next epoch beside the one in use."""
    return row._replace(next_key=next_key)


def promoted(row: KeyRow) -> KeyRow:
    """The pending key is the key; the old one is gone."""
    assert row.next_key is not None
    return row._replace(epoch=row.epoch + 1, key=row.next_key, next_key=None)


def revoked(row: KeyRow, now_ms: int) -> KeyRow:
    """No key any more."""
    return row._replace(key=b"", next_key=None, revoked_ms=now_ms)


def settle(
    connection: apsw.Connection, configs: Iterable[DeviceConfig], ledgers: dict[int, Ledger], source: str
) -> Found:
    """Brings store and devices.toml together, inside a transaction; `ledgers` gets the replay windows that count.

    Raises ConfigError where devices.toml has gone back to an older key.
    """
    stored = keys.load(connection)
    found = Found({}, set())
    for device in configs:
        number = device.device
        plain = given(device)
        row = stored.get(number)
        ledger = ledgers.get(number)
        if row is not None and row.base == plain.base:
            found.rows[number] = row
            ledgers.setdefault(number, Ledger(number, row.epoch))
            continue
        newest = row.base_epoch if row is not None else ledger.epoch if ledger is not None else -1
        if device.epoch < newest or (row is not None and device.epoch == newest):
            least = newest if row is None else newest + 1
            raise ConfigError(
                source, None, f"device {number} epoch",
                f"{device.epoch} is older than {newest}, which this store has seen; right is {least} or more"
                if row is None or device.epoch < newest
                else f"{device.epoch} was given out before with another key; right is {least} or more",
            )  # fmt: skip
        if row is not None:
            keys.forget(connection, number)
        if ledger is None or row is not None or device.epoch > newest:
            ledgers[number] = _renewed(device, ledger)
            devices.save(connection, [ledgers[number]])
            found.renewed.add(number)
        found.rows[number] = plain
    return found


def _renewed(device: DeviceConfig, old: Ledger | None) -> Ledger:
    """A newly provisioned key starts a new replay window; what is held stays held."""
    fresh = Ledger(device.device, device.epoch)
    if old is not None:
        fresh.coverage = old.coverage.copy()
        fresh.proved_seq = old.proved_seq
        fresh.last_contact_ms = old.last_contact_ms
        fresh.last_boot = -1
        fresh.last_lo_ms = old.last_lo_ms
    return fresh
