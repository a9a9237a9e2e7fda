"""Layer: how long a tap takes until it is in flash and the tag says so, with and without an update coming in.

The board's time is stepped by hand and the edge's clock follows it, so that the figures are virtual ms, exact and the
same on every machine. The code itself takes no virtual time (see the README): what shows here is whether a tap ever
waits for its turn behind an update, not how fast a processor is.
"""

import asyncio
import random
from pathlib import Path
from typing import Any, NamedTuple

from edge_agent import config as configuration
from edge_agent.clock import Clock
from edge_agent.daemon import Agent
from edge_agent.updates.release import read
from hw_tests.tests.estate import DEVICE, EPOCH_MS, Estate, Releases

STEP_MS = 50
HOLD_MS = 400
GAP_MS = 2  # real ms between two chunks: many more of them in a virtual second than there ever are


class Taps(NamedTuple):
    """ms from the card's arrival to the beep, each tap; visits: UIDs tapped; stored: UIDs in the journal."""

    without: list[int]
    during: list[int]
    visits: list[bytes]
    stored: list[bytes]
    journal_kept: bool
    state: str


class Stepped:
    """Board and edge on one stepped clock."""

    def __init__(self, folder: Path, releases: Releases) -> None:
        config = {"watchdog_s": 0, "repeat_ms": 1000, "update_pause_s": 86_400}
        self.estate = Estate(folder, releases, config, manual=True)
        self.board = self.estate.board
        self._now_ms = EPOCH_MS
        loaded = configuration.load(folder / "edge.toml")._replace(update_gap_ms=GAP_MS, rehearsal=None)
        self.agent = Agent(loaded, Clock(wall=lambda: self._now_ms, steady=lambda: self._now_ms))
        self.visits: list[bytes] = []
        self._random = random.Random(1)

    async def step(self, ms: int) -> None:
        for start in range(0, ms, STEP_MS):
            passed = min(STEP_MS, ms - start)
            await self.board.advance(passed)
            self._now_ms += passed
            await asyncio.sleep(0.004)  # the edge's turn: it reads what came, and answers

    async def tap(self) -> int:
        uid = (0x04000000010000 + len(self.visits)).to_bytes(7, "big")
        await self.step(self._random.randrange(1, 200))
        at_ms = await self.board.uptime_ms()
        await self.board.tap(uid, HOLD_MS)
        self.visits.append(uid)
        await self.step(3000)
        beeps: list[list[float]] = (await self.board.state())["beeps"]
        return round(min(beep[0] for beep in beeps if beep[0] >= at_ms) - at_ms)

    def update(self) -> dict[str, Any]:
        found = self.agent.courier.describe(DEVICE)
        assert found is not None
        return found


async def measure(folder: Path, releases: Releases, count: int) -> Taps:
    """`count` taps before an update, then taps for as long as it is coming in and being checked (at least `count`)."""
    it = Stepped(folder, releases)
    await it.board.start()
    await it.agent.start()
    try:
        await it.step(5000)
        assert it.agent.switchboard.sessions[DEVICE].online
        without = [await it.tap() for _ in range(count)]
        before = it.estate.slots()
        files = {f"part_{n}.mpy": bytes([n]) * 1500 for n in range(6)}  # never started: see update_pause_s
        release = releases.write(3, files)
        await it.agent.courier.begin(DEVICE, read((release / "manifest").read_bytes(), files))
        during: list[int] = []
        while it.update()["phase"] != "waiting to restart" and len(during) < 50 * count:
            during.append(await it.tap())
        kept = it.estate.slots()[: len(before)] == before
        return Taps(without, during, it.visits, it.estate.visits(), kept, it.update()["phase"])
    finally:
        await it.agent.stop()
        await it.board.stop()
