"""The way to the office: half open, gone, answers that get lost, an office that is killed or restarted in mid-batch.

Quick: each fault a few times; GATEPOST_SOAK=1: a hundred and more, in seeded order.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from pathlib import Path

import pytest

from edge_agent.tests.faults.campaign import restarted
from edge_agent.tests.faults.nursery import Nursery
from edge_agent.tests.faults.rig import EVERY_LINE, SEED, SOAK, Estate, Tally, estate
from edge_agent.tests.harness import until
from edge_agent.tests.proxy import CHUNK, Proxy
from tools.simulate.proxy import Way, reset

pytestmark = pytest.mark.soak

ROUNDS = 25 if SOAK else 2  # of each fault
TIMEOUT_S = 1.0  # the agent's patience with the office
DEADLINE_S = 3_600 if SOAK else 240
HALF_OPEN, HALF_OPEN_KILLED, DOWN, LOST, KILLED, RESTARTED = (
    "half open", "half open and the agent killed", "refused", "receipts lost", "office killed", "office restarted",
)  # fmt: skip
FAULTS = (HALF_OPEN, HALF_OPEN_KILLED, DOWN, LOST, KILLED, RESTARTED)
AWAY, BACK = b'"event": "office not reached"', b'"event": "office reached"'  # each lane says it once an outage


class LosingProxy(Proxy):
    """Passes what goes up; the next `lose` answers break their connection instead of coming down."""

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self.lose = self.lost = 0

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
        if not way.answers:
            await super()._pump(reader, writer, way)
            return
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(CHUNK):
                if self.lose:
                    self.lose -= 1
                    self.lost += 1
                    reset(writer)
                    return
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
            writer.write_eof()


async def load(made: Estate, rng: random.Random) -> None:
    """The devices are not to notice anything of the office: what they mint is acknowledged by the edge."""
    made.mint(rng.randrange(20, 120))
    await made.sync(batch=rng.randrange(1, 9))


async def sending(made: Estate, proxy: LosingProxy, rng: random.Random) -> None:
    """Waits until a batch is on its way."""
    before = proxy.bytes_up
    await load(made, rng)
    await until(lambda: proxy.bytes_up > before, 30, "nothing is sent")


async def reached(made: Estate) -> None:
    """Waits until no lane is in an outage: what is said next is not about an older one."""
    await made.drained()
    await until(lambda: made.said().count(AWAY) == made.said().count(BACK), 30, "an outage does not end")


async def suffer(made: Estate, proxy: LosingProxy, fault: str, rng: random.Random) -> None:
    """One fault, from its beginning to its end."""
    if fault in (HALF_OPEN, DOWN):
        await reached(made)
    before = made.said().count(AWAY)
    if fault in (HALF_OPEN, HALF_OPEN_KILLED):
        proxy.hold()
        await load(made, rng)
        if fault == HALF_OPEN_KILLED:
            assert made.agent_process is not None
            made.agent_process.kill()
            await made.agent_process.ended
            await restarted(made)
        else:
            await until(lambda: made.said().count(AWAY) > before, 30, "the silence is not noticed")
        await load(made, rng)
        proxy.release()
    elif fault == DOWN:
        await proxy.stop()
        await load(made, rng)
        await until(lambda: made.said().count(AWAY) > before, 30, "that nobody is there is not noticed")
        await proxy.start()
    elif fault == LOST:
        lost = proxy.lost
        proxy.lose = rng.randrange(1, 5)
        await load(made, rng)
        await until(lambda: proxy.lost > lost, 30, "no receipt was lost")
    else:
        await sending(made, proxy, rng)
        assert made.server is not None
        if fault == KILLED:
            made.server.kill()
        else:
            await asyncio.to_thread(made.server.stop)
        await load(made, rng)
        await made.bounce_office()


async def test_every_fault_of_the_link(tmp_path: Path) -> None:
    tally, rng = Tally(), random.Random(SEED)
    faults = [each for each in FAULTS for _ in range(ROUNDS)]
    rng.shuffle(faults)
    done: Counter[str] = Counter()
    async with (
        asyncio.timeout(DEADLINE_S),
        Nursery() as nursery,
        estate(tmp_path / "e", nursery, more=EVERY_LINE) as made,
    ):
        assert made.server is not None
        proxy = LosingProxy(made.server.port)
        await proxy.start()
        try:
            made.point_at(proxy.port, timeout_s=TIMEOUT_S)
            await restarted(made)
            for fault in faults:
                await suffer(made, proxy, fault, rng)
                done[fault] += 1
                if rng.random() < 0.5:  # else the next one comes on top of what this one left
                    await made.drained()
            await made.drained()
            made.lost_at_edge(tally)
            made.check_all(tally)
        finally:
            await proxy.stop()
    told = ", ".join(f"{fault} {n}" for fault, n in done.items())
    tally.say(f"office link: {sum(d.last_seq for d in made.devices)} events through {told}")
