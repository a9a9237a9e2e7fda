"""The agent's process killed at each of its calls that write, and at any moment under load.

Quick: a seeded sample; GATEPOST_SOAK=1: every boundary, and 500 moments. GATEPOST_SEED=n chooses another sample.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from edge_agent.tests.device import sync
from edge_agent.tests.faults.campaign import (
    FIRST,
    LANES,
    START,
    STOP,
    TRIES,
    Boundary,
    Campaign,
    all_of,
    campaign,
    counted,
    gated,
    lived,
    restarted,
    sample,
    script,
)
from edge_agent.tests.faults.nursery import Nursery
from edge_agent.tests.faults.rig import SEED, SOAK, Tally, estate
from edge_agent.tests.faults.tracer import Tracer, needs_strace, threads
from edge_agent.tests.harness import until

pytestmark = pytest.mark.soak

QUICK = 48  # boundaries
MOMENTS = 500 if SOAK else 25
DEADLINE_S = 4 * 3600 if SOAK else 600


async def kill_at(at: Campaign, boundary: Boundary) -> bool:
    """True when the agent was killed there; in any case everything is well and runs again."""
    phase, (rank, call), number = boundary
    inject = f"signal=KILL:when={number}"
    made, tracer = at.made, Tracer(at.out)
    if phase == FIRST:
        return await kill_first(at, call, inject)
    if phase == START:
        await at.crash_with_work()
        child = await gated(made, tracer, [call], inject)
        await made.running()
    else:
        assert made.agent_process is not None
        child = made.agent_process
        tids = threads(child.pid)
        await tracer.attach(tids[min(rank, len(tids) - 1)], [call], inject)
    going = None
    if phase == STOP:
        await at.stop(child)
    else:
        going = asyncio.create_task(lived(made, child.ended.done))
        await asyncio.wait({going, child.ended}, return_when=asyncio.FIRST_COMPLETED)
    made.lost_at_edge(at.tally)
    await tracer.detach()
    killed = tracer.killed() and await child.ended == -signal.SIGKILL
    if child.ended.done():
        assert killed or phase == STOP, f"{boundary}, process {child.pid}: {made.said().decode()}"
        await restarted(made)
    await (going if going is not None else script(made))
    made.check_all(at.tally)
    return killed


async def kill_first(at: Campaign, call: str, inject: str) -> bool:
    """Killed during the very first start: the next one finds whatever is there."""
    new, tracer = at.new, Tracer(at.out)
    child = await gated(new, tracer, [call], inject)
    await new.running()
    await tracer.detach()
    killed = tracer.killed()
    if killed:
        assert await child.ended == -signal.SIGKILL, new.said().decode()
        await restarted(new)
    await at.close_new()
    return killed


async def kill_at_all(at: Campaign, boundaries: Sequence[Boundary]) -> int:
    """How many were not reached, although they were tried again."""
    missed = 0
    for boundary in boundaries:
        for _ in range(TRIES):
            if await kill_at(at, boundary):
                at.reached[boundary[0]] += 1
                break
        else:
            missed += 1
    return missed


@pytest.mark.parametrize("size", [5, 60])
def test_a_sample_leaves_out_no_kind_of_call(size: int) -> None:
    kinds = [(phase, (rank, call)) for phase in (FIRST, STOP) for rank in (0, 1) for call in ("write", "fsync", "link")]
    every = [(*kind, number) for kind in kinds for number in range(1, 21)]
    for seed in range(20):
        chosen = sample(every, size, random.Random(seed))
        assert {each[:2] for each in chosen} == set(kinds)
        assert len(set(chosen)) == len(chosen) == max(size, len(kinds))


async def test_at_every_call_that_writes(tmp_path: Path) -> None:
    needs_strace()
    tally = Tally()
    async with (
        asyncio.timeout(DEADLINE_S),
        Nursery() as nursery,
        campaign(tmp_path / "0", nursery, tally) as one,
        campaign(tmp_path / "1", nursery, tally) as two,
    ):
        counts = await counted(one, two)
        every = all_of(counts)
        chosen = every if SOAK else sample(every, QUICK, random.Random(SEED))
        missed = sum(
            await asyncio.gather(*(kill_at_all(at, chosen[lane::LANES]) for lane, at in enumerate((one, two))))
        )
    calls, phases = Counter[str](), Counter[str]()
    for (phase, (_, call)), times in counts.items():
        calls[call] += times
        phases[phase] += times
    for what in (phases, calls):
        print(f"faults: calls that write: {', '.join(f'{name} {n}' for name, n in what.most_common())}")
    reached = one.reached + two.reached
    tally.say(
        f"sigkill at write calls: {reached.total()} of {len(every)} boundaries "
        f"({', '.join(f'{phase} {n}' for phase, n in reached.items())}; {missed} not reached)"
    )
    assert reached.total() >= len(chosen) * 9 // 10


async def test_at_random_moments_under_load(tmp_path: Path) -> None:
    """Devices send as fast as they can; the agent is killed whenever, and the office now and then."""
    tally = Tally()
    minted = office_kills = moments = 0

    async def lane(number: int, nursery: Nursery) -> None:
        nonlocal minted, moments, office_kills
        rng = random.Random(SEED * 100 + number)
        async with estate(tmp_path / str(number), nursery, devices=3) as made:
            await restarted(made)
            for turn in range(MOMENTS // LANES + (number < MOMENTS % LANES)):
                made.mint(rng.randrange(50, 300))
                going = [
                    asyncio.create_task(sync(d, w, batch=rng.randrange(1, 12), rto_s=0.1, deadline_s=120))
                    for d, w in zip(made.devices, made.wires, strict=True)
                ]
                acked = sum(d.acked for d in made.devices)
                goal = acked + int(rng.random() * sum(d.last_seq - d.acked for d in made.devices))
                await until(lambda g=goal: sum(d.acked for d in made.devices) >= g, 60, "no progress")
                await asyncio.sleep(rng.random() * 0.02)  # any moment, not only that behind an ack
                child = made.agent_process
                assert child is not None
                child.kill()
                assert await child.ended == -signal.SIGKILL
                moments += 1
                made.lost_at_edge(tally)
                if turn % 5 == 4:
                    await made.bounce_office()
                    office_kills += 1
                await restarted(made)
                await asyncio.gather(*going)
            await made.drained(120)
            made.check_all(tally)
            minted += sum(d.last_seq for d in made.devices)

    async with asyncio.timeout(DEADLINE_S), Nursery() as nursery:
        await asyncio.gather(*(lane(number, nursery) for number in range(LANES)))
    assert moments == MOMENTS
    tally.say(f"sigkill under load: {moments} moments of the agent, {office_kills} of the office, {minted} events")
