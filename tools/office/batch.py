"""One request body -> one checked batch, or one error that names the field. Pure: bytes in, values out."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from io import BytesIO
from typing import Any, NamedTuple

import cbor2

from edge_agent.sync import columns
from gatelink.cbor import Reader
from gatelink.errors import CborError
from tools.office.errors import RequestError
from tools.office.items import EventRow, cut

VERSION = 1  # of uploads that carry rows, and of receipts
COLUMNS = 2  # of uploads that carry the same as columns
MAX_BODY = 4 * 1024 * 1024
MAX_ROWS = 20_000
MAX_DEVICES = 4_096
MAX_KEYS = 16  # of the map itself: more than it has, so that an unknown one is named
MAP = 5  # CBOR's major type
MAX_ITEMS = 4_096
MAX_RUN = 256
LANES = ("normal", "alarm")

_U24, _U32, _U40, _MS, _POS = (1 << 24) - 1, (1 << 32) - 1, (1 << 40) - 1, (1 << 48) - 1, (1 << 63) - 1
_NUMBERS = (
    ("pos", 1, _POS),
    ("device", 0, _U32),
    ("boot", 0, _U24),
    ("first_seq", 1, _U32 + 1),
    ("last_seq", 0, _U32),
    ("uptime_cs", 0, _U40),
    ("t_lo_ms", 0, _MS),
    ("t_hi_ms", 0, _MS),
    ("received_ms", 0, _MS),
    ("skipped", 0, _U32),
)
_BOUNDS = tuple((low, high) for _, low, high in _NUMBERS)
_KEYS = {"v", "site", "edge", "lane", "devices"}
_NAMES = sorted(_KEYS | {"rows"})


class Restated(NamedTuple):
    """What is known later of when events first..last of a boot happened: t_lo_ms..t_hi_ms at uptime_cs."""

    device: int
    boot: int
    first: int
    last: int
    uptime_cs: int
    t_lo_ms: int
    t_hi_ms: int
    said_ms: int


class Run(NamedTuple):
    """A run of a device's events as one row brought them; no events: only the chain value, or times stated again."""

    device: int
    boot: int
    first_seq: int
    last_seq: int
    skipped: int
    mac_before: bytes | None
    mac8: bytes | None
    events: list[EventRow]
    restated: Restated | None = None


@dataclass(frozen=True)
class DeviceNote:
    """What the edge last knew of a device; None = not known."""

    device: int
    role: int | None
    name: str
    firmware: str | None
    battery_mv: int | None
    last_contact_ms: int | None


@dataclass(frozen=True)
class Batch:
    """Everything of one request, checked."""

    site: str
    site_key: int
    edge: str
    lane: str
    through: int
    runs: list[Run]
    notes: list[DeviceNote]
    rows: list[list[Any]]  # as they came, one for each run


def _refuse_tag(_value: object, _immutable: object) -> object:
    raise ValueError("a batch holds no tags")


# Tags that cbor2 would turn into dates, big numbers, regular expressions and the like: none belongs here.
_NO_TAGS = dict.fromkeys((*range(6), *range(21, 38), *range(100, 1005), 43_000, 55_799), _refuse_tag)


def decode(body: bytes, site: str, site_key: int) -> Batch:
    """The batch in `body` for the site of the address. Raises RequestError; the caller has capped the body's size."""
    top = _load(body)
    version = top.get("v", VERSION)
    if type(version) is not int or version not in (VERSION, COLUMNS):
        raise RequestError("v", f"this office speaks versions {VERSION} and {COLUMNS}")
    keys = _KEYS | {"rows" if version == VERSION else "columns"}
    for key in top:
        if key not in keys:
            near = difflib.get_close_matches(key[:40], keys, 1)
            raise RequestError(_shown(key), f"unknown key; did you mean {near[0]}?" if near else "unknown key")
    for key in ("v", *sorted(keys)):
        if key not in top:
            raise RequestError(key, "is missing")
    if top["site"] != site:
        raise RequestError("site", f"must be the site of the address, {site!r}")
    if type(top["lane"]) is not str or top["lane"] not in LANES:
        raise RequestError("lane", "must be normal or alarm")
    edge = _text(top["edge"], "edge", 64)
    notes = _notes(top["devices"])
    rows = top["rows"] if version == VERSION else _rows(top["columns"])
    if type(rows) is not list or len(rows) > MAX_ROWS:
        raise RequestError("rows", f"must be an array of at most {MAX_ROWS} rows")
    runs: list[Run] = []
    through = 0
    for index, row in enumerate(rows):
        pos, run = _run(row, index, site_key)
        if pos <= through:
            raise RequestError(f"rows[{index}].pos", f"must rise from row to row; {pos} follows {through}")
        through = pos
        runs.append(run)
    return Batch(site, site_key, edge, top["lane"], through, runs, notes, rows)


def _rows(found: Any) -> list[list[Any]]:
    """Columns as rows; what the values may be is looked at afterwards."""
    if type(found) is not list or len(found) != len(columns.NAMES):
        raise RequestError("columns", f"must be an array of {len(columns.NAMES)} columns")
    for name, column in zip(columns.NAMES, found, strict=True):
        if type(column) is not list or len(column) != len(found[0]) or len(column) > MAX_ROWS:
            raise RequestError(
                "columns." + name, f"must be an array of at most {MAX_ROWS} values, as many as the others"
            )
    for name, column in zip(columns.NUMBERS, found, strict=False):
        if any(type(value) is not int for value in column):
            raise RequestError("columns." + name, "must hold whole numbers")
    return columns.unpack(found)


def _load(body: bytes) -> dict[str, Any]:
    """The map in `body`. Raises RequestError.

    Numbers and arrays can be chosen so that they collide as keys of a Python dictionary: 300 KB of them took 16 s,
    4 MiB an hour. So the decoder takes text alone for a key, and the devices' numbers are read here.
    """
    source = BytesIO(body)
    decoder = cbor2.CBORDecoder(
        source,
        tag_hook=_refuse_tag,
        semantic_decoders=_NO_TAGS,
        max_depth=6,
        allow_indefinite=False,
        allow_duplicate_keys=False,
        strict_hashable_types=True,
    )
    top: dict[str, Any] = {}
    try:
        for _ in range(_opened(body, source, MAX_KEYS, "body", "must be a map with the keys " + ", ".join(_NAMES))):
            key = decoder.decode()
            if type(key) is not str:
                raise RequestError(_shown(key), "unknown key")
            if key in top:
                raise RequestError("body", "a key stands there twice", 400)
            top[key] = _devices(body, source, decoder) if key == "devices" else decoder.decode()
    except (CborError, cbor2.CBORError, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise RequestError("body", f"is no CBOR that is spoken here: {str(error)[:120]}", 400) from error
    if source.tell() != len(body):
        raise RequestError("body", f"{len(body) - source.tell()} bytes follow the batch", 400)
    return top


def _devices(body: bytes, source: BytesIO, decoder: cbor2.CBORDecoder) -> dict[int, Any]:
    found: dict[int, Any] = {}
    for _ in range(_opened(body, source, MAX_DEVICES, "devices", f"must be a map of at most {MAX_DEVICES} devices")):
        device = decoder.decode()
        if type(device) is not int or not 0 <= device <= _U32:
            raise RequestError(f"devices.{_shown(device)}", f"a device is a number from 0 to {_U32}")
        if device in found:
            raise RequestError("devices", f"{device} stands there twice", 400)
        found[device] = decoder.decode()
    return found


def _opened(body: bytes, source: BytesIO, most: int, field: str, right: str) -> int:
    """How many entries the map has that begins at the source's place; the first one is next."""
    reader = Reader(body, source.tell())
    major, size = reader.head()
    if major != MAP or size > most:
        raise RequestError(field, right)
    source.seek(reader.pos)
    return size


def _run(row: Any, index: int, site_key: int) -> tuple[int, Run]:
    if type(row) is not list or len(row) != 13:
        raise RequestError(f"rows[{index}]", "must be an array of 13 values")
    numbers = (*row[:9], row[9])
    for number, (low, high) in zip(numbers, _BOUNDS, strict=True):
        if type(number) is not int or not low <= number <= high:
            _wrong_number(numbers, index)
    pos, device, boot, first, last, uptime, t_lo, t_hi, received, skipped = numbers
    mac_before, items, mac8 = row[10:]
    for name, mac in (("mac_before", mac_before), ("mac8", mac8)):
        if mac is not None and (type(mac) is not bytes or len(mac) != 8):
            raise RequestError(f"rows[{index}].{name}", "must be 8 bytes or null")
    if t_lo > t_hi:
        raise RequestError(f"rows[{index}].t_lo_ms", "must not be later than t_hi_ms")
    count = last - first + 1
    if count == 0 and mac8 is None and mac_before is None and items == b"" and skipped:
        if first + skipped - 1 > _U32 or skipped > MAX_RUN:
            raise RequestError(f"rows[{index}].skipped", f"times are stated of at most {MAX_RUN} events")
        again = Restated(device, boot, first, first + skipped - 1, uptime, t_lo, t_hi, received)
        return pos, Run(device, boot, first, last, 0, None, None, [], again)
    if skipped >= first:
        raise RequestError(f"rows[{index}].skipped", f"at most {first - 1} events lie before {first}")
    if not 0 <= count <= MAX_RUN:
        raise RequestError(f"rows[{index}].last_seq", f"must be first_seq - 1 up to first_seq + {MAX_RUN - 1}")
    if type(items) is not bytes or len(items) > MAX_ITEMS:
        raise RequestError(f"rows[{index}].items", f"must be a byte string of at most {MAX_ITEMS} bytes")
    if count == 0:
        if items or mac8 is None:
            raise RequestError(f"rows[{index}].items", "a row without events has empty items and a mac8")
        return pos, Run(device, boot, first, last, skipped, mac_before, mac8, [])
    try:
        events = cut(items, count, (site_key, device, boot, first, uptime, t_lo, t_hi, received))
    except (ValueError, IndexError, CborError) as error:
        text = str(error) or "ends within an item, or is empty"
        raise RequestError(f"rows[{index}].items", text) from error
    return pos, Run(device, boot, first, last, skipped, mac_before, mac8, events)


def _wrong_number(numbers: tuple[Any, ...], index: int) -> None:
    for number, (name, low, high) in zip(numbers, _NUMBERS, strict=True):
        if type(number) is not int or not low <= number <= high:
            raise RequestError(f"rows[{index}].{name}", f"must be a whole number from {low} to {high}")


def _notes(devices: dict[int, Any]) -> list[DeviceNote]:
    notes: list[DeviceNote] = []
    for device, note in devices.items():
        at = f"devices.{device}"
        if type(note) is not list or len(note) != 5:
            raise RequestError(at, "must be [role, name, firmware, battery_mv, last_contact_ms]")
        role, name, firmware, battery, contact = note
        notes.append(
            DeviceNote(
                device,
                _optional(role, f"{at}.role", 255),
                _text(name, f"{at}.name", 64),
                None if firmware is None else _text(firmware, f"{at}.firmware", 32),
                _optional(battery, f"{at}.battery_mv", 100_000),
                _optional(contact, f"{at}.last_contact_ms", _MS),
            )
        )
    return notes


def _optional(value: Any, field: str, high: int) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= high:
        raise RequestError(field, f"must be null or a whole number from 0 to {high}")
    return value


def _text(value: Any, field: str, limit: int) -> str:
    if type(value) is not str or len(value) > limit or not value.isprintable():
        raise RequestError(field, f"must be printable text of at most {limit} characters")
    return value


def _shown(key: Any) -> str:
    """A peer's key, fit for a message: short and printable."""
    return ascii(key)[:40].strip("'")
