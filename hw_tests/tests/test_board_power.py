"""Flash under power cuts: NOR rules, torn programs and erases, atomic NVS, files; what comes back is what was there."""

import ast
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hw_tests.tests.host import HostPort
from hw_tests.virtual_board import nvs
from hw_tests.virtual_board.board import BoardOffError, VirtualBoard

PROGRAMS = Path(__file__).parent / "programs"

pytestmark = pytest.mark.vm


class Store:
    """A board that runs store.py, and the port to it."""

    def __init__(self, board: VirtualBoard, port: HostPort) -> None:
        self.board = board
        self.port = port

    def send(self, expression: str) -> None:
        self.port.write(expression.encode() + b"\n")

    async def ask(self, expression: str) -> Any:
        self.send(expression)
        return ast.literal_eval((await self.port.read_line()).decode())

    async def back(self) -> None:
        """Power on again, until the program is there."""
        await self.board.power_on()
        assert await self.port.read_line() == b"ready"


@asynccontextmanager
async def store(folder: Path) -> AsyncIterator[Store]:
    board = VirtualBoard(folder, "patrol_tag", speed=10, main=PROGRAMS / "store.py")
    await board.start()
    with HostPort(board.port) as port:
        try:
            assert await port.read_line() == b"ready"
            yield Store(board, port)
        finally:
            await board.stop()


async def test_programming_only_clears_bits_and_erasing_sets_them(tmp_path: Path) -> None:
    async with store(tmp_path) as it:
        await it.ask("program(1, 10, b'\\xf0\\x0f')")
        await it.ask("program(1, 10, b'\\x3c\\xff')")
        assert await it.ask("read(1, 9, 4)") == b"\xff\x30\x0f\xff"
        await it.ask("erase(1)")
        assert await it.ask("read(1, 9, 4)") == b"\xff\xff\xff\xff"
        assert await it.ask("journal.ioctl(4, 0)") == 512


async def test_whole_block_write_erases_first(tmp_path: Path) -> None:
    async with store(tmp_path) as it:
        await it.ask("program(2, 0, bytes(16))")
        await it.ask("journal.writeblocks(2, b'\\xaa' * 4096)")
        assert await it.ask("read(2, 0, 3)") == b"\xaa\xaa\xaa"


@pytest.mark.parametrize("byte", [0, 1, 37, 64])
async def test_cut_in_a_program_leaves_exactly_the_bytes_before(tmp_path: Path, byte: int) -> None:
    async with store(tmp_path) as it:
        await it.ask("program(0, 0, bytes(range(64)))")
        await it.board.cut_power_at("program", nth=2, byte=byte)
        await it.ask("program(0, 64, b'\\x11' * 64)")
        it.send("program(0, 128, b'\\x22' * 64)")
        await it.board.wait_off()
        expected = bytes(range(64)) + b"\x11" * 64 + b"\x22" * byte + b"\xff" * (4096 - 128 - byte)
        assert it.board.journal_image()[:4096] == expected
        await it.back()
        assert await it.ask("read(0, 0, 4096)") == expected
        assert await it.ask("machine.reset_cause()") == 1


async def test_cut_within_a_byte(tmp_path: Path) -> None:
    async with store(tmp_path) as it:
        await it.board.cut_power_at("program", nth=1, byte=1, spared=0xF0)
        it.send("program(0, 0, b'\\x12\\x34\\x56')")
        await it.board.wait_off()
        assert it.board.journal_image()[:3] == b"\x12\xf4\xff"


async def test_cut_in_an_erase(tmp_path: Path) -> None:
    async with store(tmp_path) as it:
        await it.ask("program(3, 0, bytes(4096))")
        await it.board.cut_power_at("erase", nth=1, byte=1000)
        it.send("erase(3)")
        await it.board.wait_off()
        assert it.board.journal_image()[3 * 4096 : 4 * 4096] == b"\xff" * 1000 + bytes(3096)


@pytest.mark.parametrize("byte", [0, 3, 15, 20, 10_000])
async def test_nvs_commit_is_all_or_nothing(tmp_path: Path, byte: int) -> None:
    async with store(tmp_path) as it:
        await it.ask("put('a', 1)")
        await it.board.cut_power_at("nvs", nth=1, byte=byte)
        it.send("put('a', 2)")
        await it.board.wait_off()
        expected = 2 if byte == 10_000 else 1
        assert nvs.read(it.board.flash_path)["test"]["a"] == expected
        await it.back()
        assert await it.ask("number('a')") == expected
        await it.ask("put('a', -7)")
        assert await it.ask("number('a')") == -7


async def test_nvs_without_commit_is_lost(tmp_path: Path) -> None:
    async with store(tmp_path) as it:
        await it.ask("nvs.set_i32('x', 5)")
        assert await it.ask("number('x')") == 5
        await it.board.cut_power()
        await it.back()
        assert await it.ask("number('x')") is None


async def test_sigkill_loses_nothing_that_was_written(tmp_path: Path) -> None:
    async with store(tmp_path) as it:
        await it.ask("program(0, 0, b'kept')")
        await it.board.cut_power(hard=True)
        with pytest.raises(BoardOffError):
            await it.board.uptime_ms()
        await it.back()
        assert await it.ask("read(0, 0, 4)") == b"kept"
        assert it.board.power_cycles == 2


async def test_cut_in_a_file_write_at_its_commit_and_at_a_rename(tmp_path: Path) -> None:
    async with store(tmp_path) as it:
        await it.ask("save('/a', b'0123456789')")
        for op, nth in (("file", 1), ("name", 1)):
            await it.board.cut_power_at(op, nth=nth)
            it.send("save('/a', b'abc')")
            await it.board.wait_off()
            await it.back()
            # as littlefs: the old content, until the file is closed
            assert await it.ask("load('/a')") == b"0123456789"
        await it.board.cut_power_at("name", nth=2)
        it.send("save('/b', b'0123456789')")
        await it.board.wait_off()
        await it.back()
        assert await it.ask("load('/b')") == b""
        await it.board.cut_power_at("name", nth=1)
        it.send("__import__('os').rename('/a', '/b')")
        await it.board.wait_off()
        await it.back()
        assert await it.ask("load('/a')") == b"0123456789"
        assert await it.ask("load('/b')") == b""


async def test_what_was_flushed_stays_what_was_not_goes(tmp_path: Path) -> None:
    async with store(tmp_path) as it:
        for expression in (
            "globals().update(f=open('/log', 'ab'))",
            "f.write(b'kept')",
            "f.flush()",
            "f.write(b'lost')",
        ):
            await it.ask(expression)
        assert await it.ask("load('/log')") == b"kept"
        await it.board.cut_power(hard=True)
        await it.back()
        assert await it.ask("load('/log')") == b"kept"


async def test_provisioned_keys_are_what_the_device_reads(tmp_path: Path) -> None:
    board = VirtualBoard(tmp_path, "patrol_tag", speed=10, main=PROGRAMS / "store.py")
    board.provision(0xF0000001, bytes(range(32)), b"e" * 32, 3, {"name": "东门"})
    await board.start()
    try:
        with HostPort(board.port) as port:
            it = Store(board, port)
            assert await port.read_line() == b"ready"
            keys = "esp32.NVS('gatepost')"
            assert await it.ask(f"[{keys}.get_i32(k) for k in ('dev', 'epoch', 'boot')]") == [
                0xF0000001 - 2**32,
                3,
                0,
            ]
            assert await it.ask(f"(lambda b: ({keys}.get_blob('link', b), bytes(b)))(bytearray(40))") == (
                32,
                bytes(range(32)) + bytes(8),
            )
            assert await it.ask("__import__('json').loads(load('/config.json'))['name']") == "东门"
    finally:
        await board.stop()
