"""Layer: reads the store beside its writer: a connection of its own, in a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import apsw

from edge_agent.store.database import Database

_T = TypeVar("_T")


class Reader:
    """One call at a time; the connection is opened with the first."""

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._thread = ThreadPoolExecutor(1, name)
        self.connection: apsw.Connection | None = None

    async def read(self, call: Callable[[apsw.Connection], _T]) -> _T:
        """What the call makes of the store. Raises what it raises, and apsw.Error."""
        return await self.run(partial(self._with_connection, call))

    async def run(self, call: Callable[[], _T]) -> _T:
        """A call that needs no connection, in the same thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    async def close(self) -> None:
        """Ends; waits for what is under way."""
        await asyncio.to_thread(self._thread.shutdown)
        if self.connection is not None:
            self.connection.close()

    def _with_connection(self, call: Callable[[apsw.Connection], _T]) -> _T:
        if self.connection is None:
            self.connection = self._database.reader()
        return call(self.connection)
