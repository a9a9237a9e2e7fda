"""Layer: delivers the outbox to the office: two lanes, live rows ahead of a backlog, several uploads under way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

import apsw

from edge_agent.config import Office
from edge_agent.entries import Job, committed
from edge_agent.errors import (
    OfficeAwayError,
    OfficeDeniedError,
    OfficeRefusedError,
    OfficeSilentError,
    OfficeUnreachableError,
)
from edge_agent.reading import Reader
from edge_agent.store import outbox
from edge_agent.store.database import Database
from edge_agent.store.outbox import Part, Receipts, Refused
from edge_agent.sync.backoff import Backoff
from edge_agent.sync.client import Client
from edge_agent.sync.post import Post
from edge_agent.sync.probe import Probe
from edge_agent.sync.refusals import MAX_IN_A_ROW, RETRY_MS, RETRY_ROWS, cut, of_rows
from edge_agent.sync.sizing import Sizing
from edge_agent.sync.spans import Spans
from edge_agent.sync.wire import DeviceInfo

IDLE_S = 30.0  # looks at the outbox this often even if nobody says that something is new
ENDING_S = 1.0  # how long a stop waits for receipts
BEHIND = 4  # live rows that are more uploads behind than this become backlog, and younger ones are live

_T = TypeVar("_T")
Failure = OfficeUnreachableError | OfficeRefusedError


class LaneState:
    """A lane while it runs; what the status page tells of it."""

    def __init__(self, name: str, lane: outbox.Lane, sizing: Sizing) -> None:
        self.name = name
        self.spans = Spans(lane.coverage)
        self.sizing = sizing
        self.delivered = lane.delivered
        self.wake = asyncio.Event()
        self.error = ""
        self.failures = 0
        self.denied = ""  # why the office does not let this edge send: a word of sync.signed_post
        self.aside_in_a_row = 0
        self.aside_devices: set[int] = set()  # whose those rows are
        self.under_way: dict[asyncio.Task[None], Part] = {}

    @property
    def cursor(self) -> int:
        """The office has every row of the lane up to here."""
        return self.spans.covered.upto


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
        self._submit = submit
        self._describe = describe
        self._now_ms = now_ms
        self._rng = rng
        self._reader = Reader(database, "outbox")
        self._post = post
        self.client = Client(post, site, edge)
        self.probe = Probe(post.reached, office.probe_s, rng)
        self._tasks: list[asyncio.Task[None]] = []
        self._ending = False
        self._reached = asyncio.Event()
        self.lanes = {
            name: LaneState(name, lane, Sizing(office.batch_bytes, office.in_flight))
            for name, lane in outbox.lanes(database.writer).items()
        }
        self.receipts = outbox.receipts(database.writer)
        self._noted_s: dict[int, float] = {}  # when the receipt of a device was noted
        self._retry_before_ms = now_ms()  # refused rows that were last tried before then are tried once
        self.last_receipt_ms: int | None = None
        self.on_outage: Callable[[str | None], None] = lambda _: None
        self.on_receipt: Callable[[], None] = lambda: None
        self.on_refused: Callable[[Refused], None] = lambda _: None

    async def start(self) -> None:
        """Begins to deliver. Raises OSError or ssl.SSLError when ca_file is no good."""
        await self.client.start()
        for lane in self.lanes.values():
            self._tasks.append(asyncio.create_task(self._run(lane), name=f"lane {lane.name}"))

    async def stop(self) -> None:
        """Ends. What is still under way after ENDING_S may arrive, and is then sent again: the office knows it."""
        self._ending = True
        under_way = [task for lane in self.lanes.values() for task in lane.under_way]
        if under_way:
            await asyncio.wait(under_way, timeout=ENDING_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.client.stop()
        await self._reader.close()

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """For whoever watches that they live."""
        return self._tasks

    @property
    def uploads(self) -> int:
        """Requests so far."""
        return self.client.uploads

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
                await self._retry_refused(lane)
            except (OfficeUnreachableError, OfficeRefusedError) as error:
                lane.denied = error.state if isinstance(error, OfficeDeniedError) else ""
                self._failed(lane, str(error))
                delay_s = backoff.delay()
                lane.failures = backoff.failures
                await self._pause(delay_s, error)
                continue
            if not self._ending and not lane.wake.is_set():  # nothing waits, not even what was refused
                backoff.reset()
                self._well(lane)
            await _first({lane.wake.wait()}, IDLE_S)

    async def _pause(self, delay_s: float, error: Failure) -> None:
        """Ends early when the other lane gets through, or when the way to the office is back.

        Where the office lets this edge not in, the way is there: somebody has to act, and knocking helps nobody.
        """
        self._reached.clear()
        ends: set[Coroutine[Any, Any, object]] = {self._reached.wait()}
        if isinstance(error, OfficeUnreachableError):
            self.client.forget()
            if not isinstance(error, OfficeDeniedError):
                ends.add(self.probe.back(away=isinstance(error, OfficeAwayError)))
        await _first(ends, delay_s)

    async def _drain(self, lane: LaneState, backoff: Backoff) -> None:
        """Sends until nothing waits. Several uploads at once only behind full ones and after a first success."""
        proven = False
        failure: Failure | None = None
        try:
            while True:
                lane.wake.clear()
                if failure is None:
                    await self._fill(lane, proven)
                if not lane.under_way:
                    if failure is not None:
                        raise failure
                    return
                # After a failure the others may still get through: what they carry need not be sent twice.
                wake = asyncio.ensure_future(lane.wake.wait())
                waits: set[asyncio.Future[Any]] = {*lane.under_way}
                if failure is None and lane.spans.live_from:
                    waits.add(wake)
                try:
                    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    wake.cancel()
                for task in [task for task in lane.under_way if task.done()]:
                    lane.spans.ended(lane.under_way.pop(task))
                    error = task.exception()
                    if error is None:
                        proven = True
                        backoff.reset()
                    elif isinstance(error, OfficeUnreachableError | OfficeRefusedError):
                        failure = failure or error
                    else:
                        raise error
        finally:
            left = list(lane.under_way)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            for task in left:
                lane.spans.ended(lane.under_way.pop(task))

    async def _fill(self, lane: LaneState, proven: bool) -> None:
        """Puts as much under way as the link takes: live rows first, then the oldest."""
        if self._ending:
            return
        if proven:
            span = lane.spans.next_live()
            if span is not None:
                await self._put_under_way(lane, *span, live=True)
        limit = lane.sizing.in_flight if proven else 1
        while sum(1 for part in lane.under_way.values() if not self._is_live(lane, part)) < limit:
            if not lane.spans.live_from and any(not part.full for part in lane.under_way.values()):
                return  # what comes in meanwhile goes together, when this one is receipted
            span = lane.spans.next()
            if span is None or not await self._put_under_way(lane, *span, live=False):
                return

    def _is_live(self, lane: LaneState, part: Part) -> bool:
        return 0 < lane.spans.live_from <= part.first

    async def _put_under_way(self, lane: LaneState, first: int, last: int, *, live: bool) -> bool:
        """Reads rows and begins to send them. False when there are none."""
        part = await self._read(lane.name, first, last, self._office.batch_rows, lane.sizing.budget)
        if part.rows:
            lane.spans.read(part, live=live, behind_rows=BEHIND * len(part.rows))
            task = asyncio.create_task(self._deliver(lane, part), name=f"upload {lane.name} {part.first}")
            lane.under_way[task] = part
            return True
        if last < outbox.LAST_POS and part.through >= last:
            # A range between others in which the lane has nothing.
            await committed(
                self._submit, lambda connection: outbox.delivered(connection, lane.name, first, last, 0, {})
            )
            lane.spans.done(first, last)
            return not live
        return False

    async def _read(self, lane: str, first: int, last: int, max_rows: int, max_bytes: int) -> Part:
        def read(connection: apsw.Connection) -> Part:
            return outbox.read(connection, lane, first, last, max_rows, max_bytes)

        return await self._on_reader(read)

    async def _on_reader(self, call: Callable[[apsw.Connection], _T]) -> _T:
        try:
            return await self._reader.read(call)
        except apsw.Error as error:
            raise OfficeUnreachableError(f"the outbox can't be read: {error}") from error

    async def _deliver(self, lane: LaneState, part: Part) -> None:
        """Until every row of the part is receipted or set aside. Raises Failure; what was done by then stays done."""
        waiting = [part]
        while waiting:
            piece = waiting.pop()
            try:
                through = await self._send(lane, piece)
            except OfficeRefusedError as error:
                if not of_rows(error):
                    raise
                if error.status == 413:
                    lane.sizing.too_large()
                pieces = cut(piece, error)
                if not pieces:
                    await self._set_aside(lane, piece, error)
                waiting += reversed(pieces)
            else:
                if through < piece.through:
                    return  # a part only: what follows is read again

    async def _send(self, lane: LaneState, part: Part) -> int:
        """Sends rows, records the receipt; returns up to where the office has them."""
        began_s = asyncio.get_running_loop().time()
        under_way = len(lane.under_way)
        try:
            sent = await self.client.send(
                lane.name, part.rows, self._describe({row.device for row in part.rows})
            )
        except OfficeSilentError:
            lane.sizing.failed()
            raise
        size = sum(len(row.items) + outbox.ROW_COST for row in part.rows)
        if len(part.rows) >= self._office.batch_rows:
            size = lane.sizing.budget  # could not be larger
        lane.sizing.succeeded(size, part.full, sent.took_s, under_way)
        receipt = sent.receipt
        through, events = part.through, part.events
        if receipt.through < part.rows[-1].pos:
            through = receipt.through
            events = sum(r.last_seq - r.first_seq + 1 for r in part.rows if r.pos <= through)
        news = self._news(receipt.devices, began_s)
        await committed(
            self._submit,
            lambda connection: outbox.delivered(connection, lane.name, part.first, through, events, news),
        )
        lane.spans.done(part.first, through)
        self._receipted(lane, events, news)
        return through

    async def send_head(self, body: bytes) -> tuple[int, bytes]:
        """The statement of a signed head -> status and answer. Raises OfficeUnreachableError."""
        return await self._post.send(body, "heads")

    def _news(self, receipts: Receipts, began_s: float) -> Receipts:
        """Without what another upload that was under way at the same time has learnt better meanwhile."""
        return {
            device: state
            for device, state in receipts.items()
            if began_s >= self._noted_s.get(device, 0.0) or state[0] >= self.receipts.get(device, (0, []))[0]
        }

    def _receipted(self, lane: LaneState, events: int, news: Receipts) -> None:
        lane.delivered += events
        lane.aside_in_a_row = 0
        lane.aside_devices.clear()
        self.receipts.update(news)
        self._noted_s.update(dict.fromkeys(news, asyncio.get_running_loop().time()))
        self.last_receipt_ms = self._now_ms()
        self._reached.set()
        self.on_receipt()
        self._well(lane)

    def _well(self, lane: LaneState) -> None:
        lane.failures = 0
        if lane.error:
            lane.error = lane.denied = ""
            self.on_outage(None)

    def _failed(self, lane: LaneState, error: str) -> None:
        if not lane.error:
            self.on_outage(error)
        lane.error = error

    # Rows that the office refuses for good.

    async def _set_aside(self, lane: LaneState, part: Part, error: OfficeRefusedError) -> None:
        """One row is refused: it stays in the log, and what stands behind it goes on."""
        lane.aside_in_a_row += 1
        lane.aside_devices.add(part.rows[0].device)
        if lane.aside_in_a_row > MAX_IN_A_ROW and len(lane.aside_devices) > 1:
            raise error  # not the rows are wrong, but everything: the lane waits
        now_ms = self._now_ms()
        refused = Refused(part.rows[0].pos, lane.name, now_ms, now_ms, str(error))
        await committed(
            self._submit, lambda connection: outbox.set_aside(connection, part.first, part.through, refused)
        )
        lane.spans.done(part.first, part.through)
        self.on_refused(refused)

    async def _retry_refused(self, lane: LaneState) -> None:
        """Once after a start, then once a day: the office may have been mended or renewed. Fresh rows go first."""
        before_ms = max(self._retry_before_ms, self._now_ms() - RETRY_MS)
        for refused in await self._on_reader(
            lambda connection: outbox.refused(connection, lane.name, before_ms, RETRY_ROWS)
        ):
            if self._ending or lane.wake.is_set():
                return
            part = await self._read(lane.name, refused.pos, refused.pos, 1, 1)
            began_s = asyncio.get_running_loop().time()
            try:
                sent = await self.client.send(
                    lane.name, part.rows, self._describe({row.device for row in part.rows})
                )
            except OfficeRefusedError as error:
                if not of_rows(error):
                    raise
                again = refused._replace(tried_ms=self._now_ms(), reason=str(error))
                await committed(self._submit, partial(outbox.refused_again, row=again))
                continue
            news = self._news(sent.receipt.devices, began_s)
            taken = partial(outbox.taken_after_all, row=refused, count=part.events, receipts=news)
            await committed(self._submit, taken)
            self._receipted(lane, part.events, news)


async def _first(ends: set[Coroutine[Any, Any, object]], seconds: float) -> None:
    """Returns when one of them has ended, or after so many seconds."""
    tasks = [asyncio.ensure_future(each) for each in ends]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
