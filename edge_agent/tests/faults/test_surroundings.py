"""What an agent's machine does to it: a disk that fills and empties, a clock that is set, a second agent.

Quick: a few times each; GATEPOST_SOAK=1: many.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent import own_events
from edge_agent.tests.device import sync
from edge_agent.tests.faults.campaign import restarted
from edge_agent.tests.faults.nursery import ROOT, Nursery
from edge_agent.tests.faults.rig import RUNNING, SEED, SOAK, Estate, Tally, estate
from edge_agent.tests.harness import OWN, until
from gatelink import cbor

pytestmark = pytest.mark.soak

SECOND_S = 30.0
REFUSED = 1
MIB = 1 << 20
FULL = b"the disk is full"


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A file system of its own, of `size` bytes, at `folder`; skips loudly where nothing can be mounted."""
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "none", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip()
        print(f"faults: SKIPPED, THE FULL DISK WAS NOT TRIED: {why}")
        # mounting takes root: a container without it can have no disk of its own size
        pytest.skip(f"a full disk was NOT tried: {why}")  # the machine's to allow; the line above is loud about it
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path: Path) -> None:
    """Takes all the room that is left, as another program might."""
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
        for size in (65_536, 4_096, 512, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """The estate's data_dir, on a disk of 24 MiB."""
    with small_disk(tmp_path / "e" / "data", 24 * MIB) as made:
        yield made


async def test_a_disk_that_fills_and_empties(tmp_path: Path, disk: Path) -> None:
    """Another program takes all the room; events wait with their devices, an agent killed meanwhile starts again."""
    rounds = 40 if SOAK else 4
    tally, rng = Tally(), random.Random(SEED)
    kills = refusals = 0
    filler = disk / "somebody-elses.log"
    more = "[disk]\nreserve_mb = 1\nballast_mb = 1\n"
    async with (
        asyncio.timeout(3_600 if SOAK else 240),
        Nursery() as nursery,
        estate(tmp_path / "e", nursery, more=more) as made,
    ):
        child = await restarted(made)
        for turn in range(rounds):
            await made.sync()
            before = made.said().count(FULL)
            fill(filler)
            made.mint(rng.randrange(200, 600))
            acked = sum(d.acked for d in made.devices)
            going = asyncio.create_task(made.sync(batch=rng.randrange(1, 9), deadline_s=120))
            await until(lambda b=before: made.said().count(FULL) > b, 60, "the full disk is not noticed")
            made.lost_at_edge(tally)
            if turn % 2:
                child.kill()
                await child.ended
                kills += 1
                child = await made.start()
                if not await made.running():
                    assert child.ended.result() == REFUSED, made.said().decode()
                    assert b"Traceback" not in made.said(), made.said().decode()
                    refusals += 1
            made.lost_at_edge(tally)
            assert sum(d.acked for d in made.devices) >= acked
            filler.unlink()
            if child.ended.done():
                child = await restarted(made)
            await going
        await made.drained()
        made.check_all(tally)
        own = max(made.events(OWN), default=0)
        await until(lambda: len(made.at_office(OWN)) >= own, 60, "the office lacks events of the edge itself")
        alarms = sum(1 for event in made.at_office(OWN) if _kind(event[3]) == own_events.DISK)
        assert await child.end() == 0
    assert alarms >= rounds
    tally.say(
        f"disk full: {rounds} times, {alarms} events DISK, {kills} agents killed while it was, {refusals} could not "
        f"start there and said so, {sum(d.last_seq for d in made.devices)} events"
    )


def _kind(payload: bytes) -> int:
    return int(cbor.loads(payload)[0])


async def test_a_clock_that_is_set(tmp_path: Path) -> None:
    """Forwards and back, by seconds to years, under load; and an agent that is killed and starts with another time."""
    rounds = 60 if SOAK else 6
    tally, rng = Tally(), random.Random(SEED)
    steps = [1_000, -1_000, 3_600_000, -3_600_000, 86_400_000, -86_400_000, 400 * 86_400_000, -400 * 86_400_000]
    noticed = kills = 0
    async with asyncio.timeout(3_600 if SOAK else 240), Nursery() as nursery, estate(tmp_path / "e", nursery) as made:
        made.clock_file = tmp_path / "off"
        off = 0
        made.clock_file.write_bytes(off.to_bytes(8, "little", signed=True))

        def set_clock(by_ms: int) -> None:
            nonlocal off
            off += by_ms
            assert made.clock_file is not None
            with made.clock_file.open("r+b") as file:
                file.write(off.to_bytes(8, "little", signed=True))

        await restarted(made)
        for turn in range(rounds):
            made.mint(rng.randrange(20, 100))
            going = asyncio.create_task(made.sync(batch=rng.randrange(1, 9)))
            if turn % 3 == 2:
                child = made.agent_process
                assert child is not None
                child.kill()
                await child.ended
                set_clock(rng.choice(steps))
                kills += 1
                await restarted(made)
            else:
                before = made.said().count(b"clock was set")
                set_clock(rng.choice(steps))
                made.mint(5)  # frames are when it looks
                await going
                await made.sync()
                await until(lambda b=before: made.said().count(b"clock was set") > b, 30, "the step is not noticed")
                noticed += 1
            await going
        await made.drained()
        made.check_all(tally)
        own = max(made.events(OWN), default=0)
        await until(lambda: len(made.at_office(OWN)) >= own, 60, "the office lacks events of the edge itself")
        stepped = sum(1 for event in made.at_office(OWN) if _kind(event[3]) == own_events.CLOCK_STEP)
        assert all(row.t_lo_ms <= row.t_hi_ms for row in made.rows())
    assert stepped >= noticed
    tally.say(
        f"clock set: {noticed} times while the agent ran ({stepped} CLOCK_STEP events), {kills} times between a "
        f"kill and the next start, {sum(d.last_seq for d in made.devices)} events"
    )


async def second(made: Estate) -> tuple[int, str]:
    """`gatepost edge run` on the same configuration, as a technician starts it: exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tools.cli", "edge", "run", "--config", str(made.config_path),
        stderr=asyncio.subprocess.PIPE, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "protocol")])},
    )  # fmt: skip
    async with asyncio.timeout(SECOND_S):
        _, said = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_two_agents_on_one_store(tmp_path: Path) -> None:
    tries, races = (20, 200) if SOAK else (2, 6)
    tally = Tally()
    async with asyncio.timeout(3_600 if SOAK else 240), Nursery() as nursery, estate(tmp_path / "e", nursery) as made:
        await restarted(made)
        first = made.agent_process
        assert first is not None
        for _ in range(tries):
            made.mint(100)
            going = [asyncio.create_task(sync(d, w, batch=2)) for d, w in zip(made.devices, made.wires, strict=True)]
            code, said = await second(made)
            assert code == REFUSED
            assert said.count("\n") == 1, said
            assert f"process {first.pid}" in said, said
            await asyncio.gather(*going)
            assert not first.ended.done()
        assert await first.end() == 0
        for _ in range(races):  # both at the same moment: one of them runs, the other names it
            logs = [tmp_path / "a.log", tmp_path / "b.log"]
            for log in logs:
                log.write_bytes(b"")
            pair = [await nursery.start(made.config_path, log, held=True) for log in logs]
            for child in pair:
                child.kill(signal.SIGCONT)
            await until(lambda p=pair: any(c.ended.done() for c in p), SECOND_S, "neither gives way")
            loser = next(n for n in (0, 1) if pair[n].ended.done())
            winner = pair[1 - loser]
            assert pair[loser].ended.result() == REFUSED
            said = logs[loser].read_text()
            assert f"process {winner.pid}" in said, said
            await until(lambda f=logs[1 - loser]: RUNNING in f.read_bytes(), SECOND_S, "the first does not run")
            made.mint(1)
            await made.sync()
            assert await winner.end() == 0
        await restarted(made)
        await made.drained()
        made.check_all(tally)
    tally.say(f"two agents on one store: refused {tries} times beside a running one, {races} races with one winner")
