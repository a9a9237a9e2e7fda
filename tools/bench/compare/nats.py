"""NATS in the comparison: a JetStream leaf at the site, the hub at the office sources its stream."""

from __future__ import annotations

import asyncio
import importlib
import time
from pathlib import Path
from typing import Any

from tools.bench import packages
from tools.bench.compare.mqtt import text
from tools.bench.compare.peer import START_S, Process, end_all
from tools.bench.compare.script import DEVICES, Event
from tools.simulate.processes import free_port

IN_FLIGHT = 64
NOBODY = "127.0.0.1:9"


class Nats:
    """compare.peer.Peer"""

    name = "NATS leaf to hub"
    settings = "nats-server 2.15, file streams, sync_interval always, Nats-Msg-Id, hub sources the leaf's stream"
    disk = "leaf"
    server = staticmethod(packages.nats_server)
    sync = ", sync_interval: always"

    def __init__(self, folder: Path) -> None:
        packages.clients()
        self.wrap: list[str] = []
        self.senders = tuple(range(1, DEVICES + 1))
        self.acked: dict[Event, float] = {}
        self._nats: Any = importlib.import_module("nats")
        self.server()
        self._folder = folder
        self._site: list[Process] = []
        self._office: Process | None = None
        self._port, self._hub_port = free_port(), free_port()
        self._waiting: asyncio.Queue[Event] = asyncio.Queue()
        self._open = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._client: Any = None
        self._hub: Any = None

    def _server(self, name: str, config: str, command: list[str]) -> Process:
        path = self._folder / f"{name}.conf"
        path.write_text(config)
        return Process([*command, "-c", str(path.resolve())], self._folder / f"{name}.log", self._folder)

    async def start_office(self) -> int:
        """The hub; its stream is made when the leaf is there."""
        leaves = free_port()
        self._office = self._server(
            "hub",
            f"server_name: hub\nlisten: 127.0.0.1:{self._hub_port}\n"
            # Else the leaf is told the hub's own port, and goes around the line; 2.9 does not know no_advertise here.
            f'leafnodes {{ listen: 127.0.0.1:{leaves}, advertise: "{NOBODY}" }}\n'
            f'jetstream {{ domain: hub, store_dir: "{self._folder.resolve()}/hub"{self.sync} }}\n',
            self.server(),
        )
        await self._office.answers(self._hub_port)
        return leaves

    async def start_site(self, line_port: int) -> None:
        """The leaf; streams are made the first time."""
        self._site.append(
            self._server(
                "leaf",
                f"server_name: leaf\nlisten: 127.0.0.1:{self._port}\n"
                f'jetstream {{ domain: site, store_dir: "{self._folder.resolve()}/leaf"{self.sync} }}\n'
                f'leafnodes {{ reconnect: 1, remotes [ {{ url: "nats://127.0.0.1:{line_port}" }} ] }}\n'
                'ping_interval: "2s"\nping_max: 2\n',
                [*self.wrap, *self.server()],
            )
        )
        await self._site[-1].answers(self._port)
        if self._client is not None:
            return
        options = {"max_reconnect_attempts": -1, "reconnect_time_wait": 0.5, "error_cb": _quiet}
        try:
            async with asyncio.timeout(START_S):
                self._client = await self._nats.connect(f"nats://127.0.0.1:{self._port}", **options)
                self._hub = await self._nats.connect(f"nats://127.0.0.1:{self._hub_port}", **options)
        except TimeoutError as error:
            raise RuntimeError("nats-server takes no client") from error
        await self._stream(self._client, name="EVENTS", subjects=["events.>"], storage="file")
        api = importlib.import_module("nats.js.api")
        source = api.StreamSource(name="EVENTS", external=api.ExternalStream(api="$JS.site.API"))
        # Anew: one that is there asks for the leaf's only after a pause of up to 40 s when the leaf came later.
        await self._stream(self._hub, anew=True, name="OFFICE", sources=[source], storage="file")
        self._tasks = [asyncio.create_task(self._publish()) for _ in range(IN_FLIGHT)]

    async def _stream(self, client: Any, *, anew: bool = False, **config: Any) -> None:
        """Made, unless it is there. Raises RuntimeError."""
        errors = importlib.import_module("nats.js.errors")
        manager = client.jetstream()
        try:
            try:
                await manager.stream_info(config["name"])
                if anew:
                    await manager.delete_stream(config["name"])
                    await manager.add_stream(**config)
            except errors.NotFoundError:
                await manager.add_stream(**config)
        except (errors.Error, self._nats.errors.Error) as error:
            raise RuntimeError(f"no stream {config['name']}: {error}") from error

    def feed(self, event: Event) -> None:
        """Published with its identity, again until the leaf has it."""
        self._open += 1
        self._waiting.put_nowait(event)

    async def _publish(self) -> None:
        errors = importlib.import_module("nats.errors")
        stream_errors = importlib.import_module("nats.js.errors")
        stream = self._client.jetstream()
        while True:
            event = await self._waiting.get()
            headers = {"Nats-Msg-Id": f"{event.device}-{event.seq}"}
            subject = f"events.d{event.device}.{event.seq}"
            while True:
                try:
                    await stream.publish(subject, text(event).encode(), timeout=2, headers=headers)
                    self.acked[event] = time.time()
                    break
                except (TimeoutError, errors.Error, stream_errors.Error, OSError):
                    await asyncio.sleep(0.2)
            self._open -= 1

    def unacknowledged(self) -> int:
        """Without the leaf's acknowledgement."""
        return self._open

    async def received(self) -> list[Event]:
        """The hub's stream from its beginning, in its order."""
        stream_errors = importlib.import_module("nats.js.errors")
        stream = self._hub.jetstream()
        found: list[Event] = []
        reader = await stream.subscribe("events.>", stream="OFFICE", ordered_consumer=True)
        try:
            state = (await stream.stream_info("OFFICE")).state
            while len(found) < state.messages:
                message = await reader.next_msg(timeout=10)
                _, device, seq = message.subject.split(".")
                found.append(Event(int(device[1:]), int(seq)))
        except (stream_errors.Error, self._nats.errors.Error):
            return found
        finally:
            await reader.unsubscribe()
        return found

    def site_processes(self) -> list[Process]:
        """The leaf."""
        return self._site

    async def stop(self) -> None:
        """Ends all."""
        clients = (client.close() for client in (self._client, self._hub) if client is not None)
        await end_all(self._tasks, clients, (*self._site, self._office))


class NatsDefault(Nats):
    """Synced as it comes."""

    name = "NATS leaf to hub, syncing as it comes"
    settings = "as the other, without sync_interval: every 2 min"
    sync = ""


class Nats29(NatsDefault):
    """Debian bookworm's, which has no sync_interval always."""

    name = "NATS 2.9 leaf to hub"
    settings = "nats-server 2.9 of Debian, else as NATS syncing as it comes: it knows no other"
    server = staticmethod(packages.nats_server_2_9)


async def _quiet(_: Exception) -> None:
    """Lost connections are the bench's doing."""
