"""Bugs in a running tag: the task goes on, a device that keeps failing or hangs restarts, and the office learns why."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gatelink import events as ev
from hw_tests.virtual_board import wiring
from hw_tests.virtual_board.board import CAUSES, VirtualBoard
from node.image import open_image
from node.node import TASK_DIED

pytestmark = pytest.mark.vm

LINK, EVENT = bytes(range(1, 33)), bytes(range(2, 34))
PROGRAM = Path(__file__).parent / "programs" / "tag_that_fails.py"
BREAKS, HANGS, FILLS = (bytes((8, 0, 0, number)) for number in (1, 2, 3))
GATE = bytes.fromhex("04000000000001")
WATCHDOG_S = 10


def journal(board: VirtualBoard) -> list[list[Any]]:
    stored = [ev.decode(slot.payload) for slot in open_image(board.journal_image()).scan()]
    return [event for event in stored if event[0] != ev.HEARTBEAT]


def causes(board: VirtualBoard) -> list[int]:
    return [event[1] for event in journal(board) if event[0] == ev.BOOT]


@pytest.fixture
async def tag(tmp_path: Path) -> AsyncIterator[VirtualBoard]:
    board = VirtualBoard(tmp_path, "patrol_tag", manual=True, main=PROGRAM)
    board.provision(7, LINK, EVENT, 1, {"watchdog_s": WATCHDOG_S})
    shutil.copyfile(wiring.REPO / "firmware" / "boot.py", board.files / "boot.py")
    await board.start()
    await board.advance(1000)
    yield board
    await board.stop()


async def tap(board: VirtualBoard, uid: bytes) -> None:
    # too short for the device's next life to read it once more
    await board.tap(uid, hold_ms=30)
    await board.advance(3000)


@pytest.mark.parametrize(("card", "name"), [(BREAKS, "ValueError"), (FILLS, "MemoryError")])
async def test_a_task_that_dies_is_reported_and_goes_on(tag: VirtualBoard, card: bytes, name: str) -> None:
    await tap(tag, card)
    await tap(tag, GATE)
    _, fault, visit = journal(tag)
    assert fault[:2] == [ev.FAULT, TASK_DIED]
    # the exception and the place of its last frame
    kind, place = fault[2].split(" ")
    assert kind == name
    assert place.split(":")[1].isdigit()
    assert visit == [ev.VISIT, GATE]
    # the whole traceback is on the console
    assert b"Traceback" in tag.console
    assert tag.resets == 0


async def test_a_device_that_keeps_failing_starts_over(tag: VirtualBoard) -> None:
    for _ in range(5):
        await tap(tag, BREAKS)
    assert tag.resets == 1
    assert causes(tag) == [CAUSES["power"], CAUSES["reset"]]
    assert [event[0] for event in journal(tag)].count(ev.FAULT) == 5
    await tap(tag, GATE)
    assert journal(tag)[-1] == [ev.VISIT, GATE]


async def test_a_hung_loop_is_reset_by_the_watchdog(tag: VirtualBoard) -> None:
    await tap(tag, GATE)
    await tag.tap(HANGS)
    await tag.advance(WATCHDOG_S * 1000 + 1500)
    assert tag.resets == 1
    assert causes(tag) == [CAUSES["power"], CAUSES["wdt"]]
    await tap(tag, GATE)
    assert [event for event in journal(tag) if event[0] != ev.BOOT] == [[ev.VISIT, GATE]] * 2
