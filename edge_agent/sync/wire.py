"""Layer: rows <-> the bytes of an upload and its receipt; pure."""

from __future__ import annotations

import json
import zlib
from typing import NamedTuple

import cbor2

from edge_agent.errors import OfficeRefusedError, OfficeUnreachableError
from edge_agent.store.events import Row
from edge_agent.sync import columns

VERSION = 1  # of receipts, and of uploads that carry rows as they stand
COLUMNS = 2  # of uploads that carry columns
LEVEL = 6
GZIP = 31  # zlib's wbits for a gzip header
MAGIC = b"\x1f\x8b"
MAX_RECEIPT = 4 * 1024 * 1024
MAX_NUMBER = (1 << 63) - 1  # that the store takes
MAX_DEVICE = (1 << 32) - 1
# What an answer raises that is none: of another shape, nested too deep, with a number that is infinite.
SENSELESS = (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError)
DeviceInfo = tuple[int, str, str, int | None, int]  # role, name, firmware, battery_mv, last_contact_ms


class Receipt(NamedTuple):
    """The office holds the lane's rows up to `through`; per device: complete to, missing ranges."""

    through: int
    devices: dict[int, tuple[int, list[list[int]]]]


def encode(
    site: str, edge: str, lane: str, rows: list[Row], devices: dict[int, DeviceInfo], version: int
) -> bytes:
    """Rows without their priority: as columns, or (VERSION, for an older office) as they stand in the log."""
    body: dict[str, object] = {"v": version, "site": site, "edge": edge, "lane": lane, "devices": devices}
    if version == COLUMNS:
        body["columns"] = columns.pack(rows)
    else:
        body["rows"] = [row[:9] + row[10:] for row in rows]
    return bytes(cbor2.dumps(body))


def is_compressed(body: bytes) -> bool:
    """Whether this is compress()'s; a plain upload begins as a CBOR map."""
    return body[:2] == MAGIC


def compress(body: bytes) -> bytes:
    """gzip, without a name or a time in it."""
    return zlib.compress(body, LEVEL, wbits=GZIP)


def receipt(body: bytes, lane: str, first: int, last: int) -> Receipt:
    """A receipt for rows first..last. Raises OfficeUnreachableError when it makes no sense."""
    try:
        value = json.loads(body)
        through = value["through"]
        devices = {
            whole(int(device), MAX_DEVICE): (
                whole(entry["complete_to"]),
                [[whole(a), whole(b)] for a, b in entry["missing"][:64]],
            )
            for device, entry in value["devices"].items()
        }
    except SENSELESS as error:
        raise OfficeUnreachableError(f"the receipt can't be read: {type(error).__name__}") from error
    if value.get("v") != VERSION or value.get("lane") != lane:
        raise OfficeUnreachableError("the receipt is of another version or lane")
    if type(through) is not int or not first <= through <= last:
        raise OfficeUnreachableError(
            f"the receipt speaks of row {through!r:.20}, sent were {first} to {last}"
        )
    return Receipt(through, devices)


def refusal(status: int, body: bytes) -> OfficeRefusedError:
    """What the office says with a status of 4xx, fit to be shown."""
    try:
        error = json.loads(body)["error"]
        field, message = _plain(error["field"], 60), _plain(error["message"], 200)
    except SENSELESS:
        field, message = "", "no explanation given"
    return OfficeRefusedError(status, field, message)


def whole(value: object, most: int = MAX_NUMBER) -> int:
    """A whole number from 0 to `most`. Raises ValueError."""
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError("no such number")
    return value


def _plain(text: object, most: int) -> str:
    return "".join(c if c.isprintable() else "?" for c in str(text)[:most])
