"""One connection to the server: how many there may be, how long a request's head and a slow reader may take."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from edge_agent.logs import Log
from edge_agent.throttle import source_of

MAX_CONNECTIONS = 512
MAX_PER_SOURCE = 128  # an edge needs a dozen; several may stand behind one address
MAX_HEAD = 16 * 1024
HANDSHAKE_S = 10.0
HEAD_S = 10.0
READER_S = 60.0  # so long an answer waits for somebody who does not read it

_log = Log("office")


class Doors:
    """Counts the connections of one server."""

    def __init__(self) -> None:
        self._by_source: Counter[str] = Counter()
        self.refused = 0

    def enter(self, source: str) -> bool:
        """Whether one more may be."""
        if self._by_source.total() >= MAX_CONNECTIONS or self._by_source[source] >= MAX_PER_SOURCE:
            self.refused += 1
            if self.refused & (self.refused - 1) == 0:  # 1, 2, 4, 8 ...: a flood must not fill the log
                _log.warning("connection refused: there are too many", source=source, refused=self.refused)
            return False
        self._by_source[source] += 1
        return True

    def leave(self, source: str) -> None:
        """One less."""
        self._by_source[source] -= 1
        if not self._by_source[source]:
            del self._by_source[source]


class Connection(H11Protocol):
    """uvicorn's, with limits: it has none for the time of a head and of a reader, nor for their number."""

    def __init__(self, doors: Doors, **given: Any) -> None:
        super().__init__(**given)
        self._doors = doors
        self._source: str | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Counted, or refused at once."""
        peer = transport.get_extra_info("peername")
        source = source_of(peer[0] if peer else None)
        if not self._doors.enter(source):
            transport.abort()
            return
        self._source = source
        super().connection_made(transport)
        self._wait(HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """No longer counted."""
        self._wait(None)
        if self._source is not None:
            self._doors.leave(self._source)
            self._source = None
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A part of a head starts the clock, the rest of it ends it."""
        if self._source is None:
            return
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._wait(None)
        elif self._timer is None:
            self._wait(HEAD_S)

    def on_response_complete(self) -> None:
        """Who is answered before the end of his body is not listened to any longer; uvicorn would, without end."""
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY:
            self.transport.close()
        elif self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._wait(HEAD_S)  # the next head has begun already

    def pause_writing(self) -> None:
        """Somebody does not read."""
        super().pause_writing()
        self._wait(READER_S)

    def resume_writing(self) -> None:
        """He reads again."""
        super().resume_writing()
        self._wait(None)

    def _wait(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(seconds, self._too_slow)

    def _too_slow(self) -> None:
        self._timer = None
        self.transport.abort()
