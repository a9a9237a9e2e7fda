"""Layer: one estate that is hurt at one of its agent's calls after the other; its store and office live through all."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from edge_agent.tests.device import Device
from edge_agent.tests.faults.nursery import Child, Nursery
from edge_agent.tests.faults.rig import SOAK, Estate, Tally, estate
from edge_agent.tests.faults.tracer import OPENS, WRITES, Call, Tracer, threads

RUN, START, FIRST, STOP = "run", "start", "first start", "stop"
STEPS = 20 if SOAK else 6
COUNTS = 2 if SOAK else 1
STOP_S = 60.0
LANES = 2  # estates that are hurt at the same time
SCRIPTS = 5
TRIES = 3  # a start's and a stop's length vary a little: so often is a boundary tried that was not reached

Boundary = tuple[str, Call, int]


async def script(made: Estate) -> None:
    """Some events in step, as devices live: one at a time, an alarm, a few at once; until the office has them."""
    for _ in range(STEPS):
        made.mint()
        await made.sync()
    made.mint(4)
    await made.sync(batch=3)
    await made.drained()


async def lived(made: Estate, reached: Callable[[], bool]) -> None:
    """Script after script until it is reached: how many calls one makes varies with what shares a commit."""
    for _ in range(SCRIPTS):
        await script(made)
        if reached():
            return


async def restarted(made: Estate) -> Child:
    before = made.agent_process
    child = await made.start()
    assert await made.running(), f"{child.pid} after {before and before.pid}: {made.said().decode()}"
    return child


async def gated(
    made: Estate, tracer: Tracer, calls: Sequence[str], inject: str = "", *, all_threads: bool = False
) -> Child:
    """An agent that is traced from its first line on."""
    child = await made.start(held=True)
    await tracer.attach(child.pid, calls, inject, all_threads=all_threads)
    child.kill(signal.SIGCONT)
    return child


def emptied(made: Estate) -> None:
    """A machine that never ran an agent, and devices without a history."""
    shutil.rmtree(made.folder / "data")
    seed = made.rng.randrange(1 << 30)  # other nonces: what is still on its way to the old ones is not for these
    made.devices = [Device(each.device, bytes([each.device]) * 32, seed=seed) for each in made.devices]


class Campaign:
    """One estate that is killed again and again; its store and its office live through all of it."""

    def __init__(self, made: Estate, new: Estate, tally: Tally) -> None:
        self.made = made
        self.new = new  # for first starts: has no history
        self.tally = tally
        self.reached: Counter[str] = Counter()
        self.out = made.folder / "strace.out"

    async def count(self) -> Counter[tuple[str, Call]]:
        """How many boundaries there are: phase and call -> how often."""
        found: Counter[tuple[str, Call]] = Counter()

        def add(phase: str, tracer: Tracer, tids: list[int]) -> None:
            for call, times in tracer.counts(tids).items():
                found[phase, call] += times

        made = self.made
        child = made.agent_process
        assert child is not None
        tracer = Tracer(self.out)
        tids = threads(child.pid)
        await tracer.attach(child.pid, WRITES, all_threads=True)
        await script(made)
        await tracer.detach()
        add(RUN, tracer, tids)
        tids = threads(child.pid)
        await tracer.attach(child.pid, WRITES, all_threads=True)
        await self.stop(child)
        assert child.ended.result() == 0
        await tracer.detach()
        add(STOP, tracer, tids)
        for where, phase in ((made, START), (self.new, FIRST)):
            if where is made:
                await self.crash_with_work()
            started = await gated(where, tracer, WRITES + OPENS, all_threads=True)
            assert await where.running()
            await tracer.detach()
            add(phase, tracer, [started.pid])
        await self.close_new()
        for key in [key for key in found if key[1][0] < 0]:
            del found[key]  # threads that were not there yet have no calls of their own to be named
        return found

    async def close_new(self) -> None:
        """Ends the agent of the empty store, after it has taken something."""
        self.new.mint(2)
        await self.new.sync()
        for device in self.new.devices:
            self.new.check(device)
        child = self.new.agent_process
        assert child is not None
        assert await child.end() == 0
        emptied(self.new)

    async def stop(self, child: Child) -> None:
        """The agent is told to stop while frames come in; waits until it has ended."""
        self.made.mint(3)
        child.kill(signal.SIGTERM)
        for device, wire in zip(self.made.devices, self.made.wires, strict=True):
            wire.send(device.batch(device.acked + 1, 3))
        async with asyncio.timeout(STOP_S):
            await child.ended

    async def crash_with_work(self) -> None:
        """The agent ends without warning, so that the next start has to clear up."""
        made = self.made
        if made.agent_process is None or made.agent_process.ended.done():
            await restarted(made)
        made.mint(2)
        await made.sync()
        assert made.agent_process is not None
        made.agent_process.kill()
        await made.agent_process.ended


async def counted(*campaigns: Campaign) -> Counter[tuple[str, Call]]:
    """The calls that every one of some runs makes: their number varies a little, with what shares a commit."""
    found: Counter[tuple[str, Call]] | None = None
    for _ in range(COUNTS):
        for each in await asyncio.gather(*(campaign.count() for campaign in campaigns)):
            found = each if found is None else found & each
    assert found is not None
    return found


def all_of(counts: Counter[tuple[str, Call]]) -> list[Boundary]:
    return [(phase, call, n + 1) for (phase, call), times in sorted(counts.items()) for n in range(times)]


def sample(boundaries: list[Boundary], size: int, rng: random.Random) -> list[Boundary]:
    """One of every phase, thread and kind of call, however many these are, then whatever comes, up to `size`."""
    by_kind: dict[tuple[str, Call], list[Boundary]] = {}
    for each in boundaries:
        by_kind.setdefault(each[:2], []).append(each)
    chosen = [rng.choice(each) for each in by_kind.values()]
    rest = [each for each in boundaries if each not in chosen]
    chosen += rng.sample(rest, max(0, min(size - len(chosen), len(rest))))
    rng.shuffle(chosen)
    return chosen


@asynccontextmanager
async def campaign(folder: Path, nursery: Nursery, tally: Tally) -> AsyncIterator[Campaign]:
    """An estate whose agent runs, and a place for first starts beside it."""
    async with estate(folder, nursery) as made:
        new = Estate(folder / "new", nursery)
        new.wires = await new.plugged()
        try:
            await restarted(made)
            await script(made)
            yield Campaign(made, new, tally)
        finally:
            await new.close()
