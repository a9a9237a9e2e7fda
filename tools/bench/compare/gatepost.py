"""Gatepost in the comparison: real agent, real office; devices over UDP that keep what is not acknowledged."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import apsw

from edge_agent.tests.device import Device, UdpWire
from tools.bench import office
from tools.bench.compare.peer import Process
from tools.bench.compare.script import DEVICES, Event
from tools.simulate.processes import free_port

RESEND_S = 1.0
LOOK_S = 0.1
BATCH = 20
SITE_NUMBER = 100  # the script's device 1 is 101 here


class Sender:
    """A device on UDP: a live event at once, what is not acknowledged in time again, in batches."""

    def __init__(self, device: Device, wire: UdpWire, acked: dict[Event, float]) -> None:
        self.device = device
        self._wire = wire
        self._acked = acked
        self._heard_s = time.monotonic()
        self._task = asyncio.create_task(self._run())

    def stop(self) -> None:
        """Closes. Raises what went wrong at the device."""
        self._wire.close()
        if not self._task.cancel():
            self._task.result()

    def mint(self) -> None:
        """One more event, sent at once."""
        seq = self.device.mint()
        if self.device.welcomed:
            self._wire.send(self.device.batch(seq, 1))

    @property
    def pending(self) -> int:
        """Events without an acknowledgement."""
        return self.device.last_seq - self.device.acked

    async def _run(self) -> None:
        while True:
            self._send_again()
            try:
                async with asyncio.timeout(LOOK_S):
                    while True:
                        self._hear(await self._wire.inbox.get())
            except TimeoutError:
                continue

    def _send_again(self) -> None:
        device = self.device
        if not device.welcomed:
            self._wire.send(device.hello())
        elif self.pending and time.monotonic() - self._heard_s > RESEND_S:
            for first in range(device.acked + 1, min(device.last_seq, device.acked + 16 * BATCH) + 1, BATCH):
                self._wire.send(device.batch(first, BATCH))

    def _hear(self, frame: bytes) -> None:
        before = self.device.acked
        self.device.take(frame)
        for seq in range(before + 1, self.device.acked + 1):
            self._acked[Event(self.device.device - SITE_NUMBER, seq)] = time.time()
            self._heard_s = time.monotonic()


class Gatepost:
    """compare.peer.Peer"""

    name = "Gatepost"
    settings = "as it comes (SQLite FULL, ack after commit), timeout_s 5"
    disk = "edge"

    def __init__(self, folder: Path) -> None:
        self.wrap: list[str] = []
        self.senders = tuple(range(1, DEVICES + 1))
        self.acked: dict[Event, float] = {}
        self._folder = folder
        self._office = ExitStack()
        self._site: list[Process] = []
        self._devices: dict[int, Sender] = {}
        self._udp = free_port(socket.SOCK_DGRAM)
        self._token = ""
        # The same in every run: an agent that goes on with a store knows its devices.
        self._keys = {n: hashlib.sha256(b"compare %d" % n).digest() for n in range(1, DEVICES + 2)}

    async def start_office(self) -> int:
        """The office server with one site."""
        found = await asyncio.to_thread(self._office.enter_context, office.running(self._folder))
        self._token = found.token
        return found.port

    async def start_site(self, line_port: int) -> None:
        """The edge agent; the devices stay what they are over its restarts."""
        keys = self._folder / "devices.toml"
        keys.write_text(
            "".join(
                f'[[device]]\nid = {SITE_NUMBER + n}\nrole = "tag"\nlink_key = "{key.hex()}"\n'
                for n, key in self._keys.items()
            )
        )
        keys.chmod(0o600)
        status = free_port()
        path = self._folder / "edge.toml"
        path.write_text(
            f'[edge]\nsite = "{office.SITE}"\nid = "e1"\ndata_dir = "edge"\n[devices]\nfile = "devices.toml"\n'
            f'[office]\nurl = "http://127.0.0.1:{line_port}"\ntoken = "{self._token}"\ntimeout_s = 5\n'
            f'[status]\nlisten = "127.0.0.1:{status}"\n'
            f'[[port]]\nkind = "udp"\nlisten = "127.0.0.1:{self._udp}"\n'
        )
        path.chmod(0o600)
        command = [*self.wrap, sys.executable, "-m", "tools.cli", "edge", "run", "--config", str(path)]
        self._site.append(Process(command, self._folder / "edge.log", Path.cwd()))
        await self._site[-1].answers(status)
        if not self._devices:
            for n in self.senders:
                device = Device(SITE_NUMBER + n, self._keys[n])
                self._devices[n] = Sender(device, await UdpWire.to(self._udp), self.acked)

    def feed(self, event: Event) -> None:
        """One more event on a device."""
        self._devices[event.device].mint()

    def unacknowledged(self) -> int:
        """What the devices still hold."""
        return sum(device.pending for device in self._devices.values())

    async def received(self) -> list[Event]:
        """Each device's history as the office gives it to readers; the edge's own events are not counted."""
        return await asyncio.to_thread(self._history)

    def _history(self) -> list[Event]:
        reader = apsw.Connection(str(self._folder / "office" / "office.db"), flags=apsw.SQLITE_OPEN_READONLY)
        reader.set_busy_timeout(5_000)
        try:
            rows = reader.execute(
                "SELECT device, seq FROM site_event WHERE device > ? ORDER BY device, seq", (SITE_NUMBER,)
            )
            return [Event(int(device) - SITE_NUMBER, int(seq)) for device, seq in rows]
        finally:
            reader.close()

    def site_processes(self) -> list[Process]:
        """The agent, and those that were killed."""
        return self._site

    async def stop(self) -> None:
        """Ends all."""
        try:
            for device in self._devices.values():
                device.stop()
        finally:
            for process in self._site:
                await process.end()
            await asyncio.to_thread(self._office.close)
