"""A TCP proxy on loopback between agent and office: delays, goes away, or lets nothing more through."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque

CHUNK = 65_536


class Proxy:
    """Every byte is passed on `delay_s` after it came, in both directions; a connection takes one delay to be made.

    bytes_a_second: of all connections together, towards the office. hold(): half open, nothing passes any more.
    """

    def __init__(self, target: int, delay_s: float = 0.0, bytes_a_second: float = 0.0) -> None:
        self._target = target
        self.delay_s = delay_s
        self.bytes_a_second = bytes_a_second
        self.port = 0
        self.connections = 0
        self.bytes_up = 0
        self._free_s = 0.0
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listens, on the same port as before if it did already."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuses connections and drops the ones there are."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    def hold(self) -> None:
        """Nothing passes, in neither direction; nobody is told."""
        self._flowing.clear()

    def release(self) -> None:
        """What waited passes."""
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        out = None
        try:
            await asyncio.sleep(self.delay_s)
            back, out = await asyncio.open_connection("127.0.0.1", self._target)
            await asyncio.gather(self._pass(reader, out, up=True), self._pass(back, writer, up=False))
        except (OSError, asyncio.CancelledError):
            return
        finally:
            self._tasks.discard(task)
            for each in (writer, out):
                if each is not None:
                    with contextlib.suppress(OSError):
                        each.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        waiting: deque[tuple[float, bytes]] = deque()
        more = asyncio.Event()

        async def read() -> None:
            while True:
                limit = int(self.bytes_a_second / 10) or 1 if up and self.bytes_a_second else CHUNK
                data = await reader.read(limit)
                if up and self.bytes_a_second:
                    now_s = time.monotonic()
                    self._free_s = max(self._free_s, now_s) + len(data) / self.bytes_a_second
                    await asyncio.sleep(self._free_s - now_s)
                waiting.append((time.monotonic() + self.delay_s, data))
                more.set()
                if not data:
                    return

        reading = asyncio.create_task(read())
        try:
            while True:
                await more.wait()
                more.clear()
                while waiting:
                    at_s, data = waiting.popleft()
                    await asyncio.sleep(max(at_s - time.monotonic(), 0))
                    await self._flowing.wait()
                    if not data:
                        writer.write_eof()
                        return
                    self.bytes_up += len(data) * up
                    writer.write(data)
                    await writer.drain()
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
