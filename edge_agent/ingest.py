"""Layer: the one writer: entries wait in a bounded queue, groups are committed, then answers go out."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Generator
from typing import NamedTuple

import apsw

from edge_agent.entries import Entry, Received
from edge_agent.errors import StoreClosedError
from edge_agent.planning import Plan
from edge_agent.store import devices, events, outbox
from edge_agent.store.database import TRANSIENT, Database, transaction
from edge_agent.store.devices import Ledger
from edge_agent.writer import COMPANY, ENTRIES, PAUSE, Wait, Work, Writer

RETRY_FIRST_S, RETRY_LAST_S = 0.1, 5.0


class Limits(NamedTuple):
    """Sizes of groups and queue; max_wait_s: how long the first entry of a group waits for company."""

    max_wait_s: float
    max_events: int
    queue_frames: int


class Ingest:
    """Owns the database's writing connection and the committed ledgers.

    `on_commit(plan)` runs on the loop after every commit, `on_full`/`on_flowing` when the queue fills and empties,
    `on_stall(error)` when a commit fails and (None) when it succeeded again.
    """

    def __init__(
        self,
        database: Database,
        ledgers: dict[int, Ledger],
        own_device: int,
        own_boot: int,
        limits: Limits,
        runner: Writer,
    ) -> None:
        self._database = database
        self._ledgers = ledgers
        self._own = (own_device, own_boot)
        self._limits = limits
        self._fresh: list[Entry] = []  # submitted in this turn of the loop
        self._left: deque[Entry] = deque()  # handed over, not in a group yet; the writer's
        self._taken = 0  # entries whose group is committed
        self._submitted = 0
        self._runner = runner
        self._writer: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False
        self._full = False
        self._next_pos = (
            max(
                events.last_pos(database.writer),
                devices.meta(database.writer, devices.NEXT_POS) - 1,
                *(lane.highest for lane in outbox.lanes(database.writer).values()),
            )
            + 1
        )
        self.turns = 0  # groups finished and commits that failed; the writer thread's
        self.commits = 0
        self.events = 0
        self.duplicates = 0
        self.stalled = ""
        self.on_commit: Callable[[Plan], None] = lambda _: None
        self.on_full: Callable[[], None] = lambda: None
        self.on_flowing: Callable[[], None] = lambda: None
        self.on_stall: Callable[[str | None], None] = lambda _: None

    def start(self) -> None:
        """Starts the writer; call on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._writer = self._runner.start(self.work())
        self.hand_over()

    def submit(self, entry: Entry) -> None:
        """Queues an entry; never blocks; call on the loop. Raises StoreClosedError after close().

        What one turn of the loop brings reaches the writer together: so frames of ports that were ready together share
        a commit, and the writer does not wake for each.
        """
        if self._closing:
            raise StoreClosedError("the store is closing")
        if not self._fresh and self._loop is not None:
            self._loop.call_soon(self.hand_over)
        self._fresh.append(entry)
        self._submitted += 1
        if not self._full and self.waiting >= self._limits.queue_frames:
            self._full = True
            self.on_full()

    @property
    def waiting(self) -> int:
        """Entries that are not committed yet."""
        return self._submitted - self._taken

    def hand_over(self) -> bool:
        """Gives the writer what this turn brought, if anything."""
        if not self._fresh:
            return False
        self._runner.put(self._fresh)
        self._fresh = []
        return True

    @property
    def tasks(self) -> list[asyncio.Future[None]]:
        """For whoever watches that the writer lives; ends with an exception when it can't go on."""
        return [self._writer] if self._writer is not None else []

    async def close(self, patience_s: float = 10.0) -> bool:
        """Commits what waits, then stops the writer. False when the disk did not let it within patience_s."""
        if self._writer is None:
            return False
        self._closing = True
        self.hand_over()
        self._runner.put(None)
        done, _ = await asyncio.wait(self.tasks, timeout=patience_s)
        if not done:
            self._runner.abandon()
            await asyncio.wait(self.tasks)
        self._runner.close()
        return bool(done) and self._writer.exception() is None

    # The writer's part: work() says what it waits for, a Writer does the waiting.

    def work(self) -> Work:
        """Takes entries and commits groups until it is told that no more will come; see Wait."""
        more = True
        while more:
            group, more = yield from self._gather()
            # After a group that was given up none may follow: its replay window and epoch would stand for the lost one.
            if group and not (yield from self._commit(group)):
                return
            self.turns += 1

    def _gather(self) -> Generator[Wait, list[Entry] | None, tuple[list[Entry], bool]]:
        group: list[Entry] = []
        left = self._left
        count = 0
        while count < self._limits.max_events:
            if not left:
                found = yield (Wait(COMPANY, self._limits.max_wait_s) if group else Wait(ENTRIES))
                if found is None:
                    return group, False
                if not found:
                    break
                left.extend(found)
            entry = left.popleft()
            group.append(entry)
            count += _events_in(entry)
        return group, True

    def _commit(self, group: list[Entry]) -> Generator[Wait, list[Entry] | None, bool]:
        """False: it was given up."""
        plan = Plan(self._ledgers, self._next_pos, *self._own)
        plan.add_all(group)
        pause_s = RETRY_FIRST_S
        failures = 0
        while True:
            try:
                self._apply(plan)
                break
            except TRANSIENT as error:
                failures += 1
                self.turns += 1
                if failures == 1:
                    self._runner.call(self.on_stall, str(error))
            if (yield Wait(PAUSE, pause_s)) is None:
                return False
            pause_s = min(pause_s * 2, RETRY_LAST_S)
        if failures:
            self._runner.call(self.on_stall, None)
        self._ledgers.update(plan.ledgers)
        self._next_pos = plan.next_pos
        self._runner.call(self._committed, plan, len(group))
        return True

    def _apply(self, plan: Plan) -> None:
        connection: apsw.Connection = self._database.writer
        with transaction(connection):
            if plan.rows:
                events.append(connection, plan.rows)
            if plan.ledgers:
                devices.save(connection, list(plan.ledgers.values()))
            for row in plan.sessions.values():
                devices.save_session(connection, row)
            for device, received_ms, held in plan.quarantine:
                events.quarantine(connection, device, received_ms, *held)
            if plan.normal_events:
                outbox.appended(connection, "normal", plan.normal_events)
            if plan.alarm_events:
                outbox.appended(connection, "alarm", plan.alarm_events)
            for job in plan.jobs:
                job.apply(connection)

    # Back on the loop.

    def _committed(self, plan: Plan, entries: int) -> None:
        self._taken += entries
        self.commits += 1
        self.events += plan.normal_events + plan.alarm_events
        self.duplicates += plan.duplicates
        for job in plan.jobs:
            job.done()
        self.on_commit(plan)
        if self._full and self.waiting <= self._limits.queue_frames // 2:
            self._full = False
            self.on_flowing()


def _events_in(entry: Entry) -> int:
    if type(entry) is Received and entry.run is not None:
        return entry.run[3] - entry.run[2] + 1
    return 1
