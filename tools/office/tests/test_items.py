"""The quick readers of the hot path against gatelink's plain ones."""

from __future__ import annotations

import random

import pytest

from gatelink import cbor, events, kdf
from gatelink.errors import CborError
from tools.office.chain import START, Chain
from tools.office.items import cut
from tools.office.tests.makers import Device

HEAD = (7, 101, 3, 11, 5_000, 1_000_000, 1_000_040, 2_000_000)


def test_cut_gives_what_gatelink_split_gives() -> None:
    seed = 20_261
    print("seed", seed)
    rng = random.Random(seed)
    for _ in range(300):
        count = rng.randint(1, 64)
        uptimes, payloads, uptime = [], [], 5_000
        for _ in range(count):
            fields = [rng.choice((0, 23, 24, 255, 65_536, -1, -500, None, True, b"", b"x" * 23, "t", [1, [2]], {1: 2}))]
            payloads.append(cbor.dumps([rng.randrange(256), *fields * rng.randint(0, 1)]))
            uptimes.append(uptime)
            uptime += rng.choice((0, 1, 23, 24, 255, 256, 65_536, 1 << 32))
        items = events.join(uptimes, payloads)
        found = cut(items, count, HEAD)
        assert [(row[5] - 5_000, row[9]) for row in found] == events.split(items)
        assert [row[4] for row in found] == [events.kind_of(payload) for payload in payloads]
        assert [row[2] for row in found] == list(range(11, 11 + count))
        for row in found:
            passed = (row[5] - 5_000) * 10
            assert row[6] <= 1_000_000 + passed - passed * 10 / 1_000_000 < row[6] + 1
            assert row[7] >= 1_000_040 + passed + passed * 10 / 1_000_000 > row[7] - 1


def test_an_unknown_lower_bound_stays_unknown() -> None:
    found = cut(events.join([1, 900], [b"\x82\x00\xf6"] * 2), 2, (*HEAD[:5], 0, *HEAD[6:]))
    assert [row[6] for row in found] == [0, 0]


@pytest.mark.parametrize(
    "items",
    [
        b"", b"\x82\x00", b"\x80", b"\x00", b"\xa0", b"\x82\x00\xf6\x01", b"\x82\x00\xf6\x01\x82\x00", b"\x82\x20\xf6",
        b"\x82\x40\xf6", b"\x82\x19\x01\x00\xf6", b"\x82\x00\xfb\x00", b"\x82\x00\x5f", b"\x82\x00\x5b" + b"\xff" * 8,
        b"\x82\x00\xc0\x01", b"\x82\x00\x47123", b"\x82\x00\xf6\x20\x82\x00\xf6", b"\x82\x00\xf6\x1b" + b"\xff" * 8,
        b"\x82\x00" + b"\x81" * 40, b"\x82\x00\x78\x30" + b"a" * 48, b"\x9f\x00\xff", b"\x82\x18", b"\x82\x00\xf7",
    ],
)  # fmt: skip
def test_what_is_no_event_is_refused(items: bytes) -> None:
    with pytest.raises((ValueError, IndexError, CborError)):
        cut(items, 1, HEAD)


def test_the_count_must_fit() -> None:
    with pytest.raises(ValueError, match="holds 2 events"):
        cut(events.join([1, 2], [b"\x82\x00\xf6"] * 2), 3, HEAD)


def test_the_chain_is_gatelinks() -> None:
    device = Device(101)
    device.work(50)
    device.boot = 0xFFFFFF
    device.mint(cbor.dumps([77, 1]), (1 << 40) - 1 - device.uptime_cs)
    chain = Chain(device.key)
    mac8 = START
    for one in device.journal:
        mac8 = chain.follow(mac8, [(one.seq, one.boot, one.uptime_cs, one.payload)])
        assert mac8 == one.mac8
    record = events.record(1, 2, 3, b"\x82\x00\xf6")
    assert chain.follow(START, [(1, 2, 3, b"\x82\x00\xf6")]) == kdf.mac8(device.key, START, record)
