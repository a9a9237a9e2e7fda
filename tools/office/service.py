"""The office between HTTP and the store: who may send, one writer, the chain checked behind the receipts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from edge_agent.event_words import masked
from edge_agent.integrity.statement import Answer
from edge_agent.logs import Log
from tools.office import batch, head, machine_keys
from tools.office.chain import Chain
from tools.office.config import Config, Name
from tools.office.errors import RequestError, StoreError
from tools.office.gate import Gate, Sender
from tools.office.store.base import Store, Taken

CHECK_STEP = 2_000  # events of a chain that are followed between two batches
CHECK_PAUSE_S = 0.1  # how long a step waits for a moment without batches
MAX_WAITING = 64  # batches that may be under way at once
RETRY_S = 1.0
# What comes of values in the database that nobody can work with: somebody, or a bad disk, has changed them.
DAMAGED = (TypeError, ValueError, IndexError, OverflowError)
SPOILT = "what is stored can't be checked: gatepost verify names what was changed"

_T = TypeVar("_T")
_log = Log("office")


class BusyError(StoreError):
    """More batches are under way than the office takes at once: the sender tries again."""


class Office:
    """Everything that the pages and the API stand on. Made, started and closed in one event loop."""

    def __init__(self, config: Config, store: Store, now_ms: Callable[[], int]) -> None:
        self.config = config
        self.store = store
        self.now_ms = now_ms
        # Decoding shares the writer's thread: SQLite gives the interpreter's lock away at every row, and a second busy
        # thread would keep it for milliseconds each time.
        self._writer = ThreadPoolExecutor(1, "write")
        self._reader = ThreadPoolExecutor(1, "read")
        self._waiting = 0
        self._chains = {at: Chain(key) for at, key in config.event_keys.items()}
        self._site_keys: dict[str, int] = {}
        self._todo: dict[tuple[int, int], str] = {}  # devices whose chain may have more to follow
        self._heads = True  # heads may be left to be compared with their rows
        self._more = asyncio.Event()
        self._idle = asyncio.Event()  # no batch is under way
        self._idle.set()
        self._checker: asyncio.Task[None] | None = None
        session_key = machine_keys.session_key(config.data_dir)
        self.gate = Gate(config, store.edges, self._site_keys, now_ms, self.read, self.write, session_key)
        self._following = machine_keys.Following(config.data_dir)

    @property
    def next_pin(self) -> str:
        """The pin that the certificate will have after the next `gatepost office renew --switch`, in hex, or ""."""
        self._following.look()
        return self._following.pin

    async def start(self) -> None:
        """Ready to take batches when this returns. Raises StoreError."""
        for site in self.config.sites:
            self._site_keys[site] = await self._on(self._writer, self.store.site_key, site)
        sites = {key: site for site, key in self._site_keys.items()}
        for key, device in await self._on(self._writer, self.store.unchecked):
            if key in sites:
                self._todo[key, device] = sites[key]
        self._more.set()
        self._checker = asyncio.create_task(self._check(), name="chain check")

    async def close(self) -> None:
        """Finishes what is under way and lets go of the database."""
        if self._checker is not None:
            self._checker.cancel()
            await asyncio.gather(self._checker, return_exceptions=True)
        for pool in (self._writer, self._reader):
            await asyncio.to_thread(pool.shutdown)
        self.store.close()

    async def take(self, site: str, body: bytes, sender: Sender) -> dict[str, object]:
        """The receipt for one batch, which is on the disk then. Raises RequestError, StoreError."""
        if self._waiting >= MAX_WAITING:
            raise BusyError("too many batches are under way")
        self._following.look()  # whom the database has seen since is taken for told, so it must be told
        self._waiting += 1
        self._idle.clear()
        try:
            found, taken = await self._on(self._writer, self._take, site, body, sender)
        except RequestError as error:
            _log.warning("batch refused", site=site, field=error.field, problem=error.message)
            raise
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._idle.set()
        self._note(found, taken)
        return {
            "v": batch.VERSION,
            "lane": found.lane,
            "through": found.through,
            "devices": {
                str(device): {"complete_to": account.complete_to, "missing": account.missing}
                for device, account in taken.devices.items()
            },
        }

    def _take(self, site: str, body: bytes, sender: Sender) -> tuple[batch.Batch, Taken]:
        found = batch.decode(body, site, self._site_keys[site])
        if sender.edge not in (None, found.edge):
            raise RequestError("edge", "is another one than signed this")
        return found, self.store.take(found, self.now_ms(), sender.public_key)

    async def take_head(self, site: str, body: bytes, sender: Sender) -> dict[str, object]:
        """The answer to one signed head, which is on the disk then. Raises RequestError, StoreError."""
        self._following.look()  # as above
        said, found = await self._on(self._writer, self._take_head, site, body, sender)
        if found.findings:
            _log.error("an edge's log contradicts", site=site, edge=said.head.edge, findings=found.findings)
        self._heads = True
        self._more.set()
        return {"v": head.VERSION, **found._asdict()}

    def _take_head(self, site: str, body: bytes, sender: Sender) -> tuple[head.Statement, Answer]:
        said = head.decode(body, site)
        if sender.edge not in (None, said.head.edge):
            raise RequestError("edge", "is another one than signed this")
        return said, self.store.take_head(self._site_keys[site], said, self.now_ms(), sender.public_key)

    async def read(self, call: Callable[..., _T], *args: object) -> _T:
        """A reading call of the store, on the reader's thread. Raises StoreError."""
        return await self._on(self._reader, call, *args)

    async def write(self, call: Callable[..., _T], *args: object) -> _T:
        """A writing call of the store, on the writer's thread. Raises StoreError."""
        return await self._on(self._writer, call, *args)

    def has_key(self, site: str, device: int) -> bool:
        """Whether the device's chain can be checked here."""
        return (site, device) in self._chains

    def device_name(self, site: str, device: int, reported: str, language: str) -> str:
        """What people call a device: as the office's file says, else as the edge reports."""
        known = self.config.device_names.get((site, device))
        return known.in_language(language) if known else reported or str(device)

    def site_name(self, site: str) -> Name:
        """What people call a site, which may no longer be in the configuration."""
        known = self.config.sites.get(site)
        return known.name if known else Name(site, site)

    def card_name(self, site: str, uid: bytes, language: str) -> str:
        """A card's name, or the end of its number."""
        known = self.config.card_names.get((site, uid))
        return known.in_language(language) if known else masked(uid)

    def _note(self, found: batch.Batch, taken: Taken) -> None:
        _log.debug("batch", site=found.site, lane=found.lane, events=taken.events, added=taken.added)
        if taken.conflicts:
            _log.error("events came again with another content", site=found.site, count=taken.conflicts)
        for device in taken.devices:
            if (found.site, device) in self._chains:
                self._todo[found.site_key, device] = found.site
        self._more.set()

    async def _check(self) -> None:
        """Follow the chains, a step at a time: while no batch is under way, or else now and then."""
        while True:
            await self._more.wait()
            self._more.clear()
            while self._todo or self._heads:
                if self._heads:
                    self._heads = await self._compare_heads()
                    if not self._todo:
                        continue
                at, site = next(iter(self._todo.items()))
                del self._todo[at]
                chain = self._chains.get((site, at[1]))
                if chain is None:
                    continue
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._idle.wait(), CHECK_PAUSE_S)
                try:
                    more = await self._on(
                        self._writer, self.store.check, *at, chain, self.now_ms(), CHECK_STEP
                    )
                except StoreError as error:
                    _log.error("the chain can't be checked now", site=site, device=at[1], problem=str(error))
                    self._todo[at] = site
                    await asyncio.sleep(RETRY_S)  # a full disk: its owner has to act, the check goes on by itself
                    continue
                except DAMAGED as error:  # the others are checked all the same
                    _log.error(SPOILT, site=site, device=at[1], problem=f"{type(error).__name__}: {error}")
                    continue
                if more:
                    self._todo[at] = site

    async def _compare_heads(self) -> bool:
        """One step; whether there is more to do."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), CHECK_PAUSE_S)
        try:
            return await self._on(self._writer, self.store.check_heads, self.now_ms(), CHECK_STEP)
        except StoreError as error:
            _log.error("heads can't be compared now", problem=str(error))
            await asyncio.sleep(RETRY_S)
            return True
        except DAMAGED as error:
            _log.error(SPOILT, problem=f"{type(error).__name__}: {error}")
            return False

    async def _on(self, pool: ThreadPoolExecutor, call: Callable[..., _T], *args: object) -> _T:
        return await asyncio.get_running_loop().run_in_executor(pool, call, *args)
