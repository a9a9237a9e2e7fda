"""Layer: what the agent reaches beyond itself, simulated: disk, ports, the writer's thread, the way to the office."""

from __future__ import annotations

import asyncio
import errno
import io
import random
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw

from edge_agent.config import Office, PortConfig
from edge_agent.entries import Entry
from edge_agent.errors import OfficeSilentError, StoreError
from edge_agent.outside import Outside
from edge_agent.store.database import Database, schema_steps, settle
from edge_agent.store.disk import Disk as RealDisk
from edge_agent.tests.simulation.clock import Life, VirtualLoop
from edge_agent.tests.simulation.disk import FULL, Borrowed, CrashedError, Disk
from edge_agent.tests.simulation.line import OfficeWay
from edge_agent.tests.simulation.truth import short
from edge_agent.transports.port import Listener, Port
from edge_agent.transports.serial import SerialPort
from edge_agent.transports.udp import UdpPort
from edge_agent.writer import COMPANY, ENTRIES, PAUSE, Wait, Work

if TYPE_CHECKING:
    from edge_agent.tests.simulation.device import Device
    from edge_agent.tests.simulation.edge import Edge

FILE = "/edge.sqlite"
ROOM = 1 << 34


class SimulatedDatabase(Database):
    """The store on a simulated disk; readers share the writer's connection, for all is one thread."""

    def __init__(self, disk: Disk) -> None:
        self.path = Path(FILE)
        self._lock = io.StringIO()
        try:
            self.writer = disk.connect(FILE)
            self.found_version = settle(self.writer, schema_steps())
        except apsw.Error as error:
            raise StoreError(f"the store can't be opened: {error}") from error
        self.writer.pragma("wal_autocheckpoint", 0)

    def reader(self) -> Any:
        return Borrowed(self.writer)


class SimulatedRoom(RealDisk):
    """What the file system says of its room."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._size = 0

    def free(self) -> int:
        return 0 if self._disk.failing == FULL else ROOM

    def ballast(self) -> int:
        return self._size

    def make_ballast(self, size: int) -> bool:
        self._size = 0 if self._disk.failing == FULL else size
        return self._size == size

    def release(self) -> None:
        self._size = 0


class SimulatedWriter:
    """Runs the ingest's work on the loop: a commit begins `commit_ms` after its first entry and reports later."""

    def __init__(self, edge: Edge, life: Life) -> None:
        self._edge = edge
        self._life = life
        self._queue: deque[tuple[list[Entry] | None, list[tuple[int, int]]]] = deque()
        self._group: list[tuple[int, int]] = []
        self._calls: deque[tuple[Callable[..., None], tuple[object, ...]]] = deque()
        self._wait = Wait(ENTRIES)
        self._due = False
        self._abandoned = False

    def start(self, work: Work) -> asyncio.Future[None]:
        self._work = work
        self._done: asyncio.Future[None] = self._edge.loop.create_future()
        self._wait = next(work)
        return self._done

    def put(self, entries: list[Entry] | None) -> None:
        fresh = self._edge.truth.fresh
        self._queue.append((entries, list(fresh)))
        fresh.clear()
        self._kick()

    def call(self, function: Callable[..., None], *arguments: object) -> None:
        self._calls.append((function, arguments))
        self._edge.loop.after_ms(self._edge.report_ms, self._report)

    def _report(self) -> None:
        function, arguments = self._calls.popleft()
        if not self._life.dead:
            function(*arguments)

    def abandon(self) -> None:
        self._abandoned = True

    def close(self) -> None:
        """No thread ends."""

    def _kick(self) -> None:
        if self._queue and not self._due and self._wait.what == ENTRIES:
            self._due = True
            self._edge.loop.after_ms(self._edge.commit_ms(), self._step)

    def _step(self) -> None:
        self._due = False
        if not self._life.dead:
            self._send(self._next())

    def _next(self) -> list[Entry] | None:
        if not self._queue:
            return []
        entries, pivs = self._queue.popleft()
        self._group += pivs
        return entries

    def _resume(self) -> None:
        if not self._life.dead:
            self._send(None if self._abandoned else [])

    def _send(self, answer: list[Entry] | None) -> None:
        given_up = answer is None and self._wait.what == PAUSE
        try:
            self._wait = self._work.send(answer)
            while self._wait.what == COMPANY:
                self._wait = self._work.send(self._next())
        except StopIteration:
            self._wait = Wait(PAUSE)
            self._done.set_result(None)
        except CrashedError:
            return
        if self._wait.what == ENTRIES or self._done.done():
            self._edge.committed([] if given_up else self._group)
            self._group = []
        if self._done.done() or self._life.dead:
            return
        if self._wait.what == ENTRIES:
            self._kick()
        else:
            self._edge.loop.after_ms(self._wait.seconds * 1000, self._resume)


class SimulatedSerial(SerialPort):
    """The real port but for the system's calls."""

    def __init__(self, edge: Edge, device: Device, listener: Listener) -> None:
        super().__init__(f"P{device.number}", "/dev/simulated", 115_200, 5.0, listener)
        self._random = edge.rng
        self._edge = edge
        self._device = device
        self._kept = bytearray()

    def _open(self) -> None:
        if self._device.number in self._edge.unplugged:
            raise OSError(errno.ENOENT, "no such port")
        self._line = self  # type: ignore[assignment]  # only whether it is there matters
        self._lost.clear()
        self._decoder = type(self._decoder)()

    def _close(self) -> None:
        self._line = None
        self.up = False
        self._kept.clear()

    def vanish(self) -> None:
        """Somebody pulls it out."""
        if self._line is not None:
            self._edge.count["port vanished"] += 1
            self._fail("the port is gone")

    def arrive(self, data: bytes) -> None:
        """Bytes off the line; the system keeps 4,096 of them while nobody reads."""
        if self._line is None:
            return
        if self._paused:
            self._kept += data
            del self._kept[4_096:]
        else:
            self.feed(data)

    def _write(self, block: bytes) -> bytes:
        self._edge.to_device(self._device, block)
        return b""

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        kept, self._kept = bytes(self._kept), bytearray()
        if kept and self._line is not None:
            self.feed(kept)


class Datagrams(asyncio.DatagramTransport):
    """What the real UDP port sends through."""

    def __init__(self, edge: Edge, life: Life, protocol: asyncio.DatagramProtocol) -> None:
        super().__init__({"sockname": ("127.0.0.1", 5_683)})
        self._edge = edge
        self._life = life
        self.protocol = protocol

    def sendto(self, data: Any, addr: Any = None) -> None:
        device = self._edge.by_address.get(addr)
        if device is not None and not self._life.dead:
            self._edge.to_device(device, bytes(data))

    def get_write_buffer_size(self) -> int:
        return 0  # a socket that takes everything

    def close(self) -> None:
        if self._edge.datagrams is self:
            self._edge.datagrams = None


class SimulatedPost:
    """The way to the office."""

    def __init__(
        self, way: OfficeWay, loop: VirtualLoop, timeout_s: float, trace: Callable[..., None]
    ) -> None:
        self._way = way
        self._loop = loop
        self._timeout_s = timeout_s
        self._trace = trace

    async def start(self) -> None:
        """Nothing is open."""

    async def stop(self) -> None:
        """Nothing is open."""

    async def send(self, body: bytes, what: str = "batches") -> tuple[int, bytes]:
        self._trace("edge", "posts", what, short(body))
        answer: asyncio.Future[tuple[int, bytes]] = self._loop.create_future()
        self._way.request(body, what, answer)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await answer
        except TimeoutError as error:
            raise OfficeSilentError(f"no answer within {self._timeout_s:g} s") from error

    async def reached(self) -> bool:
        return self._way.reached()


class SimulatedOutside(Outside):
    """What the agent reaches beyond itself, in this world."""

    def __init__(self, edge: Edge, life: Life) -> None:
        super().__init__()
        self.rng = random.Random(edge.rng.getrandbits(64))
        self._edge = edge
        self._life = life

    def database(self, folder: Path) -> Database:
        database = SimulatedDatabase(self._edge.disk)
        self._edge.opened(database)
        return database

    def disk(self, folder: Path) -> RealDisk:
        return SimulatedRoom(self._edge.disk)

    def writer(self) -> Any:
        return SimulatedWriter(self._edge, self._life)

    def port(self, port: PortConfig, listener: Listener) -> Port:
        if port.kind == "udp":
            return UdpPort(port.name, port.listen, listener)
        serial = SimulatedSerial(self._edge, self._edge.devices[int(port.path)], listener)
        self._edge.serials[int(port.path)] = serial
        return serial

    def post(self, office: Office, site: str) -> Any:
        return SimulatedPost(self._edge.way, self._edge.loop, office.timeout_s, self._edge.trace)
