"""Layer: rows -> one upload -> a receipt: packed off the loop, and as an older office knows it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from edge_agent.errors import OfficeUnreachableError
from edge_agent.store.events import Row
from edge_agent.sync import wire
from edge_agent.sync.post import Post
from edge_agent.sync.wire import DeviceInfo, Receipt

LATER = (408, 425, 429)  # refusals that are about the moment, not about the batch


class Sent(NamedTuple):
    """A receipt, and what it took: bytes on the wire without headers, seconds."""

    receipt: Receipt
    size: int
    took_s: float


class Client:
    """Sends rows over a Post."""

    def __init__(self, post: Post, site: str, edge: str) -> None:
        self._post = post
        self._site, self._edge = site, edge
        self._pool = ThreadPoolExecutor(1, "pack")
        self._version, self._compressed = wire.COLUMNS, True
        self.uploads = 0
        self.bytes_receipted = 0

    async def start(self) -> None:
        """Raises OSError or ssl.SSLError when ca_file is no good."""
        await self._post.start()

    async def stop(self) -> None:
        """Ends; no upload may be under way."""
        await self._post.stop()
        await asyncio.to_thread(self._pool.shutdown)

    def forget(self) -> None:
        """The office was away and may be another version now: what it did not know is tried again."""
        self._version, self._compressed = wire.COLUMNS, True

    async def send(self, lane: str, rows: list[Row], devices: dict[int, DeviceInfo]) -> Sent:
        """The receipt for these rows. Raises OfficeUnreachableError and its leaves, OfficeRefusedError."""
        loop = asyncio.get_running_loop()
        while True:
            version, compressed = self._version, self._compressed
            body = await loop.run_in_executor(
                self._pool, self._pack, lane, rows, devices, version, compressed
            )
            self.uploads += 1
            began_s = loop.time()
            status, answer = await self._post.send(body)
            if status == 200:
                receipt = wire.receipt(answer, lane, rows[0].pos, rows[-1].pos)
                self.bytes_receipted += len(body)
                return Sent(receipt, len(body), loop.time() - began_s)
            if not 400 <= status < 500 or status in LATER:
                raise OfficeUnreachableError(f"HTTP {status}")
            refusal = wire.refusal(status, answer)
            if status == 415 and compressed:
                self._compressed = False
            elif version != wire.VERSION and refusal.field in ("v", "columns"):
                self._version = wire.VERSION
            else:
                raise refusal

    def _pack(
        self, lane: str, rows: list[Row], devices: dict[int, DeviceInfo], version: int, compressed: bool
    ) -> bytes:
        body = wire.encode(self._site, self._edge, lane, rows, devices, version)
        return wire.compress(body) if compressed else body
