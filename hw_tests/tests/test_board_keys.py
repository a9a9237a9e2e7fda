"""Keys and counters on the real VM: deep sleep and power cuts never repeat one, an erased NVS is silence, rotation."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from edge_agent import config as configuration
from edge_agent.clock import Clock
from edge_agent.daemon import Agent
from gatelink import cose, events
from hw_tests.tests.host import HostPort
from hw_tests.virtual_board import nvs
from hw_tests.virtual_board.board import VirtualBoard
from node.image import open_image

PROGRAMS = Path(__file__).parent / "programs"
LINK, EVENT = bytes(range(1, 33)), bytes(range(2, 34))
GATE = bytes.fromhex("04000000000001")
CONFIG = {"checkpoints": [GATE.hex()]}

pytestmark = pytest.mark.vm


def pivs(board: VirtualBoard) -> list[tuple[int, int]]:
    """(partial IV, reset cause) as they were printed."""
    lines = [line.split() for line in board.console.decode().splitlines()]
    return [(int(line[1]), int(line[2])) for line in lines if line[:1] == ["piv"] and len(line) == 3]


def kinds(board: VirtualBoard) -> list[int]:
    return [events.decode(slot.payload)[0] for slot in open_image(board.journal_image()).scan()]


async def test_deep_sleep_and_power_cuts_repeat_no_counter(tmp_path: Path) -> None:
    board = VirtualBoard(tmp_path, "patrol_tag", manual=True, main=PROGRAMS / "counters.py")
    board.provision(7, LINK, EVENT, 1, CONFIG)
    seen: list[tuple[int, int]] = []
    await board.start()
    try:
        for life in range(5):
            await board.advance(2_500)  # asleep two or three times
            seen += pivs(board)
            board.console.clear()
            if life % 2:
                await board.cut_power_at("nvs", nth=1, byte=life * 37)
                await board.advance(1_500)
                seen += pivs(board)
                board.console.clear()
            await board.cut_power()
            await board.power_on()
    finally:
        await board.stop()
    counters = [piv for piv, _ in seen]
    assert len(counters) > 20
    assert counters == sorted(set(counters))
    assert {cause for _, cause in seen} == {1, 4}  # power on and deep sleep: each is a boot of its own
    assert len({piv >> 16 for piv in counters}) * 3 >= len(counters)


async def test_an_erased_nvs_is_silence_and_the_journal_stays(tmp_path: Path) -> None:
    board = VirtualBoard(tmp_path, "patrol_tag", manual=True)
    board.provision(7, LINK, EVENT, 1, CONFIG)
    await board.start()
    try:
        await board.advance(1_000)
        await board.tap(GATE)
        await board.advance(3_000)
        await board.cut_power()
        before, kept = board.journal_image(), nvs.read(board.flash_path)
        assert kinds(board).count(events.VISIT) == 1
        nvs.write(board.flash_path, {})
        with HostPort(board.port) as port:
            with pytest.raises(TimeoutError):
                await port.read(1 << 20, timeout_s=0.5)  # what it said before
            port.forget()
            await board.power_on()
            await board.tap(GATE)
            await board.press("sos", 3_000)
            await board.advance(120_000)
            with pytest.raises(TimeoutError):
                await port.read(1, timeout_s=0.5)  # not a byte, neither sealed nor plain
        state = await board.state()
        assert len(state["beeps"]) >= 10  # it says so until somebody comes
        assert state["resets"] == 0
        assert board.journal_image() == before
        assert nvs.read(board.flash_path) == {}
        # The technician puts the keys back, with a boot number that was surely never used.
        await board.cut_power()
        kept["gatepost"]["boot"] = int(kept["gatepost"]["boot"]) + 1_000
        nvs.write(board.flash_path, kept)
        await board.power_on()
        await board.advance(1_000)
        await board.tap(GATE)
        await board.advance(3_000)
        assert kinds(board).count(events.VISIT) == 2
        assert board.journal_image()[:64] == before[:64]
    finally:
        await board.stop()


def site(folder: Path, board: VirtualBoard) -> Path:
    """Configuration of an agent on the board's port."""
    (folder / "control").write_text("control-token\n")
    keys = folder / "devices.toml"
    keys.write_text(f'[[device]]\nid = 7\nrole = "tag"\nlink_key = "{LINK.hex()}"\nepoch = 1\n')
    for path in (folder / "control", keys):
        path.chmod(0o600)
    path = folder / "edge.toml"
    path.write_text(
        '[edge]\nsite = "s1"\nid = "e1"\ndata_dir = "data"\n[devices]\nfile = "devices.toml"\n'
        '[status]\nlisten = "127.0.0.1:0"\ncontrol_token_file = "control"\n'
        f'[[port]]\nkind = "serial"\nname = "A"\npath = "{board.port}"\nreconnect_max_ms = 50\n'
    )
    return path


async def until(condition: Any, deadline_s: float = 30.0) -> None:
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.02)


async def post(agent: Agent, path: str) -> tuple[int, dict[str, Any]]:
    url = f"http://127.0.0.1:{agent.status.port}{path}"
    headers = {"Authorization": "Bearer control-token"}
    async with aiohttp.ClientSession() as http, http.post(url, json={}, headers=headers) as answer:
        return answer.status, dict(await answer.json())


async def test_rotation_and_revocation_of_a_real_device(tmp_path: Path) -> None:
    board = VirtualBoard(tmp_path / "board", "patrol_tag")
    board.provision(7, LINK, EVENT, 1, CONFIG)
    await board.start()
    agent = Agent(configuration.load(site(tmp_path, board)), Clock())
    await agent.start()
    try:
        session = agent.switchboard.sessions[7]
        await until(lambda: session.acked_seq >= 1)
        assert await post(agent, "/devices/7/rotate") == (
            200,
            {"v": 1, "epoch": 2, "state": "done", "problem": ""},
        )
        await board.tap(GATE)
        await until(lambda: session.acked_seq >= 2)
        assert session.rotation.describe() == {"epoch": 2, "pending": None, "problem": ""}
        await board.cut_power()
        stored = nvs.read(board.flash_path)["gatepost"]
        assert LINK not in stored.values()
        assert bytes(stored["cur"])[:2] == b"\0\2"  # type: ignore[arg-type]  # a blob by its name
        assert session._keys.up_key == cose.derive(bytes(stored["cur"])[2:34], 7, 2).up_key  # type: ignore[arg-type]
        await board.power_on()
        held = session.acked_seq
        await until(lambda: session.acked_seq > held)
        assert await post(agent, "/devices/7/revoke") == (200, {"v": 1, "revoked": True})
        await board.tap(GATE)
        await until(lambda: agent.rejects.total["revoked"] >= 2)
        assert (await post(agent, "/devices/7/rotate"))[0] == 404
    finally:
        await agent.stop()
        await board.stop()
