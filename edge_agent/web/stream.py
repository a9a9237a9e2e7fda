"""Layer: server-sent events: new events as they are committed, the state of everything every few seconds."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from edge_agent.web.answers import error
from edge_agent.web.feed import Feed
from edge_agent.web.page import Page

MAX_WATCHERS = 16
STATE_S = 2.0  # how often the state is told, and the longest pause between two signs of life
GATHER_S = 0.2  # what comes in so short a time goes out together
WRITE_S = 10.0  # a watcher that takes nothing for so long is let go


class Stream:
    """GET /events; each watcher has its own place in the feed, so a slow one costs nobody anything."""

    def __init__(self, feed: Feed, page: Page, snapshot: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        self._feed = feed
        self._page = page
        self._snapshot = snapshot
        self._tasks: set[asyncio.Task[Any]] = set()

    async def serve(self, request: web.Request, language: str) -> web.StreamResponse:
        """Runs until the watcher goes or stop()."""
        if len(self._tasks) >= MAX_WATCHERS:
            return error(503, "", f"{MAX_WATCHERS} pages are watching already", {"Retry-After": "10"})
        place = request.headers.get("Last-Event-ID") or request.query.get("after", "")
        after = int(place) if place.isascii() and place.isdigit() and len(place) < 19 else self._feed.newest
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await answer.prepare(request)
            await self._tell(answer, min(after, self._feed.newest), language)
        except ConnectionError:
            pass  # the watcher is gone
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()  # aiohttp would wait without end to tell it the end of the answer
        finally:
            self._tasks.discard(task)
        return answer

    async def stop(self) -> None:
        """Lets every watcher go."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _tell(self, answer: web.StreamResponse, after: int, language: str) -> None:
        told_s, before = -STATE_S, ""
        while True:
            parts: list[str] = []
            for seen in self._feed.after(after):
                parts.append(_message("event", json.dumps(self._page.event(seen, language)), seen.pos))
            after = self._feed.newest
            if time.monotonic() - told_s >= STATE_S:
                told_s = time.monotonic()
                state = self._page.state(await self._snapshot(), language)
                parts.append(_message("state", state) if state != before else ": alive\n\n")
                before = state
            if parts:
                async with asyncio.timeout(WRITE_S):
                    await answer.write("".join(parts).encode())
            await asyncio.sleep(GATHER_S)
            await self._feed.wait(after, max(told_s + STATE_S - time.monotonic(), 0))


def _message(name: str, data: str, place: int | None = None) -> str:
    lines = "".join(f"data: {line}\n" for line in data.splitlines())
    return f"event: {name}\n{f'id: {place}' + chr(10) if place is not None else ''}{lines}\n"
