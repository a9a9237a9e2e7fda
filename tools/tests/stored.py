"""A site with an agent of its own, its store, and what the office holds of it: for backup, restore and downgrade."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import apsw

from edge_agent.store import copies
from edge_agent.store.database import FILE_NAME
from edge_agent.tests.device import PtyWire, UdpWire, Wire, sync
from edge_agent.tests.harness import Process, Site
from tools import cli
from tools.office.store.base import LOG_REASONS
from tools.office.tests.process import Server

TOKEN = "token-of-s1-for-tests"


def at_office(server: Server, device: int) -> dict[int, list[str]]:
    """seq -> payloads under every boot."""
    found: dict[int, list[str]] = {}
    for seq, _, _, payload in server.history(device, "s1"):
        found.setdefault(seq, []).append(payload)
    return found


def to(server: Server) -> str:
    return (
        f'[office]\nurl = "http://127.0.0.1:{server.port}"\ntoken = "{TOKEN}"\n'
        "backoff_min_ms = 20\nbackoff_max_ms = 100\nhead_pause_s = 0.1\n"
    )


def of_office(folder: Path, query: str) -> list[tuple[Any, ...]]:
    connection = apsw.Connection(
        str(folder / "office" / "data" / "office.db"), flags=apsw.SQLITE_OPEN_READONLY
    )
    connection.set_busy_timeout(5_000)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def heads(folder: Path) -> list[tuple[int, int]]:
    return of_office(folder, "SELECT first_pos, size FROM log_head")


def said_of_the_log(folder: Path) -> set[str]:
    return {LOG_REASONS[reason] for (reason,) in of_office(folder, "SELECT reason FROM log_finding")}


def waiting(site: Site) -> int:
    connection = apsw.Connection(str(site.folder / "data" / FILE_NAME), flags=apsw.SQLITE_OPEN_READONLY)
    connection.set_busy_timeout(5_000)
    try:
        return copies.contents(connection).waiting
    except apsw.Error:
        return -1
    finally:
        connection.close()


@asynccontextmanager
async def running(site: Site) -> AsyncIterator[Process]:
    agent = Process(site)
    await agent.start()
    try:
        yield agent
    finally:
        if agent.process.returncode is None:
            assert await agent.end() == 0


def gatepost(*arguments: str) -> int:
    return cli.main(["edge", *arguments])


async def mint_and_sync(site: Site, wires: list[Wire], count: int) -> None:
    for device in site.devices:
        for _ in range(count):
            device.mint()
    await asyncio.gather(*(sync(d, w) for d, w in zip(site.devices, wires, strict=True)))


async def small_site(folder: Path, count: int = 20) -> Site:
    """A site that has collected something, its agent stopped."""
    site = Site(folder)
    wires: list[Wire] = [PtyWire(site.link), await UdpWire.to(site.udp_port)]
    async with running(site):
        await mint_and_sync(site, wires, count)
    for wire in wires:
        wire.close()
    return site


def back_up(site: Site, name: str = "b.tar") -> Path:
    assert gatepost("backup", "--config", str(site.config_path), "--to", str(site.folder / name)) == 0
    return site.folder / name


def leftovers(folder: Path) -> list[Path]:
    return list(folder.glob(".backup-*"))


def everything(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != "agent.lock"
    }


def all_of(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY) as connection:
        tables = [
            str(name)
            for (name,) in connection.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
            )
        ]
        return {name: connection.execute(f'SELECT * FROM "{name}"').fetchall() for name in tables}
