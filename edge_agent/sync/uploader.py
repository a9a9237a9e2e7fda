"""Layer: delivers the outbox to the office: two lanes, several uploads under way, cursor by receipt."""

from __future__ import annotations

import asyncio
import json
import random
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import apsw

from edge_agent.config import Office
from edge_agent.entries import Job
from edge_agent.errors import OfficeDeniedError, OfficeRefusedError, OfficeUnreachableError
from edge_agent.store import outbox
from edge_agent.store.database import Database
from edge_agent.store.events import Row
from edge_agent.sync import wire
from edge_agent.sync.backoff import Backoff
from edge_agent.sync.post import Post
from edge_agent.sync.wire import DeviceInfo, Receipt

IDLE_S = 30.0  # looks at the outbox this often even if nobody says that something is new


class Batch(NamedTuple):
    """Rows of one upload; full: there may be more behind them."""

    rows: list[Row]
    events: int
    full: bool


class LaneState:
    """What the status page tells of a lane."""

    def __init__(self, name: str, lane: outbox.Lane) -> None:
        self.name = name
        self.cursor = lane.cursor
        self.delivered = lane.delivered
        self.wake = asyncio.Event()
        self.error = ""
        self.failures = 0
        self.denied = ""  # why the office does not let this edge send: a word of sync.signed_post


class Uploader:
    """One task per lane. Rows leave the outbox only when a receipt covers them."""

    def __init__(
        self,
        office: Office,
        site: str,
        edge: str,
        database: Database,
        submit: Callable[[Job], None],
        describe: Callable[[set[int]], dict[int, DeviceInfo]],
        now_ms: Callable[[], int],
        post: Post,
        rng: random.Random,
    ) -> None:
        self._office = office
        self._site, self._edge = site, edge
        self._database = database
        self._submit = submit
        self._describe = describe
        self._now_ms = now_ms
        self._post = post
        self._rng = rng
        self._reader = ThreadPoolExecutor(1, "outbox")
        self._connection: apsw.Connection | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._reached = asyncio.Event()
        self.lanes = {name: LaneState(name, lane) for name, lane in outbox.lanes(database.writer).items()}
        self.receipts = outbox.receipts(database.writer)
        self.last_receipt_ms: int | None = None
        self.uploads = 0
        self.on_outage: Callable[[str | None], None] = lambda _: None
        self.on_receipt: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """Begins to deliver. Raises OSError or ssl.SSLError when ca_file is no good."""
        await self._post.start()
        for lane in self.lanes.values():
            self._tasks.append(asyncio.create_task(self._run(lane), name=f"lane {lane.name}"))

    async def stop(self) -> None:
        """Ends; what is under way may arrive at the office, and is then sent again: the office knows it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._post.stop()
        await asyncio.to_thread(self._reader.shutdown)
        if self._connection is not None:
            self._connection.close()

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """For whoever watches that they live."""
        return self._tasks

    def committed(self, normal: bool, alarm: bool) -> None:
        """New rows are in the outbox."""
        if normal:
            self.lanes["normal"].wake.set()
        if alarm:
            self.lanes["alarm"].wake.set()

    async def _run(self, lane: LaneState) -> None:
        backoff = Backoff(self._office.backoff_min_ms / 1000, self._office.backoff_max_ms / 1000, self._rng)
        while True:
            try:
                await self._drain(lane, backoff)
            except (OfficeUnreachableError, OfficeRefusedError) as error:
                lane.denied = error.state if isinstance(error, OfficeDeniedError) else ""
                self._failed(lane, str(error))
                delay_s = backoff.delay()
                lane.failures = backoff.failures
                self._reached.clear()
                # The other lane getting through ends the pause.
                await _wait(self._reached, delay_s)
                continue
            lane.wake.clear()
            if not await self._read(lane, lane.cursor, 1):
                await _wait(lane.wake, IDLE_S)

    async def _drain(self, lane: LaneState, backoff: Backoff) -> None:
        """Sends until nothing waits. Several uploads at once only behind full ones and after a first success."""
        under_way: deque[tuple[Batch, asyncio.Task[Receipt]]] = deque()
        sent = lane.cursor
        more = True
        proven = False
        try:
            while True:
                while more and len(under_way) < (self._office.in_flight if proven else 1):
                    batch = await self._read(lane, sent, self._office.batch_rows)
                    if not batch:
                        more = False
                        break
                    sent = batch.rows[-1].pos
                    under_way.append((batch, asyncio.create_task(self._upload(lane, batch.rows))))
                    more = batch.full
                if not under_way:
                    return
                batch, task = under_way[0]
                receipt = await task
                under_way.popleft()
                await self._receipted(lane, batch, receipt)
                backoff.reset()
                proven = True
                if receipt.through < batch.rows[-1].pos:
                    return  # a part only: what follows is read again from the cursor
        finally:
            for _, task in under_way:
                task.cancel()
            await asyncio.gather(*(task for _, task in under_way), return_exceptions=True)

    async def _read(self, lane: LaneState, after: int, max_rows: int) -> Batch | None:
        def read() -> list[Row]:
            if self._connection is None:
                self._connection = self._database.reader()
            return outbox.read(self._connection, lane.name, after, max_rows, self._office.batch_bytes)

        try:
            rows = await asyncio.get_running_loop().run_in_executor(self._reader, read)
        except apsw.Error as error:
            raise OfficeUnreachableError(f"the outbox can't be read: {error}") from error
        if not rows:
            return None
        size = sum(len(row.items) for row in rows)
        full = len(rows) >= max_rows or size * 4 >= self._office.batch_bytes * 3
        return Batch(rows, sum(row.last_seq - row.first_seq + 1 for row in rows), full)

    async def _upload(self, lane: LaneState, rows: list[Row]) -> Receipt:
        body = wire.encode(
            self._site, self._edge, lane.name, rows, self._describe({row.device for row in rows})
        )
        self.uploads += 1
        status, found = await self._post.send(body)
        if 400 <= status < 500 and status not in (408, 425, 429):
            raise _refusal(status, found)
        if status != 200:
            raise OfficeUnreachableError(f"HTTP {status}")
        return wire.receipt(found, lane.name, rows[0].pos, rows[-1].pos)

    async def send_head(self, body: bytes) -> tuple[int, bytes]:
        """The statement of a signed head -> status and answer. Raises OfficeUnreachableError."""
        return await self._post.send(body, "heads")

    async def _receipted(self, lane: LaneState, batch: Batch, receipt: Receipt) -> None:
        events = batch.events
        if receipt.through < batch.rows[-1].pos:
            events = sum(r.last_seq - r.first_seq + 1 for r in batch.rows if r.pos <= receipt.through)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def apply(connection: apsw.Connection) -> None:
            outbox.advance(connection, lane.name, receipt.through, events, receipt.devices)

        self._submit(Job(apply, lambda: None if done.done() else done.set_result(None)))
        await done
        lane.cursor = receipt.through
        lane.delivered += events
        lane.failures = 0
        self.receipts.update(receipt.devices)
        self.last_receipt_ms = self._now_ms()
        self._reached.set()
        self.on_receipt()
        if lane.error:
            lane.error = lane.denied = ""
            self.on_outage(None)

    def _failed(self, lane: LaneState, error: str) -> None:
        if not lane.error:
            self.on_outage(error)
        lane.error = error


def _refusal(status: int, body: bytes) -> OfficeRefusedError:
    try:
        error = json.loads(body)["error"]
        field, message = str(error["field"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        field, message = "", "no explanation given"
    printable = "".join(c if c.isprintable() else "?" for c in message)
    return OfficeRefusedError(status, field[:60], printable[:200])


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
