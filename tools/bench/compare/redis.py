"""redis in the comparison: a server at the site that appends to its file, the office's is its replica."""

from __future__ import annotations

import asyncio
import importlib
import time
from pathlib import Path
from typing import Any

from tools.bench import packages
from tools.bench.compare.mqtt import text
from tools.bench.compare.peer import Process, end_all
from tools.bench.compare.script import DEVICES, Event
from tools.simulate.processes import free_port

TIMEOUT_S = 2.0


class Redis:
    """compare.peer.Peer; a stream for each device, entries with the event's number so that none can be twice."""

    name = "redis, replica"
    settings = (
        "appendonly yes, appendfsync always, no snapshots; a stream each device; the office is its replica"
    )
    disk = "redis"
    syncs = "always"

    def __init__(self, folder: Path) -> None:
        packages.clients()
        self.wrap: list[str] = []
        self.senders = tuple(range(1, DEVICES + 1))
        self.acked: dict[Event, float] = {}
        self._redis: Any = importlib.import_module("redis.asyncio")
        self._errors: Any = importlib.import_module("redis.exceptions")
        self._command = packages.redis_server()
        self._folder = folder
        self._site: list[Process] = []
        self._office: Process | None = None
        self._port, self._office_port = free_port(), free_port()
        self._waiting: dict[int, asyncio.Queue[Event]] = {}
        self._fed = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._clients: list[Any] = []

    def _server(self, name: str, port: int, settings: str, wrap: list[str]) -> Process:
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        path = self._folder / f"{name}.conf"
        path.write_text(
            f'port {port}\nbind 127.0.0.1\nprotected-mode no\ndir {folder.resolve()}\nsave ""\n'
            "repl-ping-replica-period 2\nrepl-timeout 5\nrepl-diskless-sync yes\nrepl-diskless-sync-delay 0\n"
            f"{settings}"
        )
        return Process(
            [*wrap, *self._command, str(path.resolve())], self._folder / f"{name}.log", self._folder
        )

    async def start_office(self) -> int:
        """The replica; the line leads to the site here, as a replica connects to what it copies."""
        self._office = self._server("office", self._office_port, "appendonly no\n", [])
        await self._office.answers(self._office_port)
        return self._port

    async def start_site(self, line_port: int) -> None:
        """The server that keeps."""
        settings = f"appendonly yes\nappendfsync {self.syncs}\n"
        self._site.append(self._server(self.disk, self._port, settings, self.wrap))
        await self._site[-1].answers(self._port)
        if self._clients:
            return
        await self._client(self._office_port).replicaof("127.0.0.1", line_port)
        for device in self.senders:
            self._waiting[device] = asyncio.Queue()
            self._tasks.append(asyncio.create_task(self._publish(device, self._client(self._port))))

    def _client(self, port: int) -> Any:
        client = self._redis.Redis(port=port, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
        self._clients.append(client)
        return client

    def feed(self, event: Event) -> None:
        """Added to the device's stream, again until the site has said so."""
        self._fed += 1
        self._waiting[event.device].put_nowait(event)

    async def _publish(self, device: int, client: Any) -> None:
        while True:
            event = await self._waiting[device].get()
            while event not in self.acked:
                try:
                    await client.xadd(f"events:d{device}", {"event": text(event)}, id=f"{event.seq}-1")
                    self.acked[event] = time.time()
                except self._errors.ResponseError as error:
                    if "equal or smaller" not in str(error):  # a younger or the same one is there
                        await asyncio.sleep(0.2)
                    else:
                        self.acked[event] = time.time()
                except (self._errors.RedisError, OSError):
                    await asyncio.sleep(0.2)

    def unacknowledged(self) -> int:
        """Without the site's answer."""
        return self._fed - len(self.acked)

    async def received(self) -> list[Event]:
        """The replica's streams, each from its beginning."""
        found: list[Event] = []
        try:
            for device in range(1, DEVICES + 2):
                entries = await self._clients[0].xrange(f"events:d{device}")
                found += [Event(device, int(number.split(b"-")[0])) for number, _ in entries]
        except (self._errors.RedisError, OSError):
            return []
        return found

    def site_processes(self) -> list[Process]:
        """The server at the site."""
        return self._site

    async def stop(self) -> None:
        """Ends all."""
        await end_all(self._tasks, (client.aclose() for client in self._clients), (*self._site, self._office))


class RedisEverySecond(Redis):
    """Synced as most have it."""

    name = "redis everysec, replica"
    settings = "as the other, appendfsync everysec"
    syncs = "everysec"
