"""Both main programs, as they are flashed, on the virtual board: cards, buttons, vehicles, power cuts, bad set-ups."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gatelink import events as ev
from hw_tests.virtual_board.board import VirtualBoard
from node.image import open_image

pytestmark = pytest.mark.vm

LINK, EVENT = bytes(range(1, 33)), bytes(range(2, 34))
STAFF, FIRE = bytes.fromhex("0a000001"), bytes.fromhex("0b000001")
GATE, ROOF = bytes.fromhex("04000000000001"), bytes.fromhex("00010203040506070809")
TAG_CONFIG = {"staff": [STAFF.hex()], "incident": [FIRE.hex()], "checkpoints": [GATE.hex(), ROOF.hex()]}
CAR = bytes.fromhex("12cb21")
BARRIER_CONFIG = {
    "access": [{"credential": CAR.hex()}, {"credential": "00a1b2c3", "class": "visitor", "until": 9}]
}


def journal(board: VirtualBoard) -> list[list[Any]]:
    """Every event in the flash, as [kind, fields...], routine ones left out."""
    stored = [ev.decode(slot.payload) for slot in open_image(board.journal_image()).scan()]
    return [event for event in stored if event[0] not in (ev.HEARTBEAT, ev.BOOT)]


Powered = Callable[[str, dict[str, Any] | None], Awaitable[VirtualBoard]]


@pytest.fixture
async def powered(tmp_path: Path) -> AsyncIterator[Powered]:
    """Starts a board of a role with a config (None: no keys either), one second of its time ago."""
    boards = []

    async def start(role: str, config: dict[str, Any] | None) -> VirtualBoard:
        board = VirtualBoard(tmp_path, role, manual=True)
        boards.append(board)
        if config is not None:
            board.provision(7, LINK, EVENT, 1, config)
        await board.start()
        await board.advance(1000)
        return board

    yield start
    for board in boards:
        await board.stop()


async def drive(board: VirtualBoard, credential: bytes) -> dict[str, Any]:
    trip = asyncio.create_task(board.vehicle(credential))
    while not trip.done():
        await board.advance(250)
    return trip.result()


async def test_a_shift_with_a_power_cut(powered: Powered) -> None:
    board = await powered("patrol_tag", TAG_CONFIG)
    for uid in (STAFF, GATE, GATE, ROOF, FIRE, bytes.fromhex("00000001")):
        before = len(journal(board))
        await board.tap(uid)
        tapped_ms = await board.uptime_ms()
        await board.advance(3000)
        beep = next(beep for beep in (await board.state())["beeps"] if beep[0] >= tapped_ms)
        assert beep[0] - tapped_ms <= 1000
        assert len(journal(board)) == before + (uid != GATE or before == 1)
    await board.press("sos", 100)
    await board.advance(2000)
    await board.press("sos", 1000)
    await board.advance(2000)
    await board.cut_power()
    await board.power_on()
    await board.advance(20_000)
    await board.tap(FIRE)
    await board.advance(2000)
    await board.tap(STAFF)
    await board.advance(2000)
    assert journal(board) == [
        [ev.SHIFT_START, STAFF],
        [ev.VISIT, GATE],
        [ev.VISIT, ROOF],
        [ev.INCIDENT, FIRE, ROOF],
        [ev.UNKNOWN_CARD, bytes.fromhex("00000001")],
        [ev.SOS, ROOF],
        # the shift and the last checkpoint outlived the power
        [ev.INCIDENT, FIRE, ROOF],
        [ev.SHIFT_END, STAFF],
    ]


async def test_a_card_that_lies_on_the_reader_is_one_visit(powered: Powered) -> None:
    board = await powered("patrol_tag", TAG_CONFIG)
    await board.tap(GATE, hold_ms=120_000)
    await board.advance(130_000)
    assert journal(board) == [[ev.VISIT, GATE]]
    await board.tap(GATE)
    await board.advance(1000)
    assert journal(board) == [[ev.VISIT, GATE]] * 2


async def test_a_dead_reader_is_reported_once_and_comes_back(powered: Powered) -> None:
    board = await powered("patrol_tag", TAG_CONFIG)
    await board.reader_fault("mute")
    await board.advance(300_000)
    assert journal(board) == [[ev.FAULT, 11, "reader does not answer"]]
    await board.press("sos", 1000)
    await board.advance(2000)
    await board.reader_fault(None)
    await board.advance(60_000)
    await board.tap(GATE)
    await board.advance(1000)
    assert journal(board)[1:] == [[ev.SOS, None], [ev.VISIT, GATE]]


async def test_an_empty_battery_is_reported(powered: Powered) -> None:
    board = await powered("patrol_tag", TAG_CONFIG)
    for mv in (3700, 3500, 4100):
        await board.battery(mv)
        await board.advance(61_000)
    found = journal(board)
    assert [event[2] for event in found] == [1, 2, 0]
    assert all(abs(event[1] - mv) <= 2 for event, mv in zip(found, (3700, 3500, 4100), strict=True))


async def test_an_idle_tag_is_silent(powered: Powered) -> None:
    board = await powered("patrol_tag", TAG_CONFIG)
    await board.tap(GATE)
    await board.advance(2000)
    changes = (await board.state())["leds"]
    await board.advance(600_000)
    assert (await board.state())["leds"] == changes


async def test_without_keys_nothing_counts_and_it_says_so(powered: Powered) -> None:
    board = await powered("patrol_tag", None)
    (board.files / "config.json").write_text("{}")
    await board.tap(GATE)
    await board.advance(100_000)
    state = await board.state()
    assert [beep[2] for beep in state["beeps"]] == [400] * len(state["beeps"])
    assert len(state["beeps"]) >= 10
    assert state["resets"] == 0
    assert journal(board) == []


@pytest.mark.parametrize("role", ["patrol_tag", "barrier"])
async def test_a_bad_config_names_its_key_and_the_rest_works(powered: Powered, role: str) -> None:
    board = await powered(role, {"heartbeat": 5})
    await board.advance(1000)
    assert [ev.FAULT, 10, "heartbeat: unknown key"] in journal(board)
    if role == "patrol_tag":
        await board.tap(GATE)
        await board.advance(1000)
        assert journal(board)[-1] == [ev.VISIT, GATE]
    else:
        assert (await drive(board, CAR))["outcome"] == "turned_away"
        await board.press("open")
        await board.advance(6000)
        assert (await board.state())["boom"]["limit_open"]


async def test_vehicles_pass_or_are_turned_away(powered: Powered) -> None:
    board = await powered("barrier", BARRIER_CONFIG)
    assert (await drive(board, CAR))["outcome"] == "passed"
    await board.advance(12_000)
    assert (await drive(board, bytes.fromhex("00a1b2c3")))["outcome"] == "turned_away"
    assert (await drive(board, bytes.fromhex("00a1b2c4")))["outcome"] == "turned_away"
    assert journal(board) == [
        [ev.BARRIER, ev.CLOSED, ev.POWER_ON, 0],
        [ev.ACCESS, CAR, ev.GRANTED, 16, ev.IN],
        [ev.BARRIER, ev.OPENING, ev.CREDENTIAL, 1],
        [ev.BARRIER, ev.OPEN, ev.LIMIT, 1],
        [ev.BARRIER, ev.CLOSING, ev.AUTO_CLOSE, 1],
        [ev.BARRIER, ev.CLOSED, ev.LIMIT, 1],
        # a window can't be judged by a clock that was never set
        [ev.ACCESS, bytes.fromhex("00a1b2c3"), ev.DENIED, 5, ev.IN],
        [ev.ACCESS, bytes.fromhex("00a1b2c4"), ev.DENIED, 1, ev.IN],
    ]


async def test_the_boom_never_meets_a_car(powered: Powered) -> None:
    board = await powered("barrier", BARRIER_CONFIG)
    for wait_ms in range(40, 1700, 200):
        # a car on the loop at another moment of the way down, while the boom is still above it
        await board.press("open")
        await board.advance(4000)
        await board.press("close")
        await board.advance(wait_ms)
        await board.loop("safety", occupied=True)
        await board.advance(9000)
        await board.press("close")
        await board.advance(2000)
        boom = (await board.state())["boom"]
        assert boom["limit_open"] or boom["limit_closed"]
        await board.loop("safety", occupied=False)
        await board.advance(9000)
    boom = (await board.state())["boom"]
    assert boom["collisions"] == 0
    assert boom["shorts"] == 0
    assert [ev.OBSTRUCTED, 0] in journal(board)


async def test_a_blink_on_the_loop_is_enough_to_turn_back(powered: Powered) -> None:
    board = await powered("barrier", BARRIER_CONFIG)
    await board.press("open")
    await board.advance(5000)
    await board.press("close")
    await board.advance(1000)
    await board.loop("safety", occupied=True)
    await board.advance(1)
    await board.loop("safety", occupied=False)
    await board.advance(1500)
    assert journal(board)[-3:-1] == [[ev.OBSTRUCTED, 0], [ev.BARRIER, ev.OPENING, ev.LOOP, 2]]


async def test_power_cuts_in_mid_travel(powered: Powered) -> None:
    board = await powered("barrier", BARRIER_CONFIG)
    await board.press("open")
    await board.advance(1500)
    await board.cut_power()
    await board.power_on()
    await board.advance(30_000)
    state = await board.state()
    assert state["boom"]["motion"] == "standing"
    assert journal(board)[-1] == [ev.BARRIER, ev.STOPPED, ev.POWER_ON, 1]
    assert (await drive(board, CAR))["outcome"] == "passed"
    await board.advance(12_000)
    assert journal(board)[-1] == [ev.BARRIER, ev.CLOSED, ev.LIMIT, 2]


async def test_forced_and_blocked(powered: Powered) -> None:
    board = await powered("barrier", BARRIER_CONFIG)
    await board.force_boom(0.5)
    await board.advance(2000)
    assert journal(board)[-2:] == [[ev.FORCED], [ev.BARRIER, ev.STOPPED, ev.FORCE, 0]]
    await board.block_boom(blocked=True)
    await board.press("open")
    await board.advance(20_000)
    assert journal(board)[-2:] == [[ev.BARRIER, ev.BROKEN, ev.TIMEOUT, 1], [ev.FAULT, 16, "barrier travel"]]
    assert (await board.state())["relays"]["relay_up"]["level"] == 0
    await board.block_boom(blocked=False)
    await board.press("open")
    await board.advance(6000)
    assert journal(board)[-1] == [ev.BARRIER, ev.OPEN, ev.LIMIT, 2]


async def test_a_barrier_without_keys_has_its_buttons(powered: Powered) -> None:
    board = await powered("barrier", None)
    await board.advance(100_000)
    assert (await board.state())["resets"] == 0
    assert (await drive(board, CAR))["outcome"] == "turned_away"
    await board.press("open")
    await board.advance(5000)
    assert (await board.state())["boom"]["limit_open"]
    await board.loop("safety", occupied=True)
    await board.press("close")
    await board.advance(5000)
    assert (await board.state())["boom"]["limit_open"]
    assert journal(board) == []
