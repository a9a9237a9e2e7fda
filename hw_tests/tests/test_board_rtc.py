"""The clock chip on the virtual board's I2C bus: absent, fitted, through a power cut."""

from pathlib import Path
from typing import Any

import pytest

from hw_tests.virtual_board.board import VirtualBoard

PROGRAM = Path(__file__).parent / "programs" / "rtc.py"
T0 = 1_790_000_000_000

pytestmark = pytest.mark.vm


def printed(board: VirtualBoard, word: str) -> list[str]:
    return [line for line in board.console.decode().splitlines() if line.startswith(word)]


def reading(line: str) -> tuple[Any, ...]:
    inside = line[line.index("(") + 1 : line.index(")")]
    return tuple(int(number) for number in inside.split(","))


async def test_an_absent_chip_is_said(tmp_path: Path) -> None:
    board = VirtualBoard(tmp_path, "patrol_tag", manual=True, main=PROGRAM)
    await board.start()
    try:
        await board.advance(1_000)
        assert printed(board, "first") == ["first None absent"]
        assert printed(board, "set") == ["set False absent"]
    finally:
        await board.stop()


async def test_the_chip_knows_the_time_after_a_power_cut(tmp_path: Path) -> None:
    board = VirtualBoard(tmp_path, "patrol_tag", manual=True, main=PROGRAM, plant={"rtc": True, "rtc_ppm": 3})
    await board.start()
    try:
        await board.advance(3_600_000)
        assert printed(board, "first") == ["first None stopped"]
        assert printed(board, "set") == ["set True "]
        for line in printed(board, "read"):
            uptime_ms, wall_ms, error_ms = reading(line)
            assert abs(T0 + uptime_ms - wall_ms) <= error_ms < 700
        await board.cut_power()
        await board.power_on()
        await board.advance(1_000)
        uptime_ms, wall_ms, error_ms = reading(printed(board, "first")[-1])
        assert abs(T0 + 3_600_000 + uptime_ms - wall_ms) <= error_ms + 100
    finally:
        await board.stop()
