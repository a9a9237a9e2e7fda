"""Whoever looks at the status address: clients, the viewer token, and devices that make something to see."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from edge_agent.daemon import Agent
from edge_agent.tests.device import Device, PtyWire
from edge_agent.tests.harness import Site, until
from gatelink.messages import Events

TOKEN = "viewer-token-of-this-site"


def with_viewer(site: Site, more: str = "") -> None:
    """Only whoever holds TOKEN may look."""
    path = site.folder / "viewer"
    path.write_text(TOKEN)
    path.chmod(0o600)
    line = 'listen = "127.0.0.1:0"\n'
    text = site.config_path.read_text()
    assert line in text
    site.config_path.write_text(text.replace(line, f'{line}viewer_token_file = "viewer"\n{more}', 1))


@asynccontextmanager
async def client(agent: Agent, scheme: str = "http", **more: Any) -> AsyncIterator[aiohttp.ClientSession]:
    base = f"{scheme}://localhost:{agent.status.port}"
    timeout = aiohttp.ClientTimeout(total=20)
    jar = aiohttp.CookieJar(unsafe=True)  # a browser keeps cookies of plain addresses, too
    async with aiohttp.ClientSession(base, timeout=timeout, cookie_jar=jar, **more) as http:
        yield http


async def greet(device: Device, wire: PtyWire, agent: Agent) -> None:
    wire.send(device.hello())
    await until(lambda: agent.switchboard.sessions[device.device].boot == device.boot)


async def tell(device: Device, wire: PtyWire, agent: Agent, kind: int, *fields: Any) -> None:
    """One more event, stored when this returns."""
    seq = device.mint(kind, *fields)
    boot, uptime_cs, payload, _ = device.journal[seq]
    wire.send(device.send(Events(seq, boot, uptime_cs, payload, None, 0, None)))
    await until(lambda: agent.switchboard.sessions[device.device].acked_seq == seq)
