"""The board's serial port: bytes both ways, lost frames, a port that vanishes, a board without power."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hw_tests.tests.host import HostPort
from hw_tests.virtual_board.board import VirtualBoard

PROGRAMS = Path(__file__).parent / "programs"

pytestmark = pytest.mark.vm


@asynccontextmanager
async def echo(folder: Path) -> AsyncIterator[VirtualBoard]:
    board = VirtualBoard(folder, "patrol_tag", speed=50, main=PROGRAMS / "echo.py")
    await board.start()
    try:
        yield board
    finally:
        await board.stop()


async def echoes(port: HostPort, data: bytes) -> bool:
    port.write(data)
    return await port.read(len(data)) == data[::-1]


async def test_every_byte_value_both_ways(tmp_path: Path) -> None:
    async with echo(tmp_path) as board:
        with HostPort(board.port) as port:
            assert await echoes(port, bytes(range(256)))
            assert await echoes(port, bytes(range(255, -1, -1)))


async def test_reset_and_power_cut_leave_the_port_open(tmp_path: Path) -> None:
    async with echo(tmp_path) as board:
        with HostPort(board.port) as port:
            assert await echoes(port, b"one")
            await board.cut_power()
            port.write(b"lost")
            await asyncio.sleep(0.05)  # it has to arrive while the board is dark
            await board.power_on()
            await board.uptime_ms()
            assert await echoes(port, b"two")
            port.write(b"reset")
            await board.wait_resets(1)
            assert await echoes(port, b"three")
            assert not port.broken
            assert board.console.decode().splitlines() == ["boot 1", "boot 1", "boot 2"]


async def test_port_vanishes_and_returns_under_the_same_name(tmp_path: Path) -> None:
    async with echo(tmp_path) as board:
        with HostPort(board.port) as port:
            assert await echoes(port, b"one")
            board.unplug()
            await port.until_broken()
            assert not (tmp_path / "port").is_symlink()
        board.plug()
        with HostPort(board.port) as port:
            assert await echoes(port, b"two")


async def test_frames_to_the_device_can_be_lost(tmp_path: Path) -> None:
    async with echo(tmp_path) as board:
        seen: list[bytes] = []

        def lose(frame: bytes) -> bool:
            seen.append(frame)
            return frame == b"bad"

        board.drop_down = lose
        with HostPort(board.port) as port:
            port.write(b"go")
            port.write(b"od\x00bad\x00")
            assert await port.read(5) == b"\x00doog"
            board.drop_down = None
            assert await echoes(port, b"bad")
            assert seen == [b"good", b"bad"]
