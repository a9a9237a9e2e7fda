"""A site in a folder: configuration, devices, an agent in this process or in its own, the rows of its store."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import apsw

from edge_agent import config as configuration
from edge_agent import runs
from edge_agent.clock import Clock
from edge_agent.daemon import Agent
from edge_agent.store.events import Row
from edge_agent.tests.device import Device
from tools.simulate.processes import end_with_parent, free_port

OWN = 1


async def until(
    condition: Callable[[], Any], deadline_s: float = 10.0, what: str | Callable[[], str] = ""
) -> None:
    """Waits for a condition; fails at the deadline with `what`, asked then if it is a question."""
    try:
        async with asyncio.timeout(deadline_s):
            while not condition():  # noqa: ASYNC110 - what is waited for happens in another process or thread
                await asyncio.sleep(0.002)
    except TimeoutError:
        told = what if isinstance(what, str) else what()
        raise AssertionError(told or "the condition did not come true in time") from None


class Site:
    """The files of one edge; devices 7, 8 ... with keys by their number."""

    name = "s1"

    def __init__(self, folder: Path, devices: int = 2, **tables: str) -> None:
        self.folder = folder
        self.link = folder / "ttyA"
        self.udp_port = free_port(socket.SOCK_DGRAM)
        self.devices = [Device(7 + n, bytes([7 + n]) * 32) for n in range(devices)]
        self.config_path = folder / "edge.toml"
        self.write(**tables)

    def write(self, *, ports: str | None = None, office: str = "", more: str = "") -> None:
        if ports is None:
            ports = (
                f'[[port]]\nkind = "serial"\nname = "A"\npath = "{self.link}"\nreconnect_max_ms = 50\n'
                f'[[port]]\nkind = "udp"\nname = "U"\nlisten = "127.0.0.1:{self.udp_port}"\n'
            )
        self.config_path.write_text(
            f'[edge]\nsite = "{self.name}"\nid = "e1"\ndata_dir = "data"\n[devices]\nfile = "devices.toml"\n'
            f'[status]\nlisten = "127.0.0.1:0"\n{ports}{office}{more}'
        )
        keys = self.folder / "devices.toml"
        keys.write_text(
            "".join(
                f'[[device]]\nid = {d.device}\nname = "T{d.device}"\nrole = "tag"\n'
                f'link_key = "{(bytes([d.device]) * 32).hex()}"\nepoch = {d.keys.epoch}\n'
                for d in self.devices
            )
        )
        keys.chmod(0o600)

    @asynccontextmanager
    async def agent(self, clock: Clock | None = None) -> AsyncIterator[Agent]:
        config = configuration.load(self.config_path)
        agent = Agent(config, clock or Clock())
        await agent.start()
        try:
            yield agent
        finally:
            await agent.stop()

    def rows(self) -> list[Row]:
        connection = apsw.Connection(
            str(self.folder / "data" / "edge.sqlite"), flags=apsw.SQLITE_OPEN_READONLY
        )
        connection.set_busy_timeout(5_000)
        try:
            return [Row(*row) for row in connection.execute("SELECT * FROM log ORDER BY pos")]
        finally:
            connection.close()

    def events(self, device: int) -> dict[int, tuple[int, int, bytes]]:
        """seq -> (boot, uptime_cs, payload); fails on an event that is there twice."""
        found: dict[int, tuple[int, int, bytes]] = {}
        for row in self.rows():
            if row.device == device and row.items:
                for index, (since, payload) in enumerate(runs.split(row.items)):
                    seq = row.first_seq + index
                    assert seq not in found, f"event {seq} of {device} is there twice"
                    found[seq] = (row.boot, row.uptime_cs + since, payload)
        return found

    def check(self, device: Device) -> None:
        """The store holds exactly what the device minted."""
        assert self.events(device.device) == {seq: entry[:3] for seq, entry in device.journal.items()}


class Process:
    """The agent in its own process, to be killed."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.process: asyncio.subprocess.Process

    async def start(self) -> None:
        code = "import asyncio, sys; from edge_agent.daemon import run; asyncio.run(run(sys.argv[1]))"
        root = Path(__file__).parents[2]
        path = os.pathsep.join([str(root), str(root / "protocol")])
        self.log = self._site.folder / "agent.log"
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                code,
                str(self._site.config_path),
                stderr=log,
                env={**os.environ, "PYTHONPATH": path},
                preexec_fn=end_with_parent,  # a test that fails leaves no agent behind
            )

    async def running(self, deadline_s: float = 60.0) -> None:
        """Waits until it says that it runs; what it says instead is the failure."""

        def said() -> str:
            return self.log.read_text(encoding="utf-8") if self.log.exists() else ""

        await until(lambda: '"running"' in said() or self.process.returncode is not None, deadline_s, said)
        assert '"running"' in said(), f"ended with {self.process.returncode}: {said()}"

    async def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            return await self.process.wait()
