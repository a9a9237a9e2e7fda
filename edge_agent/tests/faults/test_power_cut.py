"""The power goes while edge and office write: what was not synced is dropped, in part or torn; then both are opened.

Real agents and a real office run on a recording VFS, are killed now and then, and syncs of theirs fail. Afterwards the
disks are rebuilt as a cut would have left them at many moments (GATEPOST_SOAK=1: at all, of longer lives).
"""

from __future__ import annotations

import asyncio
import random
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import apsw
import pytest

from edge_agent import runs
from edge_agent.store import devices
from edge_agent.store.database import Database
from edge_agent.tests.faults.cuts import ALL, NONE, SOME, Disk, records
from edge_agent.tests.faults.nursery import Child, Nursery
from edge_agent.tests.faults.rig import SEED, SOAK, Estate
from edge_agent.tests.harness import OWN, until
from tools.office.store.sqlite import SqliteStore
from tools.simulate.processes import free_port

pytestmark = pytest.mark.soak

LIVES = 60 if SOAK else 6  # of the agent, each ended by SIGKILL
CUTS = 6_000 if SOAK else 400
STARTED = b"Application startup complete."


class Recorded(Estate):
    """An estate whose office is recorded, too."""

    async def open(self) -> None:
        text = self.office_config.read_text()
        port = free_port(socket.SOCK_DGRAM)
        self.office_config.write_text(text.replace("127.0.0.1:0", f"127.0.0.1:{port}"))
        self.point_at(port)
        self.wires = await self.plugged()
        self.lives = 0

    async def office_runs(self, fail: int) -> None:
        """Starts the office as a supervisor does: again, when the disk failed it while it started."""
        log = self.folder / "office.log"
        log.touch()
        while True:
            begin = log.stat().st_size
            self.lives += 1
            record = (str(self.folder / f"office-{self.lives:03}.rec"), fail, SEED + self.lives)
            self.office = await self.nursery.start(self.office_config, log, what="office", record=record)
            await until(lambda b=begin: STARTED in log.read_bytes()[b:] or self.office.ended.done(), 60, "no office")
            if not self.office.ended.done():
                return
            assert self.office.ended.result() == 1, log.read_bytes()[begin:].decode()

    async def agent_runs(self, fail: int) -> Child:
        """Starts the agent as a supervisor does."""
        while True:
            self.lives += 1
            record = (str(self.folder / f"edge-{self.lives:03}.rec"), fail, SEED + self.lives)
            child = await self.start(record=record)
            if await self.running():
                return child
            assert child.ended.result() == 1, self.said().decode()


async def live(made: Recorded, fail: int) -> None:
    """Lives of an agent and an office; some of their syncs fail; all ends well."""
    rng = random.Random(SEED)
    await made.office_runs(fail)
    child = await made.agent_runs(fail)
    for life in range(LIVES):
        made.mint(rng.randrange(10, 40))
        going = asyncio.create_task(made.sync(batch=rng.randrange(1, 9)))
        acked = sum(d.acked for d in made.devices)
        left = sum(d.last_seq - d.acked for d in made.devices)
        goal = acked + round(left * rng.random())
        await until(lambda g=goal: sum(d.acked for d in made.devices) >= g, 60, "no progress")
        child.kill()
        await child.ended
        if life % 3 == 2:
            made.office.kill()
            await made.office.ended
            await made.office_runs(fail)
        child = await made.agent_runs(fail)
        await going
        assert not child.ended.done(), made.said().decode()
        assert not made.office.ended.done()
    child.kill()
    await child.ended
    child = await made.agent_runs(0)
    await made.drained()
    assert await child.end() == 0
    assert await made.office.end() == 0


class Cuts(NamedTuple):
    """How many, promised events that are gone, syncs that failed, device -> up to where was promised in the end."""

    count: int
    lost: int
    failed: int
    promised: dict[int, int]


def cut(
    folder: Path, pattern: str, rng: random.Random, check: Callable[[Path, dict[int, int]], int]
) -> Cuts:
    """Cuts at CUTS // 2 moments of the records that fit the pattern."""
    every = [record for log in sorted(folder.glob(pattern)) for record in records(log)]
    moments = sorted(rng.sample(range(len(every)), CUTS // 2))
    disk = Disk(rng.randrange(1 << 30))
    image = folder / "image"
    lost = at = 0
    for moment in moments:
        for record in every[at : moment + 1]:
            disk.take(record)
        at = moment + 1
        style = rng.choice((NONE, SOME, SOME, ALL))
        image.mkdir()
        disk.image(image, style, rng)
        lost += check(image, disk.promised)
        shutil.rmtree(image)
    for record in every[at:]:
        disk.take(record)
    return Cuts(len(moments), lost, disk.failed, disk.promised)


def at_edge(folder: Path, promised: dict[int, int]) -> int:
    """Opens the store as an agent does; how many promised events it lacks."""
    database = Database(folder)
    connection: apsw.Connection = database.writer
    try:
        assert connection.pragma("integrity_check") == "ok"
        ledgers = devices.load(connection)
        held: dict[int, set[int]] = {}
        for device, first, items in connection.execute("SELECT device, first_seq, items FROM log"):
            if items:
                count = len(runs.split(items))
                held.setdefault(device, set()).update(range(first, first + count))
        gone = 0
        for device, upto in promised.items():
            gone += len(set(range(1, upto + 1)) - held.get(device, set()))
            assert gone or not upto or ledgers[device].coverage.upto >= upto
        return gone
    finally:
        database.close()


def at_office(folder: Path, promised: dict[int, int]) -> int:
    """Opens the database as the office does; how many receipted events it lacks."""
    store = SqliteStore(folder)
    try:
        assert store._write.pragma("integrity_check") == "ok"
        held = {
            device: {event.seq for event in store.history("lakeside", device, 0, 1_000_000)} for device in promised
        }
        return sum(len(set(range(1, upto + 1)) - held[device]) for device, upto in promised.items() if device != OWN)
    finally:
        store.close()


@pytest.mark.parametrize("fail", [0, 150], ids=["syncs hold", "syncs fail"])
async def test_what_was_promised_survives_a_cut(tmp_path: Path, fail: int) -> None:
    async with Nursery() as nursery, asyncio.timeout(3600 if SOAK else 300):
        made = Recorded(tmp_path / "estate", nursery)
        try:
            await made.open()
            await live(made, fail)
        finally:
            await made.close()
    rng = random.Random(SEED + fail)
    edge = await asyncio.to_thread(cut, made.folder, "edge-*.rec", rng, at_edge)
    office = await asyncio.to_thread(cut, made.folder, "office-*.rec", rng, at_office)
    print(
        f"faults: power cut, {'15 % of all syncs fail' if fail else 'syncs hold'}: "
        f"edge {edge.count} cuts, {edge.lost} acknowledged events lost ({edge.failed} syncs failed); "
        f"office {office.count} cuts, {office.lost} receipted events lost ({office.failed} syncs failed) (seed {SEED})"
    )
    assert (edge.count, office.count) == (CUTS // 2, CUTS // 2)
    minted = {device.device: device.last_seq for device in made.devices}
    assert edge.promised == minted  # else nobody watched what the cuts are measured by
    assert {device: upto for device, upto in office.promised.items() if device != OWN} == minted
    assert (edge.lost, office.lost) == (0, 0)
    if fail:
        assert edge.failed
        assert office.failed
