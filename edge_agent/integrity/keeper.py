"""Layer: keeps the tree over the delivered log: extends it off the writer's way, signs heads, delivers them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

import apsw

from edge_agent.entries import Job, committed
from edge_agent.errors import OfficeRefusedError, OfficeUnreachableError, StoreError
from edge_agent.identity import Identity
from edge_agent.integrity import statement, tree
from edge_agent.integrity.leaves import Head, Leaves, signed_bytes
from edge_agent.integrity.statement import Answer
from edge_agent.integrity.tree import Frontier
from edge_agent.logs import Log
from edge_agent.reading import Reader
from edge_agent.store import outbox
from edge_agent.store import tree as trees
from edge_agent.store.database import Database, transaction
from edge_agent.store.tree import HeadRow, State
from edge_agent.sync.backoff import Backoff

STEP_ROWS = 1_000  # rows that one job adds
MAX_GAP = 10_000  # positions without a row that the tree states one by one; a longer way begins it anew
IDLE_S = 30.0
RETRY_FIRST_S, RETRY_LAST_S = 1.0, 600.0

Send = Callable[[bytes], Awaitable[tuple[int, bytes]]]
_log = Log("integrity")


class Step(NamedTuple):
    """Rows that were read and hashed: the tree `before` becomes `after`; more: rows wait behind."""

    before: State
    after: State
    nodes: list[tuple[int, int, bytes]]
    more: bool


class Keeper:
    """One task. The tree is changed by the writer alone, in jobs; reading and hashing happen in a thread of its own."""

    def __init__(
        self,
        site: str,
        edge: str,
        identity: Identity,
        database: Database,
        submit: Callable[[Job], None],
        send: Send,
        now_ms: Callable[[], int],
        head_pause_s: float,
        rng: random.Random,
    ) -> None:
        self._site, self._edge = site, edge
        self._identity = identity
        self._submit = submit
        self._send = send
        self._now_ms = now_ms
        self._pause_s = head_pause_s
        self._rng = rng
        self._leaves = Leaves(site, edge)
        self._reader = Reader(database, "tree")
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._state = self._found(database.writer)
        self._head = trees.last_head(database.writer)
        self._delivered = trees.last_head(database.writer, delivered=True)
        self.problem = ""
        self.findings: list[str] = []

    def _found(self, writer: apsw.Connection) -> State:
        """The tree as it is; one that can't be begins anew (the office names that): events don't wait for it."""
        try:
            return trees.state(writer)
        except StoreError as error:
            _log.error("the tree is damaged and begins anew", problem=str(error))
            with transaction(writer):
                trees.begin_anew(writer)
            return trees.state(writer)

    def start(self) -> None:
        """Begins; call on the running loop."""
        self._task = asyncio.create_task(self._run(), name="tree")

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """For whoever watches that it lives."""
        return [self._task] if self._task is not None else []

    async def stop(self) -> None:
        """Ends; what is under way is done again after the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._reader.close()

    def delivered(self) -> None:
        """The office has more rows."""
        self._wake.set()

    def describe(self) -> dict[str, Any]:
        """For /status."""
        head, delivered = self._head, self._delivered
        return {
            "key": self._identity.fingerprint,
            "first_pos": self._state.first_pos,
            "rows": self._state.size,
            "signed_rows": head.size if head else 0,
            "delivered_rows": delivered.size if delivered else 0,
            "head": head.number if head else 0,
            "head_ms": head.time_ms if head else None,
            "problem": self.problem,
            "findings": self.findings,
        }

    async def _run(self) -> None:
        backoff = Backoff(RETRY_FIRST_S, RETRY_LAST_S, self._rng)
        while True:
            self._wake.clear()
            try:
                await self._extend()
                await self._deliver()
            except (OfficeUnreachableError, OfficeRefusedError, StoreError, apsw.Error) as error:
                if not self.problem:
                    _log.warning("the head is not delivered", problem=str(error))
                self.problem = str(error)
                if isinstance(error, StoreError):
                    await self._begin_anew()
                await asyncio.sleep(max(backoff.delay(), min(self._pause_s, RETRY_FIRST_S)))
                continue
            backoff.reset()
            if self.problem:
                self.problem = ""
                _log.info("the tree and its heads are well again")
            await asyncio.sleep(self._pause_s)
            await _wait(self._wake, IDLE_S)

    async def _begin_anew(self) -> None:
        """As at a start with a damaged tree: hashes that are missing don't come back."""
        _log.error("the tree is damaged and begins anew", problem=self.problem)
        await committed(self._submit, trees.begin_anew)
        self._state = await self._reader.read(trees.state)
        self._head = await self._reader.read(trees.last_head)

    async def _extend(self) -> None:
        """Takes in what was delivered, and signs it, unless a head still waits for the office."""
        waiting = self._head is not None and self._head.delivered_ms is None
        while True:
            step = await self._reader.read(partial(self._read, state=self._state))
            if step is None:
                break
            if step.after.first_pos != step.before.first_pos:
                if waiting:
                    break  # what it needs for its proof is still here
                _log.warning("the log goes on far away: its tree begins anew", pos=step.after.first_pos)
            await committed(
                self._submit, partial(trees.extend, before=step.before, after=step.after, nodes=step.nodes)
            )
            self._state = await self._reader.read(trees.state)
            if not step.more:
                break
        root = self._state.frontier.root()
        signed = self._head.root if self._head is not None else tree.EMPTY_ROOT
        if waiting or root == signed:
            return
        number = self._head.number + 1 if self._head is not None else 1
        now_ms = self._now_ms()
        head = Head(self._site, self._edge, number, self._state.first_pos, self._state.size, root, now_ms)
        signature = self._identity.sign(signed_bytes(head))
        row = HeadRow(number, head.size, root, now_ms, self._identity.public, signature, None, head.first_pos)
        await committed(self._submit, lambda connection: trees.save_head(connection, row))
        self._head = row

    def _read(self, connection: apsw.Connection, state: State) -> Step | None:
        """The next rows, hashed. A position without a row gets the leaf that says so: the office will name it."""
        through = outbox.delivered_through(connection)
        rows = trees.rows(connection, state.last_pos, through, STEP_ROWS)
        if not rows:
            return None
        before = state
        nodes: list[tuple[int, int, bytes]] = []
        for at, row in enumerate(rows):
            if row.pos - state.last_pos > MAX_GAP:
                # A restored store goes on at positions far away. The office names it; here the tree begins anew.
                if at:
                    return Step(before, state, nodes, more=True)
                state = State(row.pos, Frontier())
            elif not at:
                state = State(state.first_pos, state.frontier.copy())
            for pos in range(state.last_pos + 1, row.pos):
                state.frontier.append(self._leaves.gap(pos), nodes, trees.STORED_LEVELS)
            state.frontier.append(self._leaves.hash(row[:9] + row[10:]), nodes, trees.STORED_LEVELS)
        return Step(before, state, nodes, rows[-1].pos < through)

    async def _deliver(self) -> None:
        head = self._head
        if head is None or head.delivered_ms is not None:
            return
        before = self._delivered.size if self._delivered is not None else 0
        found = await self._post(head, before)
        if found.state == statement.PROVE:
            if found.size < before:
                # It was restored from a backup, or somebody took heads away: its people must know.
                _log.error("the office has lost what it acknowledged", holds=found.size, acknowledged=before)
                self.findings = [statement.OFFICE_LOST]
            found = await self._post(head, found.size)
        if found.state == statement.PROVE:
            raise OfficeUnreachableError("the office asks for the same proof again and again")
        now_ms = self._now_ms()
        await committed(
            self._submit, lambda connection: trees.head_delivered(connection, head.number, now_ms)
        )
        self._head = self._delivered = head._replace(delivered_ms=now_ms)
        if found.findings:
            self.findings = found.findings
            _log.error("the office finds contradictions in this edge's log", findings=found.findings)

    async def _post(self, row: HeadRow, before: int) -> Answer:
        head = Head(self._site, self._edge, row.number, row.first_pos, row.size, row.root, row.time_ms)

        def make(connection: apsw.Connection) -> bytes:
            def node(level: int, index: int) -> bytes:
                return trees.node(connection, level, index)

            proof = tree.consistency_proof(before, row.size, node) if before <= row.size else []
            frontier = b"".join(tree.full_subtrees(0, row.size, node))
            return statement.encode(head, row.public, row.signature, frontier, before, proof)

        body = await self._reader.read(make)
        status, found = await self._send(body)
        if status != 200:
            raise OfficeRefusedError(status, "", "heads are not taken")
        return statement.answer(found)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
