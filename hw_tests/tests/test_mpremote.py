"""The real mpremote against the board's console: exec, files both ways, soft reset, reset."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hw_tests.tests.host import HostPort
from hw_tests.virtual_board.board import VirtualBoard

PROGRAMS = Path(__file__).parent / "programs"

pytestmark = pytest.mark.vm


class Mpremote:
    """mpremote, connected to one console."""

    def __init__(self, console: str) -> None:
        self._console = console

    async def __call__(self, *command: str, code: int = 0) -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "mpremote", "connect", self._console, *command,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            async with asyncio.timeout(40):
                output = (await process.communicate())[0].decode()
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode == code, output
        return output


@asynccontextmanager
async def console(folder: Path) -> AsyncIterator[tuple[VirtualBoard, Mpremote]]:
    board = VirtualBoard(folder / "board", "patrol_tag", main=PROGRAMS / "echo.py")
    await board.start()
    try:
        yield board, Mpremote(board.open_console())
    finally:
        await board.stop()


async def test_exec_stops_the_program_and_runs_code(tmp_path: Path) -> None:
    async with console(tmp_path) as (_, mpremote):
        assert (
            await mpremote("exec", "import sys; print(sys.implementation[1][:2], 6 * 7)")
        ).strip() == "(1, 29) 42"
        failed = await mpremote("exec", "1 / 0", code=1)
        assert "ZeroDivisionError" in failed
        assert (await mpremote("resume", "eval", "0xff")).strip() == "255"


async def test_files_both_ways(tmp_path: Path) -> None:
    here = tmp_path / "here.bin"
    here.write_bytes(bytes(range(256)) * 5)
    async with console(tmp_path) as (board, mpremote):
        await mpremote("fs", "cp", str(here), ":there.bin")
        assert (board.files / "there.bin").read_bytes() == here.read_bytes()
        assert "there.bin" in await mpremote("fs", "ls")
        await mpremote("fs", "cp", ":there.bin", str(tmp_path / "back.bin"))
        assert (tmp_path / "back.bin").read_bytes() == here.read_bytes()
        await mpremote("fs", "mkdir", ":d", "+", "fs", "cp", str(here), ":d/x", "+", "fs", "ls", ":d")
        assert "No such file" in await mpremote("fs", "cat", ":none", code=1)
        await mpremote("fs", "rm", ":there.bin", "+", "fs", "rm", "-r", ":d")
        assert not (board.files / "there.bin").exists()
        assert not (board.files / "d").exists()
        assert "gatelink" in await mpremote("fs", "ls", ":lib")


async def test_soft_reset_and_reset(tmp_path: Path) -> None:
    async with console(tmp_path) as (board, mpremote):
        await mpremote("exec", "x = 1")
        await mpremote("soft-reset")
        before = board.resets
        assert (
            await mpremote("resume", "exec", "import machine; print(machine.reset_cause(), 'x' in globals())")
        ) == ("5 False\n")
        await mpremote("reset")
        await board.wait_resets(before + 2)  # mpremote's own soft reset, and this one
        await board.uptime_ms()
        with HostPort(board.port) as port:
            port.write(b"again")
            assert await port.read(5) == b"niaga"
