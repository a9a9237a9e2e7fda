"""Layer: keeps the service manager informed: ready, state in a sentence, and a watchdog that only progress feeds."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import apsw

from edge_agent.ingest import Ingest
from edge_agent.service import health
from edge_agent.service.notify import Notifier, status

STATUS_S = 10.0  # how often the sentence is made anew
WATCHDOG_S = 60.0  # patience with the writer where nobody said how long


class Heartbeat:
    """WATCHDOG=1 goes out from the event loop, so a loop that hangs sends none, and only while the writer gets on."""

    def __init__(
        self,
        notifier: Notifier,
        ingest: Ingest,
        snapshot: Callable[[], Awaitable[Mapping[str, Any]]],
        language: str,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._notifier = notifier
        self._ingest = ingest
        self._snapshot = snapshot
        self._language = language
        self._now_s = now_s
        watchdog_s = notifier.watchdog_s or WATCHDOG_S
        self._pause_s = min(STATUS_S, watchdog_s / 4)
        self._progress = health.Progress(watchdog_s / 2)
        self._asked: asyncio.Task[None] | None = None
        self._told_s = -STATUS_S
        self._said = ""

    async def run(self) -> None:
        """READY=1, then a beat every pause; for ever."""
        if not self._notifier.wanted:
            await asyncio.Event().wait()  # nobody listens
        ready = False
        while True:
            ready = ready or self._notifier.send("READY=1")  # the manager's socket may be full just now
            self.beat()
            await asyncio.sleep(self._pause_s)

    def beat(self) -> bool:
        """One look at the writer; feeds the watchdog if it gets on, and says so."""
        now_s = self._now_s()
        gets_on = self._progress.look(self._ingest.turns, self._ingest.waiting, now_s)
        if gets_on:
            self._notifier.send("WATCHDOG=1")
        # Reading the store may take as long as the disk does: never more than one reading at a time, none awaited here.
        if self._asked is None or self._asked.done():
            if now_s - self._told_s >= STATUS_S:
                self._told_s = now_s
                self._asked = asyncio.create_task(self._tell(gets_on=gets_on), name="status sentence")
        elif not gets_on:
            self._say(health.stuck(self._language))
        return gets_on

    async def _tell(self, *, gets_on: bool) -> None:
        try:
            found = await self._snapshot()
        except (apsw.Error, OSError) as error:
            self._say(health.unread(str(error), self._language))
        else:
            self._say(health.sentence(found, self._language, gets_on=gets_on))

    def _say(self, sentence: str) -> None:
        if sentence != self._said:
            self._said = sentence
            self._notifier.send(status(sentence))

    async def stop(self) -> None:
        """STOPPING=1: from here on the manager waits for the end, and hears nothing more."""
        self._notifier.send("STOPPING=1")
        if self._asked is not None:
            self._asked.cancel()
            await asyncio.wait([self._asked])
        self._notifier.close()


def language(environment: Mapping[str, str] = os.environ) -> str:
    """ "zh" or "en", by the machine's locale."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if environment.get(name):
            return "zh" if environment[name].lower().startswith("zh") else "en"
    return "en"
