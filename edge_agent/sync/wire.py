"""Layer: rows <-> the bytes of an upload and its receipt; pure."""

from __future__ import annotations

import json
from typing import NamedTuple

import cbor2

from edge_agent.errors import OfficeUnreachableError
from edge_agent.store.events import Row

VERSION = 1
MAX_RECEIPT = 4 * 1024 * 1024
DeviceInfo = tuple[int, str, str, int | None, int]  # role, name, firmware, battery_mv, last_contact_ms


class Receipt(NamedTuple):
    """The office holds the lane's rows up to `through`; per device: complete to, missing ranges."""

    through: int
    devices: dict[int, tuple[int, list[list[int]]]]


def encode(site: str, edge: str, lane: str, rows: list[Row], devices: dict[int, DeviceInfo]) -> bytes:
    """Rows as they stand in the log, without their priority."""
    body = {
        "v": VERSION,
        "site": site,
        "edge": edge,
        "lane": lane,
        "rows": [row[:9] + row[10:] for row in rows],
        "devices": devices,
    }
    return bytes(cbor2.dumps(body))


def receipt(body: bytes, lane: str, first: int, last: int) -> Receipt:
    """A receipt for rows first..last. Raises OfficeUnreachableError when it makes no sense."""
    try:
        value = json.loads(body)
        through = value["through"]
        devices = {
            int(device): (int(entry["complete_to"]), [[int(a), int(b)] for a, b in entry["missing"][:64]])
            for device, entry in value["devices"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OfficeUnreachableError(f"the receipt can't be read: {type(error).__name__}") from error
    if value.get("v") != VERSION or value.get("lane") != lane:
        raise OfficeUnreachableError("the receipt is of another version or lane")
    if type(through) is not int or not first <= through <= last:
        raise OfficeUnreachableError(
            f"the receipt speaks of row {through!r:.20}, sent were {first} to {last}"
        )
    return Receipt(through, devices)
