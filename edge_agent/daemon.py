"""Layer: composition root, the only file that knows every part: builds them, runs them, ends them in order."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

from edge_agent import config as configuration
from edge_agent import identity, keyring, logs, own_events
from edge_agent.chronicle import Chronicle
from edge_agent.clock import Clock
from edge_agent.config import Config
from edge_agent.counters import Rejects
from edge_agent.docking import Docking
from edge_agent.down_piv import DownCounter
from edge_agent.entries import Own
from edge_agent.errors import ConfigError, EdgeError, StoreClosedError, StoreError
from edge_agent.ingest import Ingest, Limits
from edge_agent.integrity.keeper import Keeper
from edge_agent.jams import Jams
from edge_agent.link import LinkSettings, Session, Shared
from edge_agent.orders import Orders
from edge_agent.outside import Outside
from edge_agent.planning import Plan
from edge_agent.room import Limits as RoomLimits
from edge_agent.room import Room
from edge_agent.service import hang
from edge_agent.service.heartbeat import Heartbeat, language
from edge_agent.service.notify import Notifier
from edge_agent.store import devices, loose
from edge_agent.store.database import TRANSIENT, transaction
from edge_agent.store.devices import Ledger
from edge_agent.switchboard import Switchboard
from edge_agent.sync.uploader import Uploader
from edge_agent.sync.wire import DeviceInfo
from edge_agent.transports.port import Listener, Port
from edge_agent.updates.courier import Courier, gap_ms
from edge_agent.version import VERSION
from edge_agent.web.feed import Feed
from edge_agent.web.guard import Guard
from edge_agent.web.page import Page
from edge_agent.web.server import Listen, StatusServer
from edge_agent.web.snapshot import Reporter

SWITCH_S = 0.001
BUSY_FRAMES = 64  # so many frames wait for a commit: updates wait, too


class Agent:
    """All parts of one running agent. start() and stop() may each be called once."""

    def __init__(self, config: Config, clock: Clock, outside: Outside | None = None) -> None:
        outside = outside or Outside()
        self.config = config
        self.clock = clock
        self.log = logs.Log("edge")
        self.rejects = Rejects()
        self.chronicle = Chronicle(self.log, self.record)
        self.identity = identity.load_or_make(config.data_dir)
        self.database = outside.database(config.data_dir)
        writer = self.database.writer
        ledgers = devices.load(writer)
        sessions = devices.load_sessions(writer)
        loosely = loose.load(writer)
        try:
            with transaction(writer):
                keys = keyring.settle(writer, config.devices, ledgers, config.source.name)
        except ConfigError:
            self.database.close()
            raise
        for device in keys.renewed:
            sessions.pop(device, None)
        with transaction(writer):
            boot = devices.meta(writer, devices.EDGE_BOOT) + 1
            clean = boot == 1 or devices.meta(writer, devices.CLEAN_STOP) == 1
            restored = devices.meta(writer, devices.RESTORED)
            devices.set_meta(writer, devices.RESTORED, 0)
            devices.set_meta(writer, devices.EDGE_BOOT, boot)
            devices.set_meta(writer, devices.CLEAN_STOP, 0)
            self._down = DownCounter.open(writer, clock.now_ms() // 1000)
        ledgers.setdefault(config.device_id, Ledger(config.device_id, 0))
        self.ingest = Ingest(
            self.database,
            ledgers,
            config.device_id,
            boot,
            Limits(config.max_wait_ms / 1000, config.max_events, config.queue_frames),
            outside.writer(),
        )
        self._down.submit = self.ingest.submit
        self.switchboard = Switchboard(clock, self.rejects)
        clock.watch(config.clock_error_ms, config.clock_source)
        clock.on_step = self._clock_set
        self._stepped_ms = 0
        self._ending = False
        self.orders = Orders(self.switchboard, self.ingest.submit, clock, self.log)
        settings = LinkSettings(config.window, config.drift_ppm, config.command_retry_ms)
        self.room = Room(
            RoomLimits(config.keep_days, config.reserve_mb << 20, config.ballast_mb << 20),
            outside.disk(config.data_dir), self.database, self.ingest.submit, lambda: self.ingest.stalled, clock.now_ms,
            lambda: clock.error_ms is not None, self.record,
        )  # fmt: skip
        shared = Shared(
            clock, self._down.next, self.ingest.submit, self.rejects, self.chronicle.online, self.chronicle.offline,
            lambda: self.room.full,
        )  # fmt: skip
        for each in config.devices:
            row = keys.rows[each.device]
            if row.revoked_ms is not None:
                self.switchboard.revoke(each.device)
                continue
            session = Session(each, row, settings, shared)
            session.restore(ledgers[each.device], sessions.get(each.device))
            session.moments.restore(loosely.get(each.device, []))
            self.switchboard.add(session)
            if each.revoked:
                self.orders.drop_key(session)
        listener = Listener(
            self.switchboard.frames, self.switchboard.refused, self.chronicle.port_up, self.chronicle.port_lost
        )
        self.ports: list[Port] = [outside.port(port, listener) for port in config.ports]
        Docking(self.switchboard.sessions, self.record, clock).follow(self.ports)
        self.jams = Jams(self.ports, self.record)
        self.uploader: Uploader | None = None
        self.keeper: Keeper | None = None
        if config.office is not None:
            self.uploader = Uploader(
                config.office, config.site, config.edge, self.database, self.ingest.submit,
                self._describe, clock.now_ms, outside.post(config.office, config.site), outside.rng,
            )  # fmt: skip
            self.keeper = Keeper(
                config.site, config.edge, self.identity, self.database, self.ingest.submit,
                self.uploader.send_head, clock.now_ms, config.office.head_pause_s, outside.rng,
            )  # fmt: skip
            self.uploader.on_receipt = self.keeper.delivered
        self.ingest.on_commit = self._committed
        self.ingest.on_full = self._full
        self.ingest.on_flowing = self._flowing
        self.ingest.on_stall = self._stalled
        self.courier = Courier(
            clock,
            gap_ms(
                config.update_gap_ms,
                min((p.baudrate for p in config.ports if p.kind != "udp"), default=None),
            ),
            self.ingest.submit,
            self.switchboard.sessions,
            lambda: bool(self.ingest.stalled) or self.ingest.waiting > BUSY_FRAMES,
        )
        self.courier.restore(writer)
        self.courier.on_end = self.orders.update_over
        self._stalls = 0
        self.reporter = Reporter(
            config,
            clock,
            self.database,
            self.switchboard,
            self.rejects,
            self.ports,
            self.ingest,
            self.uploader,
            self.courier,
            self.keeper,
            self.room,
        )
        self.feed = Feed()
        self.status = StatusServer(
            Listen(config.status_listen, config.status_tls),
            Guard(config.viewer_token, config.control_token, self.chronicle.guessing),
            self.reporter.snapshot,
            self.feed,
            Page(f"{config.site} / {config.edge}", self._name),
            self.orders.control(self.courier),
        )
        self._watch: asyncio.Task[None] | None = None
        self._carry: asyncio.Task[None] | None = None
        cause = own_events.RESTORED if restored else own_events.CLEAN if clean else own_events.CRASHED
        self.record(own_events.boot(VERSION, cause))
        self.log.info(
            "starting", boot=boot, clean=clean, restored=bool(restored), devices=len(config.devices),
            ports=len(self.ports),
        )  # fmt: skip

    async def start(self) -> None:
        """Runs the parts. Raises EdgeError when an address can't be had."""
        # The writer comes back from every fsync to a busy loop: with Python's 5 ms it waits longer for the interpreter
        # than for the disk (2,000 events/s on a loaded machine: median 171 ms, with 1 ms 6 ms).
        sys.setswitchinterval(SWITCH_S)
        self.ingest.start()
        try:
            await self.status.start()
            for port in self.ports:
                await port.start()
            if self.uploader is not None:
                self.uploader.on_outage = self.chronicle.outage
                self.uploader.on_refused = self.chronicle.refused
                await self.uploader.start()
            if self.keeper is not None:
                self.keeper.start()
            self.room.start()
        except OSError as error:
            await self.stop()
            raise EdgeError(f"an address or certificate can't be used: {error}") from error
        self._watch = asyncio.create_task(self._check_silence(), name="silence")
        self._carry = asyncio.create_task(self.courier.run(), name="updates")
        self.log.info("running", status_port=self.status.port)

    def tasks(self) -> list[asyncio.Future[None]]:
        """What must live as long as the agent."""
        found: list[asyncio.Future[None]] = [*self.ingest.tasks, *self.room.tasks]
        if self.uploader is not None:
            found += self.uploader.tasks
        if self.keeper is not None:
            found += self.keeper.tasks
        for port in self.ports:
            found += port.tasks
        return found + [task for task in (self._watch, self._carry) if task is not None]

    async def stop(self) -> None:
        """Stops reading, commits what was read, closes; what the disk refused stays with the devices."""
        for task in (self._watch, self._carry):
            if task is not None:
                task.cancel()
        self._ending = True  # no port is read again, though the queue may flow once more
        for port in self.ports:
            port.pause()
        self.record(own_events.own(own_events.STOPPED))
        await self.room.stop()
        if self.keeper is not None:
            await self.keeper.stop()
        if self.uploader is not None:
            await self.uploader.stop()
        committed = await self.ingest.close()
        await asyncio.sleep(0)  # the answers of the last commit go out
        for port in self.ports:
            await port.stop()
        await self.status.stop()
        committed = committed and devices.ended_cleanly(self.database.writer)
        self.database.close()
        self.log.info("stopped", committed=committed)

    def record(self, payload: bytes) -> None:
        """An event of the edge itself; dropped only when the store is already closing."""
        clock = self.clock
        try:
            self.ingest.submit(Own(payload, clock.uptime_ms() // 10, clock.now_ms(), clock.error_ms))
        except StoreClosedError:
            self.log.warning("own event after the store closed", payload=payload.hex())

    # What the parts report.

    def _committed(self, plan: Plan) -> None:
        self.switchboard.committed(plan)
        self.feed.committed(plan.rows, (self.clock.now_ms(), self.clock.error_ms))
        if self.uploader is not None:
            self.uploader.committed(bool(plan.rows), plan.alarm_events > 0)
        self.chronicle.noticed(plan)

    def _clock_set(self, by_ms: int) -> None:
        """This machine's clock was set: what it said before and what it says now are not mixed without widening."""
        stepped = self.clock.stepped_ms - self._stepped_ms
        self._stepped_ms += stepped
        if stepped:
            for session in self.switchboard.sessions.values():
                session.moments.stepped(stepped)
            self.room.stepped(by_ms)
        known = self.clock.error_ms is not None
        self.log.warning("this machine's clock was set", by_ms=by_ms, time_known=known)
        self.record(own_events.own(own_events.CLOCK_STEP, by_ms, int(known)))

    def _full(self) -> None:
        for port in self.ports:
            port.pause()
        self.log.warning("queue full, ports paused", waiting=self.ingest.waiting)
        self.record(own_events.own(own_events.QUEUE, 0))

    def _flowing(self) -> None:
        if not self._ending:
            for port in self.ports:
                port.resume()
        self.log.info("queue flows again", waiting=self.ingest.waiting)
        self.record(own_events.own(own_events.QUEUE, 1))

    def _stalled(self, error: str | None) -> None:
        if error is not None:
            self.ingest.stalled = error
            self._stalls += 1
            self.log.error("commits fail, nothing is acknowledged meanwhile", error=error)
        else:
            self.ingest.stalled = ""
            self.log.info("commits succeed again")
            self.record(own_events.own(own_events.STORE, self._stalls))

    def _name(self, device: int) -> str:
        session = self.switchboard.sessions.get(device)
        return session.config.name if session is not None else self.config.edge

    def _describe(self, wanted: set[int]) -> dict[int, DeviceInfo]:
        found: dict[int, DeviceInfo] = {}
        for device in wanted:
            session = self.switchboard.sessions.get(device)
            if session is not None:
                found[device] = (
                    session.config.role, session.config.name, session.firmware, session.battery_mv,
                    session.last_contact_ms,
                )  # fmt: skip
            elif device == self.config.device_id:
                firmware = f"{own_events.FIRMWARE} {VERSION}"[:32]  # more the office refuses
                found[device] = (0, self.config.edge, firmware, None, self.clock.now_ms())
        return found

    async def _check_silence(self) -> None:
        pause_s = min(max(self.clock.real_s(self.config.offline_after_ms / 4), 0.01), 1.0)
        while True:
            await asyncio.sleep(pause_s)
            self.switchboard.check_silence(self.config.offline_after_ms)
            self.jams.look()


async def run(config_path: Path | str) -> None:
    """Runs the agent until SIGTERM or SIGINT. Raises EdgeError (ConfigError, StoreError) when it can't start."""
    config = configuration.load(config_path)
    clock = Clock(config.rehearsal)
    logs.configure(config.log_level, clock.now_ms)
    try:
        agent = Agent(config, clock)
    except TRANSIENT as failure:
        raise StoreError(f"the store can't be used, is the disk full or broken? ({failure})") from failure
    left = hang.arm(config.data_dir)
    if left:
        agent.log.error("the last run hung or crashed; its threads stood here", stacks=left)
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    await agent.start()
    asked = asyncio.create_task(ending.wait())
    heart = Heartbeat(Notifier(), agent.ingest, agent.status.snapshot, language())
    beating = asyncio.create_task(heart.run(), name="heartbeat")
    try:
        watched: set[asyncio.Future[Any]] = {asked, beating, *agent.tasks()}
        done, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
    finally:
        beating.cancel()
        await heart.stop()
        await agent.stop()
    asked.cancel()
    for finished in done - {asked}:
        error = finished.exception()
        raise error if error is not None else EdgeError("a part of the agent ended by itself")
