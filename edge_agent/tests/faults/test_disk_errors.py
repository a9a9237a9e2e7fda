"""Each of the agent's calls that write fails: once, or from then on for a while; with "no space left" and "I/O error".

Quick: a seeded sample; GATEPOST_SOAK=1: every one of them.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from edge_agent.tests.faults.campaign import (
    FIRST,
    LANES,
    RUN,
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
from edge_agent.tests.faults.nursery import Child, Nursery
from edge_agent.tests.faults.rig import SEED, SOAK, Estate, Tally
from edge_agent.tests.faults.tracer import OPENS, Tracer, needs_strace, threads
from edge_agent.tests.harness import until

pytestmark = pytest.mark.soak

QUICK = 40
DEADLINE_S = 4 * 3600 if SOAK else 600
ERRORS = ("ENOSPC", "EIO")
FAILED, MISTAKE = 1, 2  # exit codes: a supervisor tries again after the first, a file can't be read at the second
LASTING = 3  # calls that fail at least while a lasting fault is there

Fault = tuple[Boundary, str, bool]  # lasting?


def possible(boundary: Boundary) -> bool:
    """Not the byte by which a thread or a signal wakes the loop: it never leaves memory, no disk or line refuses it."""
    phase, (rank, call), number = boundary
    return not ((rank > 0 and call == "sendto") or (phase == STOP and (call, number) == ("write", 1)))


async def fail_at(at: Campaign, fault: Fault, ends: Counter[str]) -> bool:
    """True when the call was made to fail. The agent lives through it, or says in one line why it can't start."""
    (phase, (rank, call), number), error, lasting = fault
    inject = f"error={error}:when={number}{'+' if lasting else ''}"
    made, tracer = at.made, Tracer(at.out)
    if phase == FIRST:
        return await fail_first(at, call, inject, ends)
    if phase == START:
        await at.crash_with_work()
        child = await gated(made, tracer, [call], inject)
    else:
        assert made.agent_process is not None
        child = made.agent_process
        tids = threads(child.pid)
        await tracer.attach(tids[min(rank, len(tids) - 1)], [call], inject)
    if phase == STOP:
        await at.stop(child)
        await tracer.detach()
        ends[f"exit {child.ended.result()}"] += 1
        assert b"Traceback" not in made.said(), made.said().decode()
        made.lost_at_edge(at.tally)
        await restarted(made)
        await script(made)
    else:
        going = asyncio.create_task(lived(made, lambda: child.ended.done() or tracer.injected() > 0))
        enough = LASTING if lasting else 1_000_000
        await until(lambda: going.done() or child.ended.done() or tracer.injected() >= enough, 60, "nothing happens")
        made.lost_at_edge(at.tally)
        await tracer.detach()
        await until(lambda: settled(made, child), 60, "it neither runs nor ends")
        if phase == START and child.ended.done():
            refused(made, child, call, ends)
            await restarted(made)
        await going
        child = made.agent_process
        assert not child.ended.done(), f"the agent ended: {made.said().decode()}"
    made.check_all(at.tally)
    return tracer.injected() > 0


def settled(made: Estate, child: Child) -> bool:
    """It ended, or listens; by its UDP socket: an agent that can't write its log goes on without a word."""
    bound = (line.split()[1] for line in Path("/proc/net/udp").read_text().splitlines())
    return child.ended.done() or any(address.endswith(f":{made.udp_port:04X}") for address in bound)


def refused(made: Estate, child: Child, call: str, ends: Counter[str]) -> None:
    """An agent that could not start said so in one line."""
    ends["not started"] += 1
    said = made.said().decode()
    if call == "write":
        assert child.ended.result() != 0  # what it had to say may have met the fault, too
        return
    assert child.ended.result() == FAILED or (call in OPENS and child.ended.result() == MISTAKE), said
    assert "Traceback" not in said, said
    assert said.strip().splitlines()[-1].startswith("gatepost: "), said


async def fail_first(at: Campaign, call: str, inject: str, ends: Counter[str]) -> bool:
    """The very first start of all on a disk that fails."""
    new, tracer = at.new, Tracer(at.out)
    child = await gated(new, tracer, [call], inject)
    await until(lambda: settled(new, child), 60, "no start")
    await tracer.detach()
    if child.ended.done():
        refused(new, child, call, ends)
        await restarted(new)
    await at.close_new()
    return tracer.injected() > 0


async def test_at_every_call_that_writes(tmp_path: Path) -> None:
    needs_strace()
    tally = Tally()
    ends: Counter[str] = Counter()

    async def all_at(at: Campaign, faults: Sequence[Fault]) -> None:
        for fault in faults:
            try:
                for _ in range(TRIES):
                    if await fail_at(at, fault, ends):
                        at.reached["hit"] += 1
                        break
                else:
                    at.reached["not reached"] += 1
            except (AssertionError, TimeoutError) as error:
                raise AssertionError(f"seed {SEED}, {fault}: {error}") from error

    async with (
        asyncio.timeout(DEADLINE_S),
        Nursery() as nursery,
        campaign(tmp_path / "0", nursery, tally) as one,
        campaign(tmp_path / "1", nursery, tally) as two,
    ):
        every = [each for each in all_of(await counted(one, two)) if possible(each)]
        rng = random.Random(SEED)
        if SOAK:
            faults = [(each, *how) for each in every for how in itertools.product(ERRORS, (False, True))]
        else:
            faults = [(each, rng.choice(ERRORS), rng.random() < 0.5) for each in sample(every, QUICK, rng)]
        await asyncio.gather(*(all_at(at, faults[lane::LANES]) for lane, at in enumerate((one, two))))
    reached = one.reached + two.reached
    told = ", ".join(f"{n} times {what}" for what, n in ends.items())
    tally.say(
        f"no space and I/O errors at write calls: {reached['hit']} faults at {len(every)} calls "
        f"({reached['not reached']} not reached; {told})"
    )
    assert reached["hit"] >= len(faults) * 9 // 10
    assert RUN in {fault[0][0] for fault in faults}
