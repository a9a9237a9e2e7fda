"""Between a broker and a reader of it that must not lose: notes when the reader took each event over (its PUBACK)."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Iterator

from tools.bench.compare.script import Event

_PUBLISH, _PUBACK = 3, 4
_EVENT = re.compile(rb'"device": ?"d(\d+)", ?"seq": ?(\d+)')


class Packets:
    """Bytes of an MQTT connection -> (type, what is behind the length); any cuts."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The packets that are whole now."""
        self._held += data
        while len(self._held) > 1:
            length = shift = 0
            at = 1
            while at < len(self._held):
                byte = self._held[at]
                length |= (byte & 127) << shift
                shift += 7
                at += 1
                if byte < 128:
                    break
            else:
                return
            if len(self._held) < at + length:
                return
            yield self._held[0] >> 4, bytes(self._held[at : at + length])
            del self._held[: at + length]


class Handover:
    """Passes connections on to the broker's port; taken: when the reader acknowledged an event, CLOCK_REALTIME."""

    def __init__(self, broker_port: int, taken: dict[Event, float]) -> None:
        self._broker_port = broker_port
        self._taken = taken
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self) -> None:
        """Listens on a free port of this machine."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Ends the connections."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        under_way: dict[bytes, Event] = {}
        far_writer: asyncio.StreamWriter | None = None
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._broker_port)
            ways = (
                asyncio.create_task(self._pass(far_reader, writer, under_way)),
                asyncio.create_task(self._pass(reader, far_writer, under_way)),
            )
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
        finally:
            self._tasks.discard(task)
            for end in (writer, far_writer):
                if end is not None:
                    end.close()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, under_way: dict[bytes, Event]
    ) -> None:
        packets = Packets()
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(65_536):
                for kind, body in packets.feed(chunk):
                    self.note(kind, body, under_way)
                writer.write(chunk)
                await writer.drain()

    def note(self, kind: int, body: bytes, under_way: dict[bytes, Event]) -> None:
        """One packet of a connection; under_way: its events without an acknowledgement."""
        found = _EVENT.search(body) if kind == _PUBLISH else None
        if found is not None:  # at QoS 1: the packet's number stands behind the topic
            behind = 2 + int.from_bytes(body[:2], "big")
            under_way[body[behind : behind + 2]] = Event(int(found[1]), int(found[2]))
        elif kind == _PUBACK and body[:2] in under_way:
            self._taken.setdefault(under_way[body[:2]], time.time())
