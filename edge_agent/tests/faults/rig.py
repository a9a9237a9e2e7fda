"""Layer: an estate to be hurt: devices on a PTY and on UDP, an agent in its own process, a real office; its check."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import apsw

from edge_agent.tests.device import PtyWire, UdpWire, Wire, sync
from edge_agent.tests.faults.nursery import Child, Nursery, Record
from edge_agent.tests.harness import OWN, Site, until
from gatelink import events
from tools.office.tests import makers
from tools.office.tests.process import TOKENS, Server, configure

SOAK = os.environ.get("GATEPOST_SOAK") == "1"
SEED = int(os.environ.get("GATEPOST_SEED", "7"))
DRAIN_S = 60.0
RUNNING = b'"event": "running"'
EVERY_LINE = '[log]\nlevel = "debug"\n'  # for drills that count lines: none is left out because it comes often


class Tally:
    """What went wrong in a drill: all of it must stay 0."""

    def __init__(self) -> None:
        self.lost = self.doubled = self.disordered = self.altered = 0

    def told(self) -> str:
        return f"{self.lost} lost, {self.doubled} doubled, {self.disordered} out of order, {self.altered} altered"

    def well(self) -> bool:
        return not (self.lost or self.doubled or self.disordered or self.altered)

    def say(self, drill: str, more: str = "", seed: int = SEED) -> None:
        """The drill's line; fails when something was lost, doubled, disordered or altered."""
        print(f"faults: {drill}, {self.told()}{more} (seed {seed})")
        assert self.well(), f"seed {seed}: {self.told()}"


class Estate(Site):
    """One edge's files, with a server of its own as the office."""

    name = "lakeside"

    def __init__(self, folder: Path, nursery: Nursery, *, devices: int = 2, more: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.nursery = nursery
        self.log = folder / "agent.log"
        self.log.touch()
        super().__init__(folder, devices)
        keys = [makers.Device(each.device, each.event_key) for each in self.devices]
        self.office_config = configure(folder / "office", keys)
        self.server: Server | None = None
        self.more = more
        self.wires: list[Wire] = []
        self.rng = random.Random(SEED)
        self.agent_process: Child | None = None
        self.clock_file: Path | None = None

    async def open(self) -> None:
        """The office runs and the devices are plugged in."""
        self.server = await asyncio.to_thread(Server, self.office_config)
        self.point_at(self.server.port)
        self.wires = await self.plugged()

    async def plugged(self) -> list[Wire]:
        """The first device on the PTY, the others on UDP."""
        return [PtyWire(self.link), *[await UdpWire.to(self.udp_port) for _ in self.devices[1:]]]

    async def bounce_office(self) -> None:
        """The office is killed and starts again at the same address."""
        assert self.server is not None
        if self.server.process.poll() is None:
            self.server.kill()
        text = self.office_config.read_text().replace('"127.0.0.1:0"', f'"127.0.0.1:{self.server.port}"')
        self.office_config.write_text(text)
        self.server = await asyncio.to_thread(Server, self.office_config)

    def point_at(self, port: int, timeout_s: float = 5.0) -> None:
        """Where the agent looks for the office, from its next start on."""
        office = (
            f'[office]\nurl = "http://127.0.0.1:{port}"\ntoken = "{TOKENS[self.name]}"\n'
            f"backoff_min_ms = 20\nbackoff_max_ms = 200\ntimeout_s = {timeout_s}\n"
        )
        self.write(office=office, more=self.more)
        self.config_path.chmod(0o600)

    async def start(self, *, held: bool = False, record: Record | None = None) -> Child:
        """Starts an agent; it runs when running() is through."""
        self._since = self.log.stat().st_size
        self.agent_process = await self.nursery.start(
            self.config_path, self.log, held=held, record=record, clock=self.clock_file
        )
        return self.agent_process

    def said(self) -> bytes:
        """What the agent logged since its start."""
        with self.log.open("rb") as log:
            log.seek(self._since)
            return log.read()

    async def running(self) -> bool:
        """True once the agent runs, False when it ended before that."""
        child = self.agent_process
        assert child is not None
        await until(lambda: child.ended.done() or RUNNING in self.said(), 60, "the agent neither runs nor ends")
        return not child.ended.done()

    def mint(self, count: int = 1) -> None:
        """Every device takes note of `count` events, about every twelfth an alarm."""
        for device in self.devices:
            for _ in range(count):
                if self.rng.random() < 0.08:
                    device.mint(events.SOS, None)
                else:
                    device.mint()

    async def sync(self, batch: int = 1, deadline_s: float = DRAIN_S) -> None:
        """Devices send until all that they hold is acknowledged."""
        await asyncio.gather(
            *(
                sync(d, w, batch=batch, rto_s=0.1, deadline_s=deadline_s)
                for d, w in zip(self.devices, self.wires, strict=True)
            )
        )

    def at_office(self, device: int) -> list[tuple[int, int, int, bytes]]:
        """(seq, boot, uptime_cs, payload) of a device at the office, by seq."""
        path = self.folder / "office" / "data" / "office.db"
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(5_000)
        try:
            return [
                (seq, boot, uptime_cs, bytes(payload))
                for seq, boot, uptime_cs, payload in connection.execute(
                    "SELECT seq, boot, uptime_cs, payload FROM site_event WHERE site = ? AND device = ?"
                    " ORDER BY seq, boot",
                    (self.name, device),
                )
            ]
        finally:
            connection.close()

    def conflicts(self) -> int:
        """Identities that came to the office with two contents, and chains that do not fit."""
        path = self.folder / "office" / "data" / "office.db"
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(5_000)
        try:
            return int(
                connection.execute("SELECT (SELECT count(*) FROM conflict) + (SELECT count(*) FROM finding)").get
            )
        finally:
            connection.close()

    async def drained(self, deadline_s: float = DRAIN_S) -> None:
        """Waits until the office holds whatever the devices minted."""
        await until(
            lambda: all(len(self.at_office(d.device)) >= d.last_seq for d in self.devices),
            deadline_s,
            "the office does not get everything",
        )

    def lost_at_edge(self, tally: Tally) -> None:
        """Acknowledged to a device, and neither at the edge nor at the office: counted as lost."""
        for device in self.devices:
            acked = device.acked
            held = set(self.events(device.device)) | {row[0] for row in self.at_office(device.device)}
            tally.lost += len(set(range(1, acked + 1)) - held)

    def check_all(self, tally: Tally) -> None:
        """Edge and office hold what the devices minted: each once, as it was, in its order."""
        for device in self.devices:
            minted = {seq: entry[:3] for seq, entry in device.journal.items()}
            found = self.at_office(device.device)
            at_office = {seq: (boot, uptime_cs, payload) for seq, boot, uptime_cs, payload in found}
            tally.doubled += len(found) - len(at_office)
            tally.lost += len(minted.keys() - at_office.keys())
            tally.altered += sum(1 for seq in minted.keys() & at_office.keys() if minted[seq] != at_office[seq])
            tally.altered += len(at_office.keys() - minted.keys())
            times = [(boot, uptime_cs) for _, boot, uptime_cs, _ in found]
            tally.disordered += sum(1 for before, after in pairwise(times) if after < before)
        tally.altered += self.conflicts()
        self.check_edge(tally)

    def check_edge(self, tally: Tally) -> None:
        """The log: no event twice; the edge's own numbers without a gap, there or (old ones) at the office."""
        seen: set[tuple[int, int]] = set()
        for row in self.rows():
            if row.items:
                fresh = {(row.device, seq) for seq in range(row.first_seq, row.last_seq + 1)}
                tally.doubled += len(seen & fresh)
                seen |= fresh
        own = {seq for device, seq in seen if device == OWN} | {row[0] for row in self.at_office(OWN)}
        tally.lost += len(set(range(1, max(own, default=0) + 1)) - own)

    async def close(self) -> None:
        """Ends what runs."""
        if self.agent_process is not None:
            self.agent_process.kill()
        for wire in self.wires:
            wire.close()
        if self.server is not None:
            self.server.kill()


@asynccontextmanager
async def estate(folder: Path, nursery: Nursery, *, devices: int = 2, more: str = "") -> AsyncIterator[Estate]:
    """An estate with its office and devices; the agent is not started."""
    made = Estate(folder, nursery, devices=devices, more=more)
    try:
        await made.open()
        yield made
    finally:
        await made.close()

