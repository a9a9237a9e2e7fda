"""Gatepost in the comparison: real agent, real office; devices over UDP that keep what is not acknowledged."""

from __future__ import annotations

import asyncio
import secrets
import socket
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import apsw

from gatelink import cose, events, messages
from gatelink.errors import GatelinkError
from gatelink.messages import Ack, Events, Hello, Welcome
from tools.bench import office
from tools.bench.compare.peer import Process
from tools.bench.compare.script import DEVICES, Event

RESEND_S = 1.0
BATCH = 20
SITE_NUMBER = 100  # the script's device 1 is 101 here


class Device(asyncio.DatagramProtocol):
    """A device on gatelink: a live event at once, what is not acknowledged in time again, in batches."""

    def __init__(self, device: int, link_key: bytes, port: int) -> None:
        self.number = device
        self._keys = cose.derive(link_key, device, 0)
        self._nonce = secrets.token_bytes(8)
        self._counter = 0
        self._started_s = time.monotonic()
        self._port = port
        self._journal: list[tuple[int, bytes]] = []  # uptime_cs, payload of event 1, 2 ...
        self._acked = 0
        self._welcome = False
        self._heard_s = self._started_s
        self._transport: asyncio.DatagramTransport | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Opens its socket and says hello until it is welcome."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: self, remote_addr=("127.0.0.1", self._port)
        )
        self._task = asyncio.create_task(self._again())

    def stop(self) -> None:
        """Closes."""
        if self._task is not None:
            self._task.cancel()
        if self._transport is not None:
            self._transport.close()

    def mint(self) -> None:
        """One more event, sent at once."""
        self._journal.append((self._uptime_ms() // 10, events.encode(events.VISIT, secrets.token_bytes(7))))
        if self._welcome:
            self._send_events(len(self._journal), 1)

    @property
    def pending(self) -> int:
        """Events without an acknowledgement."""
        return len(self._journal) - self._acked

    def datagram_received(self, data: bytes, _: tuple[str | object, int]) -> None:
        """An answer of the agent."""
        try:
            message = messages.decode(cose.DOWN, cose.open_(self._keys, cose.DOWN, data, self._nonce)[1])
        except GatelinkError:
            return
        if isinstance(message, Welcome | Ack):
            self._welcome = True
            if message.acked_seq > self._acked:
                self._acked = message.acked_seq
                self._heard_s = time.monotonic()

    def error_received(self, _: Exception) -> None:
        """The agent is not there at the moment."""

    def _uptime_ms(self) -> int:
        return int((time.monotonic() - self._started_s) * 1000)

    def _send(self, message: object) -> None:
        assert self._transport is not None
        piv = 1 << 16 | self._counter
        self._counter += 1
        self._transport.sendto(cose.seal(self._keys, cose.UP, piv, messages.encode(message)))

    def _send_events(self, first: int, count: int) -> None:
        chosen = self._journal[first - 1 : first - 1 + count]
        items = events.join([uptime for uptime, _ in chosen], [payload for _, payload in chosen])
        self._send(Events(first, 1, chosen[0][0], items, bytes(8) if count > 1 else None, 0, None))

    async def _again(self) -> None:
        while True:
            if not self._welcome:
                last = len(self._journal)
                self._send(Hello(messages.VERSION, 1, self._nonce, self._uptime_ms(), 1, "compare", 1, last + 1))
            elif self.pending and time.monotonic() - self._heard_s > RESEND_S:
                for first in range(self._acked + 1, min(len(self._journal), self._acked + 16 * BATCH) + 1, BATCH):
                    self._send_events(first, min(BATCH, len(self._journal) - first + 1))
            await asyncio.sleep(0.1)


class Gatepost:
    """compare.peer.Peer"""

    name = "Gatepost"
    settings = "as it comes (SQLite FULL, ack after commit), timeout_s 5"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._office = ExitStack()
        self._site: list[Process] = []
        self._devices: list[Device] = []
        self._udp = _free_udp()
        self._token = ""
        self._keys = [secrets.token_bytes(32) for _ in range(DEVICES)]

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
                for n, key in enumerate(self._keys, 1)
            )
        )
        keys.chmod(0o600)
        status = office.free_port()
        path = self._folder / "edge.toml"
        path.write_text(
            f'[edge]\nsite = "{office.SITE}"\nid = "e1"\ndata_dir = "edge"\n[devices]\nfile = "devices.toml"\n'
            f'[office]\nurl = "http://127.0.0.1:{line_port}"\ntoken = "{self._token}"\ntimeout_s = 5\n'
            f'[status]\nlisten = "127.0.0.1:{status}"\n'
            f'[[port]]\nkind = "udp"\nlisten = "127.0.0.1:{self._udp}"\n'
        )
        path.chmod(0o600)
        command = [sys.executable, "-m", "tools.cli", "edge", "run", "--config", str(path)]
        self._site.append(Process(command, self._folder / "edge.log", Path.cwd()))
        await self._site[-1].answers(status)
        if not self._devices:
            self._devices = [Device(SITE_NUMBER + n, key, self._udp) for n, key in enumerate(self._keys, 1)]
            for device in self._devices:
                await device.start()

    def feed(self, event: Event) -> None:
        """One more event on a device."""
        self._devices[event.device - 1].mint()

    def unacknowledged(self) -> int:
        """What the devices still hold."""
        return sum(device.pending for device in self._devices)

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
        for device in self._devices:
            device.stop()
        for process in self._site:
            await process.end()
        await asyncio.to_thread(self._office.close)


def _free_udp() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
