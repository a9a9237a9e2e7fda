"""The tag on battery, on the virtual board: what sleeps, what wakes, what survives. Every board file with a tag."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gatelink import events as ev
from hw_tests.virtual_board import nvs
from hw_tests.virtual_board.board import VirtualBoard
from node.image import open_image

pytestmark = pytest.mark.vm

LINK, EVENT = bytes(range(1, 33)), bytes(range(2, 34))
STAFF, GATE, ROOF = (
    bytes.fromhex("0a000001"),
    bytes.fromhex("04000000000001"),
    bytes.fromhex("00010203040506070809"),
)
CONFIG: dict[str, Any] = {"staff": [STAFF.hex()], "checkpoints": [GATE.hex(), ROOF.hex()], "pocket_min": 1}
BOARDS = ("esp32_devkit", "esp32_s3_devkitc", "esp32_c3_devkitm")

Out = Callable[..., Awaitable[VirtualBoard]]


def journal(board: VirtualBoard) -> list[list[Any]]:
    stored = [ev.decode(slot.payload) for slot in open_image(board.journal_image()).scan()]
    return [event for event in stored if event[0] not in (ev.HEARTBEAT, ev.BOOT)]


def boots(board: VirtualBoard) -> int:
    return int(nvs.read(board.flash_path)["gatepost"]["boot"])


@pytest.fixture
async def out(tmp_path: Path) -> AsyncIterator[Out]:
    """A tag out of its charger for two seconds."""
    started = []

    async def start(name: str = "esp32_devkit", **config: Any) -> VirtualBoard:
        board = VirtualBoard(tmp_path, "patrol_tag", manual=True, board=name)
        started.append(board)
        board.provision(7, LINK, EVENT, 1, {**CONFIG, **config})
        (board.files / "board.txt").write_text(f"{name}\n", encoding="utf-8")
        await board.start()
        await board.advance(2000)
        await board.dock(False)
        await board.advance(2000)
        return board

    yield start
    for board in started:
        await board.stop()


async def slept(board: VirtualBoard, ms: float) -> float:
    """Share of the next `ms` that it spends in light sleep."""
    before = (await board.state())["slept_ms"]
    await board.advance(ms)
    return float((await board.state())["slept_ms"] - before) / ms


@pytest.mark.parametrize("name", BOARDS)
async def test_it_sleeps_between_taps_and_loses_none(out: Out, name: str) -> None:
    board = await out(name)
    assert await slept(board, 30_000) > 0.85
    for uid in (STAFF, GATE, ROOF, GATE):
        before = len(journal(board))
        await board.tap(uid)
        tapped_ms = await board.uptime_ms()
        await board.advance(1000)
        beep = next(beep for beep in (await board.state())["beeps"] if beep[0] >= tapped_ms)
        assert beep[0] - tapped_ms <= 500
        assert len(journal(board)) == before + 1
        await board.advance(21_000)
    assert [event[0] for event in journal(board)] == [ev.SHIFT_START, ev.VISIT, ev.VISIT, ev.VISIT]
    assert [event[1] for event in journal(board)] == [STAFF, GATE, ROOF, GATE]
    # a shift is open: no deep sleep, however long nothing happens
    await board.advance(100_000)
    assert board.resets == 0


@pytest.mark.parametrize("name", BOARDS)
async def test_in_the_charger_it_is_awake(out: Out, name: str) -> None:
    board = await out(name)
    assert await slept(board, 10_000) > 0.85
    await board.dock(True)
    await board.advance(3000)
    assert await slept(board, 60_000) == 0
    await board.tap(GATE)
    await board.advance(1000)
    assert journal(board) == [[ev.VISIT, GATE]]
    await board.advance(100_000)
    assert board.resets == 0


async def test_feedback_plays_to_its_end(out: Out) -> None:
    board = await out()
    await board.tap(GATE)
    await board.advance(3000)
    assert await slept(board, 5000) > 0.85
    beeps = [duration for _, duration, _ in (await board.state())["beeps"]][-2:]
    assert beeps == [80, 200]  # the second tone is heard whole: two beeps, then red


async def test_sos_from_light_sleep(out: Out) -> None:
    board = await out()
    await board.advance(10_000)
    await board.press("sos", 700)
    pressed_ms = await board.uptime_ms()
    await board.advance(1000)
    assert journal(board) == [[ev.SOS, None]]
    beep = next(beep for beep in (await board.state())["beeps"] if beep[0] >= pressed_ms)
    assert beep[0] - pressed_ms <= 1000


@pytest.mark.parametrize("name", BOARDS)
async def test_sos_from_deep_sleep_within_a_second(out: Out, name: str) -> None:
    board = await out(name)
    used = [boots(board)]
    for press in range(3):
        await board.advance(70_000)
        state = await board.state()
        assert state["deep"]
        assert not state["reader_awake"]
        sleeping_ms = state["world_ms"]
        await board.press("sos", 900)
        await board.advance(1000)
        state = await board.state()
        assert not state["deep"]
        assert state["world_ms"] - sleeping_ms == 1000
        assert journal(board) == [[ev.SOS, None]] * (press + 1)  # durable
        assert [tone for _, _, tone in state["beeps"]], "and heard"
        used.append(boots(board))
        # the call is over, and so is the shift that never was: back to sleep later
    assert used == sorted(set(used)), "a partial IV's boot number is never used twice"
    assert board.resets >= 3


async def test_a_short_press_only_wakes_it(out: Out) -> None:
    board = await out()
    await board.advance(70_000)
    assert (await board.state())["deep"]
    await board.press("sos", 150)
    await board.advance(1500)
    assert not (await board.state())["deep"]
    assert journal(board) == []
    await board.tap(STAFF)
    await board.advance(1500)
    assert journal(board) == [[ev.SHIFT_START, STAFF]]


@pytest.mark.parametrize("name", BOARDS)
async def test_a_field_from_outside_wakes_the_reader_and_the_reader_wakes_the_tag(
    out: Out, name: str
) -> None:
    board = await out(name)
    await board.advance(70_000)
    assert (await board.state())["deep"]
    assert await board.field()
    await board.advance(1500)
    assert not (await board.state())["deep"]
    await board.tap(STAFF)
    await board.advance(1500)
    assert journal(board) == [[ev.SHIFT_START, STAFF]]


async def test_the_charger_is_noticed_in_deep_sleep(out: Out) -> None:
    board = await out()
    await board.advance(70_000)
    used = boots(board)
    await board.advance(1_900_000)
    # three looks, and no boot number spent on them
    assert (await board.state())["deep"]
    assert board.resets >= 3
    assert boots(board) == used
    await board.dock(True)
    await board.advance(620_000)
    assert not (await board.state())["deep"]
    await board.tap(GATE)
    await board.advance(1000)
    assert journal(board) == [[ev.VISIT, GATE]]


async def test_events_and_time_go_on_after_deep_sleep(out: Out) -> None:
    board = await out()
    await board.tap(GATE)
    await board.advance(1000)
    await board.advance(90_000)
    assert (await board.state())["deep"]
    await board.advance(120_000)
    await board.press("sos", 900)
    await board.advance(2000)
    slots = list(open_image(board.journal_image()).scan())
    visit = next(slot for slot in slots if ev.decode(slot.payload)[0] == ev.VISIT)
    call = next(slot for slot in slots if ev.decode(slot.payload)[0] == ev.SOS)
    assert visit.boot == call.boot
    passed_ms = (call.uptime_cs - visit.uptime_cs) * 10
    assert 211_000 <= passed_ms <= 213_500
    assert [slot.seq for slot in slots] == list(range(1, len(slots) + 1))


async def test_a_dead_reader_keeps_nobody_awake(out: Out) -> None:
    board = await out()
    await board.reader_fault("mute")
    await board.advance(30_000)
    assert await slept(board, 20_000) > 0.9
    await board.press("sos", 700)
    await board.advance(1000)
    assert journal(board)[-1] == [ev.SOS, None]
    await board.advance(90_000)
    assert (await board.state())["deep"]
