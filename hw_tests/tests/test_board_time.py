"""Virtual time: manual and scaled clocks, wrap of ticks_ms, resets, watchdog and deep sleep."""

import asyncio
import time
from itertools import pairwise
from pathlib import Path

import pytest

from hw_tests.virtual_board.board import BoardError, BoardOffError, VirtualBoard

PROGRAMS = Path(__file__).parent / "programs"

pytestmark = pytest.mark.vm


def printed(board: VirtualBoard) -> list[str]:
    return board.console.decode().splitlines()


async def test_manual_time_runs_in_order_and_only_when_asked(tmp_path: Path) -> None:
    board = VirtualBoard(tmp_path, "patrol_tag", manual=True, main=PROGRAMS / "clock.py")
    await board.start()
    try:
        assert await board.advance(0) == 0
        assert [line.split()[:2] for line in printed(board)[1:]] == [["tick", "0"]]
        assert await board.advance(3500) == 3500
        assert [line.split()[1] for line in printed(board)[1:]] == ["0", "1000", "2000", "3000"]
        assert await board.uptime_ms() == 3500
    finally:
        await board.stop()


async def test_ticks_wrap_at_2_to_the_30(tmp_path: Path) -> None:
    board = VirtualBoard(
        tmp_path, "patrol_tag", manual=True, main=PROGRAMS / "clock.py", ticks_start_ms=2**30 - 2500
    )
    await board.start()
    try:
        await board.advance(7100)
        ticks = [line.split()[1:] for line in printed(board)[1:]]
        assert [int(now) for now, _ in ticks] == [(2**30 - 2500 + 1000 * i) % 2**30 for i in range(8)]
        assert [int(since) for _, since in ticks] == [1000 * i for i in range(8)]
    finally:
        await board.stop()


async def test_deep_sleep_ends_in_a_reset_that_keeps_rtc_memory(tmp_path: Path) -> None:
    board = VirtualBoard(tmp_path, "patrol_tag", manual=True, main=PROGRAMS / "clock.py")
    await board.start()
    try:
        await board.advance(30_000)
        assert "spun True" in printed(board)
        assert board.resets == 0
        await board.advance(60_000)
        assert board.resets == 1
        woken = printed(board).index("cause 4 b'kept'")
        assert printed(board)[woken + 1] == "woke"
        await board.cut_power()
        await board.power_on()
        await board.advance(10)
        assert "cause 1 b''" in printed(board)
    finally:
        await board.stop()


async def test_watchdog_resets_a_program_that_forgot_it(tmp_path: Path) -> None:
    board = VirtualBoard(tmp_path, "patrol_tag", manual=True, main=PROGRAMS / "hang.py")
    await board.start()
    try:
        await board.advance(45_000)
        assert board.resets == 2
        assert printed(board) == ["cause 1", "cause 3", "cause 3"]
        assert (await board.state())["world_ms"] == 45_000
        assert await board.uptime_ms() == 5_000
    finally:
        await board.stop()


async def test_scaled_time_follows_the_wall_clock(tmp_path: Path) -> None:
    started_ms = time.time() * 1000 - 10_000
    board = VirtualBoard(tmp_path, "patrol_tag", speed=200, started_ms=started_ms, main=PROGRAMS / "echo.py")
    await board.start()
    try:
        await board.tap(bytes(4), hold_ms=20_000)
        before_ms = (time.time() * 1000 - started_ms) * 200
        world_ms = (await board.state())["world_ms"]
        after_ms = (time.time() * 1000 - started_ms) * 200
        assert before_ms - 400 <= world_ms <= after_ms + 400
        changes = (await board.state())["leds"]["led_green"]["changes"]
        gaps = {later[0] - sooner[0] for sooner, later in pairwise(changes)}
        assert gaps == {1000}, "timers keep their own time however late the process is"
    finally:
        await board.stop()


async def test_a_dead_board_says_so(tmp_path: Path) -> None:
    board = VirtualBoard(tmp_path, "patrol_tag", main=PROGRAMS / "echo.py")
    await board.start()
    with pytest.raises(BoardError, match=r"no boom"):
        await board.force_boom(0.5)
    await board.cut_power()
    with pytest.raises(BoardOffError):
        await board.tap(bytes(4))
    assert (await board.state())["powered"] is False
    await board.stop()


async def test_two_boards_at_once(tmp_path: Path) -> None:
    boards = [
        VirtualBoard(tmp_path / str(i), "patrol_tag", manual=True, main=PROGRAMS / "echo.py") for i in (1, 2)
    ]
    await asyncio.gather(*(board.start() for board in boards))
    assert await asyncio.gather(*(board.advance(1000 * i) for i, board in enumerate(boards, 1))) == [
        1000,
        2000,
    ]
    await asyncio.gather(*(board.stop() for board in boards))
