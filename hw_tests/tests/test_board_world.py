"""The chips and the plant around the board, at the level of bytes, pulses and positions."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hw_tests.tests.host import HostPort
from hw_tests.virtual_board.board import VirtualBoard

PROGRAMS = Path(__file__).parent / "programs"
D0, D1, LOOP_SAFETY, LIMIT_OPEN, LIMIT_CLOSED, BUTTON_OPEN = 34, 35, 32, 36, 39, 13
RELAY_UP, RELAY_DOWN = 25, 26

ACK = bytes.fromhex("0000ff00ff00")
WAKE = b"\x55\x55" + bytes(14)
CARDS = {
    "04a1b2c3": "0004080404a1b2c3",
    "04a1b2c3d4e5f6": "0044000704a1b2c3d4e5f6",
    "0102030405060708090a": "0084200a0102030405060708090a",
}

pytestmark = pytest.mark.vm


def frame(*body: int) -> bytes:
    """To the chip: body begins with the command code."""
    data = bytes((0xD4, *body))
    return bytes((0, 0, 0xFF, len(data), -len(data) & 0xFF)) + data + bytes((-sum(data) & 0xFF, 0))


def reply(code: int, data: bytes = b"") -> bytes:
    """From the chip."""
    body = bytes((0xD5, code)) + data
    return bytes((0, 0, 0xFF, len(body), -len(body) & 0xFF)) + body + bytes((-sum(body) & 0xFF, 0))


@asynccontextmanager
async def running(folder: Path, role: str, program: str) -> AsyncIterator[tuple[VirtualBoard, HostPort]]:
    board = VirtualBoard(folder, role, speed=50, main=PROGRAMS / program)
    await board.start()
    with HostPort(board.port) as port:
        try:
            yield board, port
        finally:
            await board.stop()


@asynccontextmanager
async def reader(folder: Path) -> AsyncIterator[tuple[VirtualBoard, HostPort]]:
    async with running(folder, "patrol_tag", "bridge.py") as (board, port):
        assert await port.read(1) == b"R"
        yield board, port


async def test_pn532_sleeps_until_it_is_woken(tmp_path: Path) -> None:
    async with reader(tmp_path) as (_, port):
        port.write(frame(0x02))
        port.write(WAKE + frame(0x14, 1, 0x14, 1))
        assert await port.read(6 + 9) == ACK + reply(0x15)
        port.write(frame(0x02))
        assert await port.read(6 + 13) == ACK + reply(0x03, b"\x32\x01\x06\x07")


@pytest.mark.parametrize("uid", CARDS)
async def test_pn532_waits_for_a_card_of_every_length(tmp_path: Path, uid: str) -> None:
    async with reader(tmp_path) as (board, port):
        port.write(WAKE + frame(0x32, 5, 0xFF, 1, 0xFF))
        assert await port.read(6 + 9) == ACK + reply(0x33)
        port.write(frame(0x4A, 1, 0))
        assert await port.read(6) == ACK
        await board.tap(bytes.fromhex(uid))
        expected = reply(0x4B, b"\x01\x01" + bytes.fromhex(CARDS[uid]))
        assert await port.read(len(expected)) == expected
        port.write(frame(0x52, 1))
        assert await port.read(6 + 10) == ACK + reply(0x53, b"\x00")


async def test_pn532_gives_up_after_its_retries(tmp_path: Path) -> None:
    async with reader(tmp_path) as (_, port):
        port.write(WAKE + frame(0x32, 5, 0xFF, 1, 2))
        await port.read(6 + 9)
        port.write(frame(0x4A, 1, 0))
        assert await port.read(6 + 10) == ACK + reply(0x4B, b"\x00")


async def test_pn532_error_frame_nack_and_abort(tmp_path: Path) -> None:
    async with reader(tmp_path) as (board, port):
        port.write(WAKE + frame(0x02)[:-2] + b"\x00\x00")
        assert await port.read(8) == bytes.fromhex("0000ff01ff7f8100")
        port.write(frame(0x4A, 1, 0))
        assert await port.read(6) == ACK
        port.write(ACK + frame(0x02))
        assert await port.read(6 + 13) == ACK + reply(0x03, b"\x32\x01\x06\x07")
        port.write(bytes.fromhex("0000ffff0000"))
        assert await port.read(13) == reply(0x03, b"\x32\x01\x06\x07")
        await board.reader_fault("garble")
        port.write(frame(0x02))
        answer = await port.read(6 + 13)
        assert answer[6:] != reply(0x03, b"\x32\x01\x06\x07")


@asynccontextmanager
async def barrier(folder: Path) -> AsyncIterator[tuple[VirtualBoard, HostPort]]:
    async with running(folder, "barrier", "edges.py") as (board, port):
        assert await port.read_line() == b"ready 1 0"
        yield board, port


async def edge(port: HostPort) -> tuple[int, int, int]:
    """(pin, level, ticks_ms) of the next edge."""
    pin, level, at_ms = (int(word) for word in (await port.read_line()).split())
    return pin, level, at_ms


async def falling_bits(port: HostPort, count: int) -> tuple[list[int], list[int]]:
    """The next `count` Wiegand bits and their times in ms."""
    bits, times = [], []
    while len(bits) < count:
        pin, level, at_ms = await edge(port)
        if pin in (D0, D1) and level == 0:
            bits.append(int(pin == D1))
            times.append(at_ms)
    return bits, times


async def test_wiegand_26_and_34(tmp_path: Path) -> None:
    async with barrier(tmp_path) as (board, port):
        for credential in (bytes.fromhex("0001ff"), bytes.fromhex("00a1b2c3")):
            await board.present(credential)
            count = 8 * len(credential) + 2
            bits, times = await falling_bits(port, count)
            half = count // 2
            assert sum(bits[:half]) % 2 == 0
            assert sum(bits[half:]) % 2 == 1
            assert int("".join(map(str, bits[1:-1])), 2).to_bytes(len(credential), "big") == credential
            assert times[-1] - times[0] == 2 * (count - 1)


async def test_buttons_bounce_and_loops_stay(tmp_path: Path) -> None:
    async with barrier(tmp_path) as (board, port):
        await board.press("open", 100)
        levels = [(await edge(port))[:2] for _ in range(6)]
        assert levels == [(BUTTON_OPEN, level) for level in (0, 1, 0, 1, 0, 1)]
        await board.loop("safety", occupied=True)
        assert (await edge(port))[:2] == (LOOP_SAFETY, 1)
        await board.cut_power()
        await board.power_on()
        assert await port.read_line() == b"ready 1 0"
        assert await board.pin(LOOP_SAFETY) == 1


async def test_boom_moves_with_its_relays(tmp_path: Path) -> None:
    async with barrier(tmp_path) as (board, port):
        port.write(b"%d 1\n" % RELAY_UP)
        assert (await edge(port))[:2] == (LIMIT_CLOSED, 1)
        left = await board.uptime_ms()
        pin, level, at_ms = await edge(port)
        assert (pin, level) == (LIMIT_OPEN, 0)
        assert at_ms - left <= 3000
        port.write(b"%d 0\n%d 1\n" % (RELAY_UP, RELAY_DOWN))
        assert (await edge(port))[:2] == (LIMIT_OPEN, 1)
        pin, level, at_ms = await edge(port)
        assert (pin, level) == (LIMIT_CLOSED, 0)
        boom = (await board.state())["boom"]
        assert (boom["openings"], boom["collisions"], boom["shorts"]) == (1, 0, 0)
        port.write(b"%d 1\n" % RELAY_UP)
        port.write(b"%d 0\n%d 0\n" % (RELAY_DOWN, RELAY_UP))


async def test_boom_stays_where_it_was_when_the_power_goes(tmp_path: Path) -> None:
    async with barrier(tmp_path) as (board, port):
        await board.force_boom(0.5)
        assert (await edge(port))[:2] == (LIMIT_CLOSED, 1)
        await board.cut_power()
        await board.power_on()
        assert await port.read_line() == b"ready 1 1"
        assert (await board.state())["boom"]["position"] == 0.5


async def test_boom_lowered_onto_a_vehicle_is_a_collision(tmp_path: Path) -> None:
    async with barrier(tmp_path) as (board, port):
        await board.force_boom(1)
        assert {(await edge(port))[:2], (await edge(port))[:2]} == {(LIMIT_CLOSED, 1), (LIMIT_OPEN, 0)}
        await board.loop("safety", occupied=True)
        assert (await edge(port))[:2] == (LOOP_SAFETY, 1)
        port.write(b"%d 1\n" % RELAY_DOWN)
        assert (await edge(port))[:2] == (LIMIT_OPEN, 1)
        await board.vehicle(bytes(3), approach_ms=10, patience_ms=4000)
        boom = (await board.state())["boom"]
        assert boom["collisions"] == 1
        assert boom["position"] == pytest.approx(0.4, abs=0.001)


async def test_vehicle_passes_an_open_boom_and_leaves_a_closed_one(tmp_path: Path) -> None:
    async with barrier(tmp_path) as (board, _):
        gone = await board.vehicle(bytes(3), approach_ms=500, patience_ms=3000)
        assert gone == {"outcome": "turned_away", "waited_ms": 3000}
        assert (await board.state())["loops"] == {"safety": False, "approach": False}
        await board.force_boom(1)
        through = await board.vehicle(bytes(3), approach_ms=500, pass_ms=2000)
        assert through["outcome"] == "passed"
        state = await board.state()
        assert state["passed"] == 1
        assert state["loops"] == {"safety": False, "approach": False}


async def test_outputs_are_recorded_with_their_times(tmp_path: Path) -> None:
    async with running(tmp_path, "patrol_tag", "outputs.py") as (board, _):
        assert await board.wait_program() == 0
        state = await board.state()
        start = state["leds"]["led_red"]["changes"][0][0]
        assert state["leds"]["led_red"]["changes"] == [[start, 1], [start + 250, 0]]
        assert state["beeps"] == [[start, 100, 2700], [start + 100, 150, 1800]]
        assert board.console.decode().split()[0] == "2000"
