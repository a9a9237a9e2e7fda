"""Commands: deadline in device uptime, at most 2 s for movements, sent again, answered once; and who may send them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from edge_agent.clock import Clock
from edge_agent.daemon import Agent
from edge_agent.errors import CommandRefusedError
from edge_agent.tests.device import Device, PtyWire, sync
from edge_agent.tests.harness import Site, until
from gatelink.messages import Ack, Command, Result


async def next_command(device: Device, wire: PtyWire) -> Command:
    async with asyncio.timeout(10):
        while True:
            message = device.take(await wire.inbox.get())
            if isinstance(message, Command):
                return message


async def test_open_is_bounded_sent_again_and_answered(tmp_path: Path) -> None:
    site = Site(tmp_path, more="[link]\ncommand_retry_ms = 50\n")
    device, wire = site.devices[0], PtyWire(site.link)
    async with site.agent() as agent:
        session = agent.switchboard.sessions[7]
        with pytest.raises(CommandRefusedError, match="not been heard"):
            await session.command(1, None, 2_000)
        await sync(device, wire)
        going = asyncio.create_task(session.command(1, None, 60_000))
        first = await next_command(device, wire)
        assert (first.action, first.argument) == (1, None)
        assert device.uptime_ms < first.deadline_ms <= device.uptime_ms + 2_000 + 10_000
        again = await next_command(device, wire)
        assert again == first  # the same command under a new counter
        wire.send(device.send(Result(first.cmd_id, 0, "")))
        assert await going == (first.cmd_id, 0, "")
    wire.close()


async def test_deadline_follows_the_devices_uptime_not_the_wall(tmp_path: Path) -> None:
    """The bound is the last uptime that the device stated plus what passed since: never more than 2 s ahead of it."""
    site = Site(tmp_path)
    device, wire = site.devices[0], PtyWire(site.link)
    now = [1_700_000_000_000]
    async with site.agent(Clock(wall=lambda: now[0], steady=lambda: now[0])) as agent:
        await sync(device, wire)
        device.uptime_ms = 100_000
        wire.send(device.status(anchor=(99_000, now[0] - 1_000, 5)))  # of a device that never sleeps
        await until(lambda: any(isinstance(m, Ack) and m.clock for m in drain(device, wire)))
        now[0] += 5_000
        going = asyncio.create_task(agent.switchboard.sessions[7].command(2, None, 2_000))
        command = await next_command(device, wire)
        assert command.deadline_ms == 100_000 + 5_000 - 1 + 2_000
        wire.send(device.send(Result(command.cmd_id, 2, "late")))
        assert (await going).code == 2
    wire.close()


def drain(device: Device, wire: PtyWire) -> list[Any]:
    while not wire.inbox.empty():
        device.take(wire.inbox.get_nowait())
    return device.taken


async def test_no_answer_is_stale(tmp_path: Path) -> None:
    site = Site(tmp_path, more="[link]\ncommand_retry_ms = 20\n")
    device, wire = site.devices[0], PtyWire(site.link)
    async with site.agent() as agent:
        await sync(device, wire)
        result = await agent.switchboard.sessions[7].command(1, None, 100)
        assert result.code == 2
        wire.send(device.send(Result(result.cmd_id, 0, "too late")))  # no effect
        await until(lambda: agent.switchboard.sessions[7].frames == 2)
    wire.close()


async def post(agent: Agent, path: str, token: str | None, body: object) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"http://127.0.0.1:{agent.status.port}{path}"
    async with aiohttp.ClientSession() as http, http.post(url, json=body, headers=headers) as answer:
        return answer.status, dict(await answer.json())


async def test_commands_over_http_need_the_token(tmp_path: Path) -> None:
    site = Site(tmp_path)
    device, wire = site.devices[0], PtyWire(site.link)
    async with site.agent() as agent:
        status, answer = await post(agent, "/devices/7/commands", "anything", {"action": "open"})
        assert (status, "control_token_file" in answer["error"]["message"]) == (403, True)
    (tmp_path / "control").write_text("control-token\n")
    (tmp_path / "control").chmod(0o600)
    text = site.config_path.read_text().replace("[status]\n", '[status]\ncontrol_token_file = "control"\n')
    site.config_path.write_text(text)
    async with site.agent() as agent:
        await sync(device, wire)
        for token in (None, "wrong"):
            assert (await post(agent, "/devices/7/commands", token, {"action": "open"}))[0] == 401
        for body, field in (
            ({"action": "explode"}, "action"),
            ([], "action"),
            ({"action": "open", "within_ms": -1}, "within_ms"),
            ({"action": "beep", "argument": "x"}, "argument"),
        ):
            status, answer = await post(agent, "/devices/7/commands", "control-token", body)
            assert (status, answer["error"]["field"]) == (400, field)
        assert (await post(agent, "/devices/99/commands", "control-token", {"action": "open"}))[0] == 404
        assert (await post(agent, "/devices/8/commands", "control-token", {"action": "open"}))[0] == 409
        going = asyncio.create_task(
            post(agent, "/devices/7/commands", "control-token", {"action": "beep", "argument": 3})
        )
        command = await next_command(device, wire)
        assert (command.action, command.argument) == (4, 3)
        wire.send(device.send(Result(command.cmd_id, 0, "beeped")))
        assert await going == (200, {"v": 1, "cmd_id": command.cmd_id, "code": 0, "detail": "beeped"})
    wire.close()


async def test_status_shows_devices_backlog_and_silence(tmp_path: Path) -> None:
    site = Site(tmp_path, more="[link]\noffline_after_s = 60\n")
    device, wire = site.devices[0], PtyWire(site.link)
    now = [1_700_000_000_000]
    async with site.agent(Clock(wall=lambda: now[0], steady=lambda: now[0])) as agent:
        for _ in range(5):
            device.mint()
        await sync(device, wire)
        wire.send(device.status(anchor=(device.uptime_ms, now[0], 3), battery_mv=3_456))
        await until(lambda: agent.switchboard.sessions[7].battery_mv == 3_456)
        assert agent.switchboard.sessions[7].online
        now[0] += 61_000
        agent.switchboard.check_silence(60_000)
        await until(lambda: agent.ingest.waiting == 0)
        url = f"http://127.0.0.1:{agent.status.port}/status"
        async with aiohttp.ClientSession() as http, http.get(url) as answer:
            seen = await answer.json()
        async with aiohttp.ClientSession() as http, http.get(url.replace("status", "else")) as answer:
            assert answer.status == 404
    entry = seen["devices"][0]
    assert (entry["id"], entry["name"], entry["role"], entry["firmware"]) == (7, "T7", "tag", "sim 1")
    assert (entry["online"], entry["acked_seq"], entry["battery_mv"], entry["port"]) == (False, 5, 3_456, "A")
    assert entry["words"]["en"] == "offline, heard 1 min 1 s ago"
    assert seen["backlog"]["words"]["zh"].startswith("7 条事件待上传") or seen["backlog"]["events"] >= 7
    assert (seen["store"]["state"], seen["office"]) == ("ok", None)
    wire.close()
