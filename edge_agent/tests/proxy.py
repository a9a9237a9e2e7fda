"""The line to the office with a delay, a limited rate, or held: nothing passes until it is let go again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque

from tools.simulate.proxy import LineProxy, Way

CHUNK = 65_536


class Proxy(LineProxy):
    """Every byte is passed on `delay_s` after it came, in both directions; a connection takes one delay to be made.

    bytes_a_second: of all connections together, towards the office. hold(): half open, nothing passes any more.
    """

    def __init__(self, target: int, delay_s: float = 0.0, bytes_a_second: float = 0.0) -> None:
        super().__init__(target)
        self.delay_s = delay_s
        self.bytes_a_second = bytes_a_second
        self.bytes_up = 0
        self._free_s = 0.0
        self._flowing = asyncio.Event()
        self._flowing.set()

    def hold(self) -> None:
        """Nothing passes, in neither direction; nobody is told."""
        self._flowing.clear()

    def release(self) -> None:
        """What waited passes."""
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self.delay_s)
        await super()._serve(reader, writer)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
        waiting: deque[tuple[float, bytes]] = deque()
        more = asyncio.Event()
        limited = self.bytes_a_second > 0 and not way.answers

        async def read() -> None:
            while True:
                data = await reader.read(max(int(self.bytes_a_second / 10), 1) if limited else CHUNK)
                if limited:
                    now_s = time.monotonic()
                    self._free_s = max(self._free_s, now_s) + len(data) / self.bytes_a_second
                    await asyncio.sleep(self._free_s - now_s)
                waiting.append((time.monotonic() + self.delay_s, data))
                more.set()
                if not data:
                    return

        reading = asyncio.create_task(read())
        try:
            with contextlib.suppress(ConnectionError):
                while True:
                    waking = asyncio.create_task(more.wait())
                    await asyncio.wait((waking, reading), return_when=asyncio.FIRST_COMPLETED)
                    waking.cancel()
                    more.clear()
                    if not waiting and reading.done():
                        reading.result()  # the connection broke: so does this end
                        return
                    while waiting:
                        at_s, data = waiting.popleft()
                        await asyncio.sleep(max(at_s - time.monotonic(), 0))
                        await self._flowing.wait()
                        if not data:
                            writer.write_eof()
                            return
                        self.bytes_up += 0 if way.answers else len(data)
                        writer.write(data)
                        await writer.drain()
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
