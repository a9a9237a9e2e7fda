"""Bad bodies: each names its field; none comes through."""

from __future__ import annotations

import random
import time
from typing import Any

import cbor2
import pytest

from tools.office.batch import decode
from tools.office.errors import RequestError
from tools.office.head import decode as head
from tools.office.tests.makers import Device, body, numbered


@pytest.fixture
def device() -> Device:
    made = Device(101)
    made.work(100)
    return made


def top(device: Device, **other: Any) -> dict[Any, Any]:
    rows = numbered([device.row(1, 20), device.row(21, 40), device.proof(40)])
    return {
        "v": 1, "site": "lakeside", "edge": "pi-1", "lane": "normal", "rows": rows,
        "devices": {101: [1, "tag", "1.0", 3700, 5]},
    } | other  # fmt: skip


def refused(value: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        decode(value if isinstance(value, bytes) else cbor2.dumps(value), "lakeside", 1)
    return caught.value


def test_a_good_body(device: Device) -> None:
    found = decode(cbor2.dumps(top(device)), "lakeside", 9)
    assert (found.through, found.edge, found.lane, found.site_key) == (3, "pi-1", "normal", 9)
    assert [len(run.events) for run in found.runs] == [20, 20, 0]
    assert [run.mac8 for run in found.runs] == [device.journal[seq - 1].mac8 for seq in (20, 40, 40)]
    assert [row[9] for run in found.runs for row in run.events] == [one.payload for one in device.journal[:40]]
    note = found.notes[0]
    assert (note.device, note.role, note.name, note.firmware, note.battery_mv) == (101, 1, "tag", "1.0", 3700)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"v": 3}, "v"), ({"v": True}, "v"), ({"site": "other"}, "site"), ({"site": 5}, "site"),
        ({"edge": None}, "edge"),
        ({"edge": "a\nb"}, "edge"), ({"edge": "x" * 65}, "edge"), ({"lane": "fast"}, "lane"), ({"lane": []}, "lane"),
        ({"rows": {}}, "rows"), ({"rows": [5]}, "rows[0]"), ({"rows": [[]]}, "rows[0]"), ({"devices": []}, "devices"),
        ({"rows": [[1] * 14]}, "rows[0]"), ({"devices": {"a": []}}, "devices.a"), ({"devices": {-1: []}}, "devices.-1"),
        ({"devices": {1: [1]}}, "devices.1"), ({"devices": {1: ["x", "n", "f", 1, 1]}}, "devices.1.role"),
        ({"devices": {1: [1, 2, "f", 1, 1]}}, "devices.1.name"),
        ({"devices": {1: [1, "n", 5, 1, 1]}}, "devices.1.firmware"),
        ({"devices": {1: [1, "n", "f", -1, 1]}}, "devices.1.battery_mv"),
        ({"devices": {1: [1, "n", "f", 1, 1.5]}}, "devices.1.last_contact_ms"), ({"rowz": []}, "rowz"), ({7: []}, "7"),
    ],
)  # fmt: skip
def test_each_top_field(device: Device, change: dict[Any, Any], field: str) -> None:
    assert refused(top(device, **{k: v for k, v in change.items() if isinstance(k, str)}) | change).field == field


def test_an_unknown_key_names_its_neighbour(device: Device) -> None:
    assert "did you mean rows?" in refused(top(device) | {"rowz": []}).message


def test_a_missing_key(device: Device) -> None:
    value = top(device)
    del value["rows"]
    assert (refused(value).field, refused(value).message) == ("rows", "is missing")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("pos", (0, -1, 1 << 63, None, "1", 1.0, True)), ("device", (-1, 1 << 32, None)), ("boot", (1 << 24, -1, b"")),
        ("first_seq", (0, 1 << 33, None)), ("last_seq", (-1, 1 << 32, 99_999, 5, None)),
        ("uptime_cs", (-1, 1 << 40, None)),
        ("t_lo_ms", (-1, 1 << 48, None, (1 << 48) - 1)), ("t_hi_ms", (-1, None, 5)), ("received_ms", (-1, None)),
        ("skipped", (-1, 21, None)), ("mac_before", (b"", bytes(7), bytes(9), "x" * 8, 0)),
        ("items", (None, b"", "x", b"\xff", b"\x82\x00", bytes(5000))), ("mac8", (b"", bytes(9), 0, "x" * 8)),
    ],
)  # fmt: skip
def test_each_row_field(device: Device, name: str, values: tuple[Any, ...]) -> None:
    for value in values:
        row = device.row(21, 40, **{name: value})
        if name != "pos":
            row[0] = 1
        found = refused(top(device, rows=[row]))
        assert found.field.startswith("rows[0]"), (value, found)
        assert found.message
        accused = {"last_seq": {"last_seq", "items"}, "t_hi_ms": {"t_hi_ms", "t_lo_ms"}}.get(name, {name})
        assert found.field.split(".")[1] in accused, (value, found)


def test_positions_rise(device: Device) -> None:
    assert refused(top(device, rows=[device.row(1, 2), device.row(3, 4)])).field == "rows[1].pos"


def test_a_row_without_events_needs_its_chain_value(device: Device) -> None:
    row = device.proof(40)
    row[12] = None
    assert refused(top(device, rows=[row])).field == "rows[0].items"


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"\xff", b"\xa1", b"{}", b"\x81" * 5000, b"\x9b" + b"\xff" * 8, b"\x5b\x7f" + b"\xff" * 7, b"\xbf\xff",
        b"\xa2\x61v\x01\x61v\x01", b"\xc1\x00", b"\xc4\x82\x1b" + b"\xff" * 8 + b"\x01", b"\xd8\x23\x64(a+)",
        b"\xa0\x00", b"\x9a\xff\xff\xff\xff\x01", b"\xba\xff\xff\xff\xff\x01\x01", b"\x5a\xff\xff\xff\xff\x01",
        b"\xc5\x82\x1b" + b"\x7f" * 8 + b"\x01", b"\xd8\x1c\x81\xd8\x1d\x00", b"\xd9\x01\x02\x80", b"\xf9\x7e\x00",
        b"\xf8\xff",
        b"\xd9\xd9\xf7\xa0", b"\xc2\x58\xff" + b"\xff" * 255, b"\xd8\x19\x00", b"\xd9\x01\x00\xa0",
    ],
)  # fmt: skip
def test_what_is_no_map(raw: bytes) -> None:
    found = refused(raw)
    assert found.field == "body"
    assert found.status in (400, 422)


def colliding(count: int) -> list[tuple[int, int]]:
    """So many different pairs of numbers with one hash: what CPython does with a tuple, solved for the second."""
    mask, one, two, start = (1 << 64) - 1, 11400714785074694791, 14029467366897019727, 2870177450012600261
    found: list[tuple[int, int]] = []
    first = 0
    while len(found) < count:
        first += 1
        mixed = start + first * two & mask
        mixed = (mixed << 31 | mixed >> 33) * one & mask
        second = (12_345 - mixed) * pow(two, -1, 1 << 64) & mask
        second -= (second >> 63) << 64
        if second != -1 and abs(second) < (1 << 61) - 1:
            found.append((first, second))
    assert len({hash(pair) for pair in found}) == 1
    return found


@pytest.mark.parametrize("where", ["rows", "devices", "elsewhere"])
def test_keys_that_collide_hold_nobody_up(device: Device, where: str) -> None:
    """One edge must not keep the office from all others with a body whose keys all have one hash."""
    pairs = colliding(20_000)
    hostile = b"\xba" + len(pairs).to_bytes(4, "big") + b"".join(cbor2.dumps(pair) + b"\0" for pair in pairs)
    value = {**top(device), where: "here"}
    raw = cbor2.dumps(value).replace(cbor2.dumps("here"), hostile)
    begun = time.process_time()
    assert refused(raw).status in (400, 422)
    with pytest.raises(RequestError):
        head(raw, "lakeside")
    assert time.process_time() - begun < 5.0  # 16 s each where they are put into a dictionary


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b"\xa1\x01\x01", "1"), (b"\xa1\x80\x01", "[]"), (b"\xa1\xf6\x01", "None"), (b"\xa1\x41v\x01", "b'v"),
        (b"\xb1", "body"), (b"\xa2\x61v\x01\x61v\x01", "body"), (b"\xa1\x67devices\xa2\x01\x80\x01\x80", "devices"),
        (b"\xa1\x67devices\xa1\x61a\x80", "devices.a"), (b"\xa1\x67devices\xa1\x80\x80", "devices.[]"),
        (b"\xa1\x67devices\xb9\x10\x01", "body"), (b"\xa1\x67devices\x80", "devices"),
    ],
)  # fmt: skip
def test_keys_that_are_none(raw: bytes, field: str) -> None:
    assert refused(raw).field == field


def test_fuzz(device: Device) -> None:
    """Whatever comes, it is a batch or a RequestError."""
    seed = 4_813
    print("seed", seed)
    rng = random.Random(seed)
    good = body([*device.rows(1, 100), device.proof(100)], devices={101: [1, "tag", "1.0", None, 5]})
    taken = named = 0
    for _ in range(4_000):
        raw = bytearray(good)
        for _ in range(rng.choice((1, 1, 2, 8))):
            choice = rng.randrange(4)
            at = rng.randrange(len(raw))
            if choice == 0:
                raw[at] ^= 1 << rng.randrange(8)
            elif choice == 1:
                raw[at] = rng.randrange(256)
            elif choice == 2:
                del raw[at : at + rng.randrange(1, 9)]
            else:
                raw[at:at] = rng.randbytes(rng.randrange(1, 9))
        try:
            decode(bytes(raw), "lakeside", 1)
        except RequestError as error:
            named += bool(error.field) and 400 <= error.status < 500
        else:
            taken += 1
    print("taken", taken, "of 4000")
    assert taken
    assert named == 4_000 - taken
