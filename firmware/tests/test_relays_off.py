"""Every way in which the barrier's program can end while its motor runs: both relays are off, and stay off."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from hw_tests.virtual_board import wiring
from hw_tests.virtual_board.board import VirtualBoard

pytestmark = pytest.mark.vm

LINK, EVENT = bytes(range(1, 33)), bytes(range(2, 34))
PROGRAM = Path(__file__).parent / "programs" / "barrier_that_ends.py"
RELAYS = ("relay_up", "relay_down")


async def opening(folder: Path, end: str) -> VirtualBoard:
    """A barrier whose boom is on its way up, a second before the program's end."""
    board = VirtualBoard(folder, "barrier", manual=True, main=PROGRAM, plant={"travel_ms": 20_000})
    board.provision(7, LINK, EVENT, 1, {"travel_ms": 30_000, "watchdog_s": 10})
    shutil.copyfile(wiring.REPO / "firmware" / "boot.py", board.files / "boot.py")
    (board.files / "end.txt").write_text(end)
    await board.start()
    await board.advance(500)
    await board.press("open", 200)
    await board.advance(1500)
    relays = (await board.state())["relays"]
    assert [relays[name]["level"] for name in RELAYS] == [1, 0]
    return board


def silent(state: dict[str, Any]) -> bool:
    return all(state["relays"][name]["changes"] == [] for name in RELAYS)


@pytest.mark.parametrize("end", ["reset", "exception", "interrupt", "hang"])
async def test_relays_are_off_after_every_end_of_the_program(tmp_path: Path, end: str) -> None:
    board = await opening(tmp_path, end)
    try:
        # the watchdog bites within its ten seconds, everything else at once
        await board.advance(12_000 if end == "hang" else 1200)
        state = await board.state()
        assert [state["relays"][name]["level"] for name in RELAYS] == [0, 0]
        position = state["boom"]["position"]
        if end != "interrupt":
            assert board.resets == 1
            # and in its next life nothing moves by itself: no glitch of a pin, no movement
            assert silent(state)
            await board.advance(8000)
            assert silent(await board.state())
        assert (await board.state())["boom"]["position"] == position
    finally:
        await board.stop()


@pytest.mark.parametrize("cut", ["asked", "program", "nvs"])
async def test_relays_are_off_after_a_brown_out(tmp_path: Path, cut: str) -> None:
    board = await opening(tmp_path, "none")
    try:
        if cut == "program":
            await board.cut_power_at("program", nth=1, byte=9)
            await board.press("stop", 200)
            await board.advance(2000)
            await board.wait_off()
        else:
            await board.cut_power()
        if cut == "nvs":
            # again while it boots and counts up its boot number
            await board.power_on()
            await board.cut_power_at("nvs", nth=1, byte=3)
            await board.advance(2000)
            await board.wait_off()
        await board.power_on()
        await board.advance(8000)
        state = await board.state()
        assert silent(state)
        assert state["boom"]["shorts"] == 0
    finally:
        await board.stop()


async def test_a_tag_feels_nothing_when_it_starts_or_sleeps(tmp_path: Path) -> None:
    board = VirtualBoard(tmp_path, "patrol_tag", manual=True)
    board.provision(7, LINK, EVENT, 1, {"pocket_min": 1})
    try:
        await board.start()
        await board.advance(2000)
        await board.dock(False)
        await board.advance(70_000)
        state = await board.state()
        assert state["deep"]
        assert state["leds"]["vibration"]["changes"] == []
        assert [state["leds"][name]["level"] for name in ("led_green", "led_red")] == [0, 0]
    finally:
        await board.stop()
