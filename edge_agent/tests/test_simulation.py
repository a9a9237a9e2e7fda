"""Whole worlds out of seeds: all invariants hold, a broken promise is noticed, and a seed plays the same anywhere."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from edge_agent.store.database import schema_steps, settle, transaction
from edge_agent.tests.simulation import campaign, faults
from edge_agent.tests.simulation.__main__ import main
from edge_agent.tests.simulation.disk import CrashedError, Disk
from edge_agent.tests.simulation.mutants import MUTANTS, Mutant, mutated
from edge_agent.tests.simulation.world import World, simulated

SEEDS = 100_000 if os.environ.get("GATEPOST_SOAK") == "1" else 10_000
WITHIN = 600  # seeds until a broken promise is noticed
SAME = 25


@pytest.mark.slow
@pytest.mark.soak
def test_all_invariants_hold() -> None:
    summary = campaign.run(1, SEEDS, campaign.processors(), lambda line: print(line, file=sys.stderr))
    for line in summary.lines():
        print(line)
    assert not summary.failures
    assert faults.EFFECTS.keys() == faults.KINDS.keys()
    for kind, effects in faults.EFFECTS.items():
        assert summary.faults[kind] > SEEDS // 100, kind
        for effect in effects:  # drawn is not done: it may have met nobody
            assert summary.faults[effect] > SEEDS // 100, effect


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "_"))
def test_a_broken_promise_is_noticed(mutant: Mutant) -> None:
    with mutated(mutant):
        for seed in range(1, WITHIN + 1):
            violation = campaign.one(seed).violation
            if violation:
                assert "the simulation broke" not in violation, violation
                print(f"{mutant.name}: seed {seed}: {violation}")
                return
    pytest.fail(f"not noticed within {WITHIN} seeds: {mutant.name}")


async def _raise() -> None:
    await asyncio.sleep(0.1)
    raise RuntimeError("nobody looks")


def _in_a_task(world: World) -> None:
    world.as_edge(_raise())


def _in_a_callback(world: World) -> None:
    raise RuntimeError("nobody looks")


def _in_a_future(world: World) -> None:
    world.loop.create_future().set_exception(RuntimeError("nobody looks"))


def _in_a_task_that_is_looked_at(world: World) -> None:
    async def look() -> None:
        with pytest.raises(RuntimeError):
            await asyncio.create_task(_raise())

    world.as_edge(look())


def _in_a_process_that_ends(world: World) -> None:
    async def outlive() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise RuntimeError("nobody can look")

    world.as_edge(outlive())
    world.loop.after_ms(100, partial(world.edge.end, 1_000, power=False))


@pytest.mark.parametrize("what", [_in_a_task, _in_a_callback, _in_a_future])
def test_an_exception_that_nobody_looks_at_is_a_violation(what: Callable[[World], None]) -> None:
    assert "nobody looks" in _played_with(what)


@pytest.mark.parametrize("what", [_in_a_task_that_is_looked_at, _in_a_process_that_ends])
def test_one_that_is_looked_at_or_ends_with_its_process_is_none(what: Callable[[World], None]) -> None:
    assert _played_with(what) == ""


def _played_with(what: Callable[[World], None]) -> str:
    world = World(1)
    with simulated(world):
        world.loop.after_ms(10_000, what, world)
        return world.play().violation


def test_a_seed_plays_the_same_in_any_process() -> None:
    first = campaign.hashes(range(1, SAME + 1))
    assert len(set(first.values())) == SAME
    assert campaign.hashes(range(SAME, 0, -1)) == first
    for hash_seed in ("1", "2"):
        output = subprocess.run(
            [sys.executable, "-m", "edge_agent.tests.simulation", "--hashes", "--seeds", str(SAME)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            check=True,
            timeout=300,
        ).stdout
        assert {int(seed): trace for seed, trace in json.loads(output).items()} == first


def test_a_failing_seed_says_how_to_play_it_again(capsys: pytest.CaptureFixture[str]) -> None:
    with mutated(MUTANTS[0]):
        assert main(["--seeds", "3", "--jobs", "1"]) == 1
        told = capsys.readouterr().out.splitlines()
        command = next(line for line in told if line.startswith("  again")).split(": ")[1]
        assert command.startswith("python -m edge_agent.tests.simulation --seed ")
        assert main(command.split()[3:]) == 1
        diary = capsys.readouterr().out
    assert "fault: " in diary
    assert " VIOLATION " in diary
    assert main(command.split()[3:-1]) == 0
    assert "all invariants held" in capsys.readouterr().out


@pytest.mark.parametrize("synchronous", ["full", "normal"])
def test_the_disk_loses_what_was_not_synced(synchronous: str) -> None:
    lost = 0
    found: Counter[str] = Counter()
    for seed in range(60):
        rng = random.Random(seed)
        disk = Disk(rng, lambda what: found.update([what]))
        connection = disk.connect("/x")
        settle(connection, schema_steps())
        connection.pragma("synchronous", synchronous)
        disk.crash_in, disk.crash_power = rng.randrange(1, 60), True
        committed = 0
        try:
            for number in range(1, 40):
                with transaction(connection):
                    connection.execute("INSERT INTO meta VALUES (?, ?)", (f"{number:2000}", number))
                committed = number
        except CrashedError:
            found["ended"] += 1
        else:
            disk.crash(power=True)
        disk.bury()
        connection = disk.connect("/x")
        settle(connection, schema_steps())
        assert connection.execute("PRAGMA integrity_check").get == "ok"
        there = connection.execute("SELECT count(*) FROM meta").get
        lost += there < committed
        if synchronous == "full":
            assert committed <= there <= committed + 1
        disk.close()
    print(f"{synchronous}: lost in {lost} of 60 power cuts, {found['ended']} of them in a commit")
    assert (lost > 30) == (synchronous == "normal")
    assert found["ended"] > 40
