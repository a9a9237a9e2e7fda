"""Layer: keeps room on the disk: deletes what was delivered long ago, gives space back, stops intake when full."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import apsw

from edge_agent import fullness, own_events
from edge_agent.entries import Job, committed
from edge_agent.errors import StoreClosedError, StoreError
from edge_agent.fullness import DAY_MS, MIB
from edge_agent.logs import Log
from edge_agent.reading import Reader
from edge_agent.store import retention
from edge_agent.store.database import Database
from edge_agent.store.disk import Disk

LOOK_S = 1.0  # between looks at the disk
MARK_MS = 3_600_000  # between notes of how far delivery is
RATE_MS = 7 * DAY_MS  # what the forecast goes by
STEP_ROWS = 1_000  # deleted in one commit
STEP_PAGES = 64  # given back in one commit
WAL_BYTES = 1 << 20  # a WAL that is larger is cut when room is short
KEPT_PAGES = 256  # free pages that stay in the file: the next rows need them
FULL = "full"  # in SQLite's words for a disk without room

_log = Log("disk")


class Limits(NamedTuple):
    """Of the configuration; bytes."""

    keep_days: int
    reserve: int
    ballast: int


class Room:
    """One task. `full`: events are to be left with their devices."""

    def __init__(
        self,
        limits: Limits,
        disk: Disk,
        database: Database,
        submit: Callable[[Job], None],
        stalled: Callable[[], str],
        now_ms: Callable[[], int],
        time_known: Callable[[], bool],
        record: Callable[[bytes], None],
    ) -> None:
        self._limits = limits
        self._disk = disk
        self._database = database
        self._submit = submit
        self._stalled = stalled
        self._now_ms = now_ms
        self._time_known = time_known
        self._record = record
        self._reader = Reader(database, "room")
        self._task: asyncio.Task[None] | None = None
        self._started_ms = now_ms()
        self._marked_ms: int | None = None
        self._owing = False  # pages were given back that the file system doesn't have yet
        self.full = False
        self.problem = ""
        self.pruned_rows = 0
        self.pressed_rows = 0  # of them deleted before keep_days
        self.days_left: int | None = None

    def start(self) -> None:
        """Begins, on the running loop."""
        self._task = asyncio.create_task(self._run(), name="room")

    async def stop(self) -> None:
        """Ends; the ballast stays, so that the next start has it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._reader.close()

    def stepped(self, by_ms: int) -> None:
        """This machine's clock was set: the marks of this run were made by the clock before."""
        since_ms = self._started_ms
        self._started_ms += by_ms
        if self._marked_ms is not None:
            self._marked_ms += by_ms
        # The answers of the last commit look at the clock, too: then the marks stay as they are.
        with contextlib.suppress(StoreClosedError):
            self._submit(Job(lambda connection: retention.shift_marks(connection, since_ms, by_ms)))

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """For whoever watches that it lives."""
        return [self._task] if self._task is not None else []

    def describe(self) -> dict[str, Any]:
        """For the status."""
        return {
            "state": "full" if self.full else "ok",
            "free_bytes": self._disk.free(),
            "reserve_bytes": self._limits.reserve,
            "ballast_bytes": self._disk.ballast(),
            "problem": self.problem,
            "keep_days": self._limits.keep_days,
            "days_left": self.days_left,
            "pruned_rows": self.pruned_rows,
            "pressed_rows": self.pressed_rows,
        }

    async def _run(self) -> None:
        try:
            while True:
                try:
                    await self._look()
                    if not self.full:
                        await self._keep()
                    await self._settle()
                    self.problem = ""
                except (StoreError, apsw.Error, OSError) as error:
                    if str(error) != self.problem:  # again at the next look
                        _log.error("room on the disk can't be kept", problem=str(error))
                    self.problem = str(error)
                await asyncio.sleep(LOOK_S)
        except StoreClosedError:
            return  # the agent is stopping

    # How full the disk is.

    def _room(self) -> fullness.Room:
        free, stalled = self._disk.free(), self._stalled()
        short = bool(stalled) and (FULL in stalled or free < self._limits.reserve)
        return fullness.Room(free, self._disk.ballast(), short)

    async def _look(self) -> None:
        plan = self._judge()
        if plan.press:
            await self._press()
            plan = self._judge()
        if plan.remake:
            made = await asyncio.to_thread(self._disk.make_ballast, self._limits.ballast)
            if not made:
                return  # somebody else was quicker
        if self.full and not plan.full:
            self._turn(full=False)

    def _judge(self) -> fullness.Plan:
        """Looks, and does at once what can't wait: room for deleting, and no more events."""
        room = self._room()
        plan = fullness.plan(self.full, room, self._limits.reserve, self._limits.ballast)
        if plan.release:
            self._disk.release()
            _log.warning("ballast released", bytes=room.ballast)
        if plan.full and not self.full:
            self._turn(full=True)
        return plan

    def _turn(self, *, full: bool) -> None:
        self.full = full
        free = self._disk.free()
        if full:
            _log.error("the disk is full: events stay with their devices", free_bytes=free)
        else:
            _log.info("the disk has room again", free_bytes=free)
        self._record(own_events.own(own_events.DISK, int(not full), free // MIB))

    async def _press(self) -> None:
        """Deletes what is delivered, whatever its age, until there is room or nothing more may go.

        Before the disk is full in whole steps only: what was delivered a moment ago would go each second.
        """
        through = await self._reader.read(partial(retention.prunable, delivered_before_ms=None))
        step = partial(retention.are_there, through=through, rows=STEP_ROWS)
        while True:
            gone = await self._prune(through) if self.full or await self._reader.read(step) else 0
            self.pressed_rows += gone
            await self._give_back(keep=0)
            if gone or self._database.wal_bytes() > WAL_BYTES:
                await self._reader.run(partial(self._database.checkpoint, truncate=True))
            if not gone or not self._judge().press:
                return

    # How long delivered rows stay.

    async def _keep(self) -> None:
        """Once an hour: notes how far delivery is, and deletes what was delivered too long ago."""
        now_ms = self._now_ms()
        if not self._time_known():
            return  # nobody can say how long ago anything was
        last = await self._reader.read(retention.last_mark) if self._marked_ms is None else None
        if last is not None:
            self._marked_ms = last.at_ms
        if self._marked_ms is not None and now_ms < self._marked_ms:
            return  # a machine without a clock of its own, before it learns the time
        if self._marked_ms is not None and now_ms - self._marked_ms < MARK_MS:
            if self.days_left is None:
                await self._forecast(now_ms)
            return
        keep_from_ms = now_ms - max(self._limits.keep_days * DAY_MS, RATE_MS)
        await self._write(partial(retention.mark, now_ms=now_ms, keep_from_ms=keep_from_ms))
        self._marked_ms = now_ms
        await self._forecast(now_ms)
        before_ms = now_ms - self._limits.keep_days * DAY_MS
        through = await self._reader.read(partial(retention.prunable, delivered_before_ms=before_ms))
        while await self._prune(through):
            if self._judge().full:
                return
        await self._give_back(keep=KEPT_PAGES)

    async def _forecast(self, now_ms: int) -> None:
        since = await self._reader.read(partial(retention.mark_since, at_ms=now_ms - RATE_MS))
        usage = await self._reader.read(retention.usage)
        self.days_left = fullness.days_left(self._disk.free(), usage, since, now_ms, self._limits.reserve)

    async def _prune(self, through: int) -> int:
        """One small commit; returns how many rows are gone, 0 when there are none up to `through`."""
        oldest = await self._reader.read(retention.oldest_pos)
        if oldest is None or oldest > through:
            return 0
        gone: list[int] = []
        await self._write(lambda connection: gone.append(retention.prune(connection, through, STEP_ROWS)))
        self.pruned_rows += gone[-1]
        return gone[-1]

    async def _give_back(self, keep: int) -> None:
        """In small commits, so that intake never waits long."""
        given = False
        while await self._reader.read(retention.spare_pages) > keep:
            await self._write(partial(retention.give_back, pages=STEP_PAGES))
            given = True
        self._owing = self._owing or given
        await self._settle()

    async def _settle(self) -> None:
        """The file gets shorter by a checkpoint, as soon as no reader stands in the way."""
        if self._owing:
            self._owing = not await self._reader.run(partial(self._database.checkpoint, truncate=False))

    # The store.

    async def _write(self, apply: Callable[[apsw.Connection], object]) -> None:
        """Returns when it is on the disk; meanwhile the disk may become full, and is looked at."""
        done = committed(self._submit, apply)
        while not done.done():
            await asyncio.wait({done}, timeout=LOOK_S)
            if not done.done():
                self._judge()
