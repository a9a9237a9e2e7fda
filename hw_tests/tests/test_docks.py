"""A tag in a dock, end to end: the real edge finds the device file, the real device code lights its green lamp."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from gatelink import cbor, events
from hw_tests.tests.estate import DEVICE, Estate, Releases

pytestmark = pytest.mark.vm

CARDS = [bytes([4, 0, 0, 0, 0, 0, n]) for n in range(1, 9)]
Dock = dict[str, Any]


async def until_dock(estate: Estate, condition: Callable[[Dock], object], deadline_s: float = 30.0) -> Dock:
    found: list[Dock] = []
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        status = await estate.status()
        found = status["ports"][0]["docks"] if status else []
        if found and condition(found[0]):
            return found[0]
        await asyncio.sleep(0.05)
    raise AssertionError(found)


async def green(estate: Estate) -> int:
    return int((await estate.board.state())["leds"]["led_green"]["level"])


async def until_green(estate: Estate, level: int, deadline_s: float = 20.0) -> None:
    end = time.monotonic() + deadline_s
    while await green(estate) != level:
        assert time.monotonic() < end, f"the green lamp is not {level}"
        await asyncio.sleep(0.05)


async def test_found_read_out_and_released_with_a_green_light(tmp_path: Path) -> None:
    estate = Estate(
        tmp_path,
        Releases(tmp_path / "releases", "patrol_tag"),
        {"watchdog_s": 30, "repeat_ms": 1000, "pocket_min": 0},
        speed=4.0,
        port='kind = "dock"\nmatch = ["{path}*"]',
    )
    board = estate.board
    try:
        await board.start()
        board.unplug()
        await board.dock(False)
        for card in CARDS:
            await board.tap(card)
        # in the charger, but nobody has taken its events yet
        await board.dock(True)
        await asyncio.sleep(1)
        assert await green(estate) == 0
        await estate.start_edge()
        await board.dock(False)
        await asyncio.sleep(0.5)
        begun = time.monotonic()
        await board.dock(True)
        board.plug()
        found = await until_dock(estate, lambda dock: dock["state"] == "released")
        await until_green(estate, 1)
        took_s = time.monotonic() - begun
        print(f"found, read out and released in {took_s:.1f} s ({took_s * estate.speed:.0f} s of the tag's time)")
        assert (found["dock"], found["device"]) == ("port", DEVICE)
        # taken out: the lamp goes off
        board.unplug()
        await board.dock(False)
        await until_green(estate, 0)
        await until_dock(estate, lambda dock: dock["state"] == "empty")
        # new events keep it dark until they are there, too
        await board.tap(CARDS[0])
        await asyncio.sleep(1.5)
        await board.dock(True)
        await asyncio.sleep(1)
        assert await green(estate) == 0
        board.plug()
        await until_dock(estate, lambda dock: dock["state"] == "released")
        await until_green(estate, 1)
        assert estate.visits() == [*CARDS, CARDS[0]]
        end = time.monotonic() + 10
        while len(rows := docked(estate)) < 2:
            assert time.monotonic() < end, rows
            await asyncio.sleep(0.05)
    finally:
        await estate.stop()
    assert [(device, dock) for device, dock, _ in rows] == [(DEVICE, "port")] * 2
    assert rows[0][2] >= len(CARDS)
    assert rows[1][2] >= 1


def docked(estate: Estate) -> list[list[Any]]:
    """Fields of the edge's DOCKED events."""
    connection = apsw.Connection(
        str(estate.folder / "data" / "edge.sqlite"), flags=apsw.SQLITE_OPEN_READONLY
    )
    found = []
    for (items,) in connection.execute("SELECT items FROM log WHERE device = 1 ORDER BY pos"):
        for _, payload in events.split(items) if items else ():
            kind, *fields = cbor.loads(payload)
            if kind == 79:
                found.append(fields)
    connection.close()
    return found
