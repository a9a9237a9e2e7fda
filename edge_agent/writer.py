"""Layer: the thread that does the store's writing; Ingest.work() says what to do, this waits and comes back."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

from edge_agent.entries import Entry

ENTRIES, COMPANY, PAUSE = "entries", "company", "pause"


class Wait(NamedTuple):
    """What the work waits for, and is then sent.

    ENTRIES: for ever; entries. COMPANY: until `seconds` after the last ENTRIES came; more entries, or none.
    PAUSE: `seconds`; nothing. Instead of any of them it is sent None: there will be no more entries; in a pause,
    give up.
    """

    what: str
    seconds: float = 0.0


Work = Generator[Wait, list[Entry] | None, None]


class Writer(Protocol):
    """Runs an Ingest's work beside the loop."""

    def start(self, work: Work) -> asyncio.Future[None]:
        """Begins, on the running loop; the result is there when the work has ended."""

    def put(self, entries: list[Entry] | None) -> None:
        """More entries; None: no more will come."""

    def call(self, function: Callable[..., None], *arguments: object) -> None:
        """For the work: runs this on the loop."""

    def abandon(self) -> None:
        """Pauses are over: what can't be done now stays undone."""

    def close(self) -> None:
        """After the end of the work."""


class ThreadWriter:
    """One thread of its own."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[list[Entry] | None] = queue.SimpleQueue()
        self._executor = ThreadPoolExecutor(1, "writer")
        self._abandon = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, work: Work) -> asyncio.Future[None]:
        """See Writer."""
        self._loop = asyncio.get_running_loop()
        return self._loop.run_in_executor(self._executor, self._run, work)

    def put(self, entries: list[Entry] | None) -> None:
        """See Writer."""
        self._queue.put(entries)

    def call(self, function: Callable[..., None], *arguments: object) -> None:
        """See Writer."""
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)

    def abandon(self) -> None:
        """See Writer."""
        self._abandon.set()

    def close(self) -> None:
        """See Writer."""
        self._executor.shutdown()

    def _run(self, work: Work) -> None:
        found: list[Entry] | None
        since_s = 0.0
        try:
            wait = next(work)
            while True:
                if wait.what == ENTRIES:
                    found = self._queue.get()
                    since_s = time.monotonic()
                elif wait.what == COMPANY:
                    found = self._company(since_s + wait.seconds)
                else:
                    found = None if self._abandon.wait(wait.seconds) else []
                wait = work.send(found)
        except StopIteration:
            return

    def _company(self, deadline_s: float) -> list[Entry] | None:
        try:
            wait_s = deadline_s - time.monotonic()
            return self._queue.get(timeout=wait_s) if wait_s > 0 else self._queue.get_nowait()
        except queue.Empty:
            return []
