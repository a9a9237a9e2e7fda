"""Rotation and revocation as people do them: HTTP with the control token, `gatepost edge rotate` and `revoke`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from edge_agent.daemon import Agent
from edge_agent.tests.device import Device, PtyWire, sync
from edge_agent.tests.harness import OWN, Site, until
from gatelink import cose, messages
from gatelink.messages import Config, Result
from tools import cli
from tools.status_text import describe


def with_control(site: Site) -> None:
    token = site.folder / "control"
    token.write_text("control-token\n")
    token.chmod(0o600)
    text = site.config_path.read_text().replace("[status]\n", '[status]\ncontrol_token_file = "control"\n')
    site.config_path.write_text(text)


async def gatepost(agent: Agent, folder: Path, does: str, device: int, *more: str) -> int:
    url = f"http://127.0.0.1:{agent.status.port}/status"
    arguments = [
        "edge",
        does,
        "--device",
        str(device),
        "--token-file",
        str(folder / "control"),
        "--url",
        url,
        *more,
    ]
    return await asyncio.to_thread(cli.main, arguments)


async def next_key(device: Device, wire: PtyWire) -> Config:
    async with asyncio.timeout(10):
        while True:
            message = device.take(await wire.inbox.get())
            if isinstance(message, Config):
                return message


def speak(device: Device, config: Config) -> None:
    """As a device does that has stored the key."""
    epoch, key = messages.decode_rekey(config.chunk)
    device.keys = cose.derive(key, device.device, epoch)


async def test_rotate_and_revoke_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = Site(tmp_path)
    with_control(site)
    device, wire = site.devices[0], PtyWire(site.link)
    async with site.agent() as agent:
        device.mint()
        await sync(device, wire)
        going = asyncio.create_task(gatepost(agent, tmp_path, "rotate", 7))
        config = await next_key(device, wire)
        wire.send(device.send(Result(config.version, 0, "")))
        speak(device, config)
        device.mint()
        device.welcomed = False
        await sync(device, wire)
        assert await going == 0
        assert "device 7: new link key, epoch 1" in capsys.readouterr().out
        # One that refuses keeps its key, and its words are shown.
        going = asyncio.create_task(gatepost(agent, tmp_path, "rotate", 7))
        config = await next_key(device, wire)
        wire.send(device.send(Result(config.version, 4, "old\x1b[31m firmware")))
        assert await going == 0
        assert "did not take the key of epoch 2 (code 4 old?[31m firmware)" in capsys.readouterr().out
        assert await gatepost(agent, tmp_path, "revoke", 7) == 0
        assert await gatepost(agent, tmp_path, "revoke", 7) == 0
        assert "device 7: revoked" in capsys.readouterr().out
        wire.send(device.hello())
        await until(lambda: agent.rejects.total["revoked"] == 1)
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"http://127.0.0.1:{agent.status.port}/status") as answer,
        ):
            seen = await answer.json()
        assert seen["revoked"] == [{"id": 7, "rejects": {"revoked": 1}}]
        assert "device 7: REVOKED, refused frames: revoked 1" in describe(seen, "en")
        assert [entry["key"] for entry in seen["devices"]] == [{"epoch": 0, "pending": None, "problem": ""}]
        assert await gatepost(agent, tmp_path, "rotate", 7) == 2
        assert "not provisioned here, or revoked" in capsys.readouterr().err
    own = [payload for _, _, payload in site.events(OWN).values()]
    assert [payload for payload in own if payload[1:3] in (b"\x18\x49", b"\x18\x52")] == [
        b"\x83\x18\x49\x07\x01", b"\x82\x18\x52\x07",
    ]  # fmt: skip
    wire.close()


async def post(agent: Agent, path: str, token: str, data: bytes) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"http://127.0.0.1:{agent.status.port}{path}"
    async with aiohttp.ClientSession() as http, http.post(url, data=data, headers=headers) as answer:
        return answer.status, dict(await answer.json())


async def test_only_with_the_token_and_only_what_makes_sense(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = Site(tmp_path)
    async with site.agent() as agent:
        for does in ("rotate", "revoke"):
            assert (await post(agent, f"/devices/7/{does}", "anything", b"{}"))[0] == 403
    with_control(site)
    async with site.agent() as agent:
        for does in ("rotate", "revoke"):
            for token in ("", "wrong"):
                assert (await post(agent, f"/devices/7/{does}", token, b"{}"))[0] == 401
            assert (await post(agent, f"/devices/99/{does}", "control-token", b"{}"))[0] == 404
            assert (await post(agent, f"/devices/seven/{does}", "control-token", b"{}"))[0] == 400
        for body in (b"[", b"[]", b'{"within_ms": -1}', b'{"within_ms": true}', b'{"within_ms": 60001}'):
            assert (await post(agent, "/devices/7/rotate", "control-token", body))[0] == 400
        assert agent.switchboard.revoked == set()
        assert agent.switchboard.sessions[7].rotation.next is None
        # A device that is away: the key waits for it.
        answer = await post(agent, "/devices/7/rotate", "control-token", b'{"within_ms": 50}')
        assert answer == (200, {"v": 1, "epoch": 1, "state": "pending", "problem": ""})
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"http://127.0.0.1:{agent.status.port}/status") as page,
        ):
            assert "    link key of epoch 1 waits for the device" in describe(await page.json(), "en")
        assert await gatepost(agent, tmp_path, "rotate", 99) == 2
        assert "not provisioned here" in capsys.readouterr().err
        (tmp_path / "control").write_text("another")
        assert await gatepost(agent, tmp_path, "revoke", 7) == 2
        assert "control token is missing or wrong" in capsys.readouterr().err
    device, wire = site.devices[0], PtyWire(site.link)
    async with site.agent() as agent:
        await sync(device, wire)  # it comes back, and is told at once
        config = await next_key(device, wire)
        speak(device, config)
        device.welcomed = False
        await sync(device, wire)
        assert agent.switchboard.sessions[7].rotation.describe() == {
            "epoch": 1,
            "pending": None,
            "problem": "",
        }
    wire.close()
    assert (
        cli.main(
            ["edge", "revoke", "--device", "7", "--token-file", "nowhere", "--url", "http://127.0.0.1:9"]
        )
        == 2
    )
    assert "nowhere: can't be read" in capsys.readouterr().err
    (tmp_path / "control").write_text("x")
    arguments = ["edge", "revoke", "--device", "7", "--token-file", str(tmp_path / "control"), "--url"]
    assert cli.main([*arguments, "http://127.0.0.1:9"]) == 2
    assert "is the edge agent running?" in capsys.readouterr().err
    assert cli.main([*arguments, "ftp://x"]) == 2
