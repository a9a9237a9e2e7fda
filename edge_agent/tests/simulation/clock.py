"""Layer: an asyncio loop whose clock jumps to the next timer; nothing waits, no socket and no thread is used."""

from __future__ import annotations

import asyncio
from asyncio import base_events
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Any

MOST_TURNS = 20_000  # of the loop at one moment
START_MS = 1_790_000_000_000  # true time when a simulation begins, ms since 1970

DatagramFactory = Callable[[], asyncio.DatagramProtocol]


class Life:
    """One process of the simulated world, from its start to its end; what it started ends with it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.tasks: list[asyncio.Task[Any]] = []

    def end(self) -> None:
        """As SIGKILL. What its tasks still do on their way out reaches nothing: the world has let go of them."""
        self.dead = True
        for task in self.tasks:
            if not task.done():  # cancel() would pass for a look at what a task raised
                task.cancel()
        self.tasks.clear()


LIFE: ContextVar[Life | None] = ContextVar("life", default=None)


class _Nothing:
    """The selector: what is waited for comes from timers alone."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._turns = 0

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise AssertionError("everybody waits and nobody will come")
        if timeout > 0:
            self._loop.now_s += timeout
            self._turns = 0
        else:
            self._turns += 1
            if self._turns > MOST_TURNS:
                raise AssertionError("time stands still: somebody is busy for ever")
        return []


class _Server:
    """What listens: nobody ever comes."""

    sockets: tuple[Any, ...] = ()

    def __init__(self) -> None:
        self.sockets = (self,)

    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1", 1)

    def setsockopt(self, *_: Any) -> None:
        """Nobody is slow."""

    def close(self) -> None:
        """Nothing is open."""

    async def wait_closed(self) -> None:
        """Nothing is open."""


class VirtualLoop(base_events.BaseEventLoop):
    """time() is virtual, in s from 0. Work for executors runs at once, in the loop's own thread."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self._selector = _Nothing(self)
        self._clock_resolution = 1e-9
        self.failed: list[asyncio.Task[Any]] = []  # tasks that raised while their process went on
        self.datagrams: Callable[[asyncio.DatagramProtocol, Any], asyncio.DatagramTransport]
        self.set_task_factory(_task)

    def time(self) -> float:
        return self.now_s

    @property
    def ms(self) -> float:
        """Virtual time in ms."""
        return self.now_s * 1000.0

    def after_ms(self, ms: float, function: Callable[..., Any], *arguments: Any) -> asyncio.TimerHandle:
        """Calls `function` so much later."""
        return self.call_at(self.now_s + ms / 1000.0, function, *arguments)

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """There is no other thread."""

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it goes to whoever awaits, as from an executor
            done.set_exception(error)
        return done

    async def create_server(self, *_: Any, **__: Any) -> Any:
        return _Server()

    async def create_datagram_endpoint(self, protocol_factory: Any, local_addr: Any = None, **_: Any) -> Any:
        protocol = protocol_factory()
        transport = self.datagrams(protocol, local_addr)
        protocol.connection_made(transport)
        return transport, protocol


def _task(loop: VirtualLoop, coro: Any, **more: Any) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **more)
    life = LIFE.get()
    task.add_done_callback(partial(_ended, loop.failed, life))
    if life is not None:
        tasks = life.tasks
        tasks.append(task)
        if len(tasks) > 64:
            life.tasks = [each for each in tasks if not each.done()]
    return task


def _ended(failed: list[asyncio.Task[Any]], life: Life | None, task: asyncio.Task[Any]) -> None:
    # Only noted: whoever waits for it may take the exception yet.
    if task._log_traceback and (life is None or not life.dead):  # type: ignore[attr-defined]
        failed.append(task)
