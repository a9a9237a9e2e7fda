"""Layer: the office: the real batch reader, SQLite store, receipts and chain check on a simulated disk."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable
from contextvars import copy_context
from functools import cache
from typing import Any

from edge_agent.sync.wire import MAGIC
from edge_agent.tests.simulation.clock import LIFE, START_MS, Life, VirtualLoop
from edge_agent.tests.simulation.disk import CrashedError, Disk, real_folder
from edge_agent.tests.simulation.line import OfficeWay
from edge_agent.tests.simulation.machine import Machine
from edge_agent.tests.simulation.truth import Truth, short
from tools.office.batch import MAX_BODY, Batch
from tools.office.config import Config, Name, Site
from tools.office.errors import RequestError, StoreError
from tools.office.gate import Sender
from tools.office.service import Office as Service
from tools.office.store import sqlite
from tools.office.store.base import Taken
from tools.office.store.edges import SqliteEdges
from tools.office.web.body import unzip

FILE = "/office.db"
SITE = "s1"
PROMPT_MS = 0.5  # from a commit to its receipt


class SimulatedStore(sqlite.SqliteStore):
    """The real store; one connection reads and writes, for all is one thread."""

    def __init__(self, disk: Disk, truth: Truth) -> None:
        self._truth = truth
        with sqlite._errors():
            self._write = self._read = disk.connect(FILE)
            sqlite._prepare(self._write)
        self._lock = None
        self.edges = SqliteEdges(self._write, self._read)
        self._write.pragma("wal_autocheckpoint", 0)
        self._disk = disk

    def take(self, batch: Batch, stored_ms: int, public_key: bytes | None = None) -> Taken:
        taken = super().take(batch, stored_ms, public_key)
        self._truth.took(batch.runs)
        self._disk.checkpoint(self._write)
        return taken


@cache
def empty_store() -> bytes:
    """A database as its first start leaves it."""
    disk = Disk(random.Random(0), lambda _: None)
    connection = disk.connect(FILE)
    sqlite._prepare(connection)
    connection.close()
    found = disk.file(FILE)
    disk.close()
    return found


class Office(Machine):
    """One machine with its disk, and the server that runs there now, if any."""

    def __init__(
        self,
        loop: VirtualLoop,
        rng: random.Random,
        truth: Truth,
        keys: dict[int, bytes],
        count: Counter[str],
        trace: Callable[..., None],
        disturbed: Callable[[], None],
    ) -> None:
        super().__init__("office", loop, rng, truth, count, trace, disturbed)
        self.way = OfficeWay(loop, rng, count, self._arrived)
        self.way.listening = lambda: self.service is not None
        self.disk.put(FILE, empty_store())
        self.service: Service | None = None
        self.store: SimulatedStore | None = None
        self.take_ms = (1.0, 20.0)
        self.after_commit_ms = PROMPT_MS
        name = Name(SITE, SITE)
        self._config = Config(
            ("127.0.0.1", 0), real_folder(), 0, None, None, {SITE: Site(SITE, name, bytes(32))},
            {(SITE, number): key for number, key in keys.items()}, {}, {}, "error", None,
        )  # fmt: skip

    def start(self) -> None:
        """Starts the server; when it can't, again later."""
        if self.life is None:
            self.life = life = Life("office")
            copy_context().run(self._start, life)

    def _start(self, life: Life) -> None:
        LIFE.set(life)
        self.disk.bury()
        try:
            self.store = SimulatedStore(self.disk, self.truth)
        except CrashedError:
            return
        except StoreError:
            self.end(2_000, power=False)
            return
        failing, self.disk.failing = self.disk.failing, ""
        self.truth.office_opened(self.store._write)
        self.disk.failing = failing
        self.count["office starts"] += 1
        service = Service(self._config, self.store, lambda: int(START_MS + self.loop.ms))
        self.loop.create_task(self._run(service, life))

    async def _run(self, service: Service, life: Life) -> None:
        try:
            await service.start()
        except CrashedError:
            return
        except StoreError:
            self.end(2_000, power=False)
        else:
            if not life.dead:
                self.service = service
                self.trace("office", "starts")
                self.disturbed()

    @property
    def fine(self) -> bool:
        """Runs, can be reached, and nothing is wrong with this machine."""
        return (
            self.service is not None and not self.disk.failing and self.way.fine and self.after_commit_ms == PROMPT_MS
        )

    def _forget(self) -> None:
        self.service = self.store = None

    def _arrived(self, body: bytes, what: str, answer: asyncio.Future[tuple[int, bytes]] | None) -> None:
        if self.service is None or self.life is None:
            self.count["nobody there to take a request"] += 1
            self.loop.after_ms(self.way.delay_ms, self.way.refuse, answer)
            return
        copy_context().run(self._serve, self.life, self.service, body, what, answer)

    def _serve(self, life: Life, service: Service, body: bytes, what: str, answer: Any) -> None:
        LIFE.set(life)
        self.loop.create_task(self._take(life, service, body, what, answer))

    async def _take(self, life: Life, service: Service, body: bytes, what: str, answer: Any) -> None:
        low, high = self.take_ms
        await asyncio.sleep((low + (high - low) * self.rng.random()) / 1000)
        try:
            if body[:2] == MAGIC:
                body = unzip(body, MAX_BODY, "")
            take = service.take if what == "batches" else service.take_head
            receipt = await take(SITE, body, Sender())
        except CrashedError:
            return
        except RequestError as error:
            self.truth.wrong(f"the office refuses a batch: {error.field} {error.message}")
            return
        except StoreError as error:
            self.way.reply(
                answer, 503, json.dumps({"error": {"field": "store", "message": str(error)}}).encode()
            )
            return
        self.trace("office", "takes", what, short(body), receipt.get("through", receipt))
        self.count["receipt slow"] += self.after_commit_ms > PROMPT_MS
        await asyncio.sleep(self.after_commit_ms / 1000)
        if not life.dead:
            self.way.reply(answer, 200, json.dumps(receipt).encode())
