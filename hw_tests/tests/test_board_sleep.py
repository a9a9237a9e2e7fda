"""Light and deep sleep as the chip does them: levels wake, edges and bytes are missed, only some pins can do it."""

from pathlib import Path

import pytest

from hw_tests.virtual_board.board import VirtualBoard

PROGRAMS = Path(__file__).parent / "programs"

pytestmark = pytest.mark.vm


def printed(board: VirtualBoard) -> list[str]:
    return board.console.decode().splitlines()


async def test_what_wakes_and_what_is_missed(tmp_path: Path) -> None:
    board = VirtualBoard(tmp_path, "patrol_tag", manual=True, main=PROGRAMS / "nap.py")
    await board.start()
    try:
        await board.advance(5500)  # the first nap ends by its time
        await board.advance(1000)
        await board.press("sos", 300)
        await board.advance(2000)
        await board.pin(32, 0)
        await board.advance(100)
        await board.pin(32, 1)
        await board.advance(12_000)
        lines = printed(board)
        assert lines[:4] == ["cause 1 0 False", "refused invalid pin", "nobody 19", "scan []"]
        naps = [[int(word) for word in line.split()[1:]] for line in lines if line.startswith("nap")]
        assert naps[0] == [5000, 4, 0, 0]
        # the press woke it at once; the edge that did so was lost, those while it was awake were not
        assert naps[1][0] <= 600
        assert naps[1][1] == 7
        assert naps[1][2] == 0
        assert naps[2][1] == 7
        assert naps[2][2] == 5
        assert (await board.state())["deep"]
        # ext1 on an ESP32 means all of them
        await board.pin(32, 0)
        await board.advance(1000)
        assert board.resets == 0
        await board.pin(27, 0)
        await board.advance(299)
        assert board.resets == 0
        await board.advance(2)
        assert board.resets == 1
        await board.advance(10)
        assert "cause 4 3 True" in printed(board)
    finally:
        await board.stop()


async def test_a_finger_stays_on_the_button_while_it_boots(tmp_path: Path) -> None:
    board = VirtualBoard(tmp_path, "patrol_tag", manual=True, main=PROGRAMS / "nap.py")
    await board.start()
    try:
        await board.advance(25_000)
        assert (await board.state())["deep"]
        await board.press("sos", 1000)
        await board.advance(310)
        assert board.resets == 1
        assert "cause 4 2 True" in printed(board)
        assert await board.pin(33) == 0
        await board.advance(700)
        assert await board.pin(33) == 1
    finally:
        await board.stop()
