"""Layer: the edge: the whole real agent on a simulated machine; ended and started at will."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import cache, partial
from typing import Any

import apsw
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edge_agent import config as configuration
from edge_agent import identity
from edge_agent.clock import Clock
from edge_agent.config import Config, DeviceConfig, PortConfig
from edge_agent.daemon import Agent
from edge_agent.errors import EdgeError
from edge_agent.store.database import Database, schema_steps, settle
from edge_agent.tests.simulation.clock import LIFE, START_MS, Life, VirtualLoop
from edge_agent.tests.simulation.device import Device
from edge_agent.tests.simulation.disk import CrashedError, Disk, real_folder
from edge_agent.tests.simulation.line import OfficeWay
from edge_agent.tests.simulation.machine import Machine
from edge_agent.tests.simulation.outside import FILE, Datagrams, SimulatedOutside, SimulatedSerial
from edge_agent.tests.simulation.truth import Truth, short

QUEUE_MORE = 64  # what was read already, and the edge's own events, still go in when the queue is full
QUICK_MS = (0.3, 6.0)  # of a commit
RESTART_MS = 2_000  # systemd's RestartSec


@cache
def template() -> Config:
    """A configuration as it is read from files."""
    folder = real_folder()
    (folder / "edge.toml").write_text(
        '[edge]\nsite = "s1"\nid = "e1"\ndata_dir = "data"\n[devices]\nfile = "devices.toml"\n'
        '[office]\nurl = "http://127.0.0.1:1"\ntoken = "a-token-for-tests"\n[status]\nlisten = "127.0.0.1:0"\n'
    )
    keys = folder / "devices.toml"
    keys.write_text(f'[[device]]\nid = 7\nrole = "tag"\nlink_key = "{"11" * 32}"\n')
    keys.chmod(0o600)
    (folder / "data").mkdir(mode=0o700)
    key = folder / "data" / identity.FILE_NAME
    private = Ed25519PrivateKey.from_private_bytes(
        bytes(range(32))
    )  # the same in every process: the diary tells
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key.chmod(0o600)
    return configuration.load(folder / "edge.toml")


@cache
def empty_store() -> bytes:
    """A store as its first start leaves it."""
    disk = Disk(random.Random(0), lambda _: None)
    connection = disk.connect(FILE)
    settle(connection, schema_steps())
    connection.close()
    found = disk.file(FILE)
    disk.close()
    return found


class Edge(Machine):
    """One machine with its disk and clock, and the agent that runs there now, if any."""

    def __init__(
        self,
        loop: VirtualLoop,
        rng: random.Random,
        truth: Truth,
        devices: dict[int, Device],
        way: OfficeWay,
        count: Counter[str],
        trace: Callable[..., None],
        disturbed: Callable[[], None],
        **settings: Any,
    ) -> None:
        super().__init__("edge", loop, rng, truth, count, trace, disturbed)
        self.devices = devices
        self.way = way
        self.disk.put(FILE, empty_store())
        self.agent: Agent | None = None  # while it runs; not while it stops
        self.database: Database
        self.down_until_ms = 0.0
        self.unplugged: set[int] = set()
        self.serials: dict[int, SimulatedSerial] = {}
        self.datagrams: Datagrams | None = None
        self.by_address: dict[Any, Device] = {}
        self.commit_range_ms = QUICK_MS
        self.report_ms = 0.05
        self.off_ms = rng.uniform(-45, 45)
        self.wrong_ms = 0.0
        base = template()
        ports = [PortConfig("udp", "U", "", 0, ("127.0.0.1", 5_683), 0)]
        for number, device in devices.items():
            self.by_address["10.0.0.9", number] = device
            device.line.to_edge = partial(self._from_device, device)
            if device.line.serial:
                ports.append(PortConfig("serial", f"P{number}", str(number), 115_200, ("", 0), 5_000))
        office = settings.pop("office", {})
        assert base.office is not None
        self.config = base._replace(
            ports=tuple(ports),
            devices=tuple(
                DeviceConfig(d.number, f"D{d.number}", d.role, d.link_key, 1) for d in devices.values()
            ),
            office=base.office._replace(**office),
            **settings,
        )
        loop.datagrams = self._bind

    # Its life.

    def start(self) -> None:
        """Starts the agent; when it can't, again later, as systemd does."""
        if self.life is not None or self.loop.ms < self.down_until_ms:
            return
        self.life = life = Life("edge")
        copy_context().run(self._start, life)

    def _start(self, life: Life) -> None:
        LIFE.set(life)
        if self.config.clock_source == "system":
            self.right()  # whoever vouches for it has looked at it
        clock = Clock(
            wall=self.wall_ms, steady=lambda: int(self.loop.ms) + 5_000, synced=lambda: not self.wrong_ms
        )
        self.disk.bury()
        try:
            self.agent = agent = Agent(self.config, clock, SimulatedOutside(self, life))
        except CrashedError:
            return
        except (EdgeError, apsw.Error) as error:
            self.trace("edge", "can't start:", str(error))
            self.end(RESTART_MS, power=False)
            return
        for session in agent.switchboard.sessions.values():
            session.receive = partial(self._watched, session.device, session.receive)  # type: ignore[method-assign]
        self.trace("edge", "starts")
        self.disturbed()
        self.count["edge starts"] += 1
        self.loop.create_task(self._run(agent, life))

    async def _run(self, agent: Agent, life: Life) -> None:
        try:
            await agent.start()
        except CrashedError:
            return
        for task in agent.tasks():
            task.add_done_callback(partial(self._part_ended, life))

    def _part_ended(self, life: Life, task: asyncio.Future[Any]) -> None:
        if not life.dead and not task.cancelled() and self.agent is not None:
            self.truth.wrong(f"a part of the agent ended by itself: {task.exception()!r}")

    def _gone(self, restart_ms: float) -> None:
        self.down_until_ms = max(self.down_until_ms, self.loop.ms + restart_ms)
        super()._gone(restart_ms + 1)

    def _forget(self) -> None:
        self.agent = self.datagrams = None
        self.serials.clear()
        self.truth.fresh.clear()

    def stop(self, restart_ms: float) -> None:
        """SIGTERM, then a start."""
        if self.life is not None and self.agent is not None:
            copy_context().run(self._stop, self.agent, self.life, restart_ms)

    def _stop(self, agent: Agent, life: Life, restart_ms: float) -> None:
        LIFE.set(life)
        self.agent = None
        self.loop.create_task(self._stopping(agent, life, restart_ms))

    async def _stopping(self, agent: Agent, life: Life, restart_ms: float) -> None:
        try:
            await agent.stop()
        except CrashedError:
            return
        except apsw.Error as error:
            self.trace("edge", "could not stop:", str(error))
        else:
            self.count["edge stopped in order"] += not life.dead
        if not life.dead:
            self.end(restart_ms, power=False)

    # Its clock and disk.

    def wall_ms(self) -> int:
        """What this machine's clock shows."""
        return int(START_MS + self.loop.ms + self.off_ms + self.wrong_ms)

    def right(self) -> None:
        """The clock shows what it should again."""
        self.wrong_ms = 0.0

    @property
    def fine(self) -> bool:
        """Runs, and nothing is wrong with this machine."""
        return (
            self.agent is not None and not self.disk.failing and not self.wrong_ms and not self.unplugged
            and self.commit_range_ms == QUICK_MS
        )  # fmt: skip

    def commit_ms(self) -> float:
        """How long the next commit takes."""
        low, high = self.commit_range_ms
        self.count["edge slow commit"] += self.commit_range_ms != QUICK_MS
        return low + (high - low) * self.rng.random()

    def opened(self, database: Database) -> None:
        """A store was found again."""
        self.database = database
        self._reading(lambda: self.truth.opened(database.writer))

    def committed(self, group: list[tuple[int, int]]) -> None:
        """The writer has come to an end of a group."""
        connection = self.database.writer
        self._reading(lambda: self.truth.look(connection, group))
        self.trace("edge", "commits", len(self.truth.rows))
        if self.agent is not None:
            self.truth.size("entries", self.agent.ingest.waiting, self.config.queue_frames + QUEUE_MORE)
        with suppress(CrashedError):
            self.disk.checkpoint(connection)

    def _reading(self, look: Callable[[], None]) -> None:
        """The observer's reads don't fail."""
        failing, self.disk.failing = self.disk.failing, ""
        try:
            look()
        finally:
            self.disk.failing = failing

    # Its lines.

    def _bind(self, protocol: asyncio.DatagramProtocol, _: Any) -> Datagrams:
        assert self.life is not None
        self.datagrams = Datagrams(self, self.life, protocol)
        return self.datagrams

    def _from_device(self, device: Device, data: bytes) -> None:
        life = self.life
        if life is None:
            return
        if device.line.serial:
            serial = self.serials.get(device.number)
            if serial is not None:
                copy_context().run(self._in, life, serial.arrive, data)
        elif self.datagrams is not None:
            copy_context().run(
                self._in, life, self.datagrams.protocol.datagram_received, data, ("10.0.0.9", device.number)
            )

    def _in(self, life: Life, function: Callable[..., None], *arguments: Any) -> None:
        LIFE.set(life)
        function(*arguments)

    def to_device(self, device: Device, data: bytes) -> None:
        """A frame on its way down; what is stored by now is what it may speak of."""
        if device.number in self.unplugged:
            return
        self.trace("edge", "sends", device.number, short(data))
        device.line.down(data, self.truth.edge[device.number].upto)

    def _watched(self, device: int, receive: Callable[..., None], *arguments: Any) -> None:
        self.truth.speaking = device
        receive(*arguments)
