"""Layer: the end of a night: everything arrives and is proved, the boards go off, and nothing came between."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hw_tests.virtual_board.board import VirtualBoard
from tools.device_code import journal_events
from tools.simulate import stores
from tools.simulate.report import Finding

DEADLINE_S = 90.0
# A device tells its chain value with every STATUS; several pass in this time.
PROOF_S = 15.0
SETTLE_S = 3.0


@dataclass(frozen=True)
class Drained:
    """Whether the office got everything, and whether it could prove it."""

    arrived: bool
    proof: Finding


class _Level(NamedTuple):
    """One device: newest event in its flash, events at the office, how far they are proved."""

    device: int
    newest: int
    held: int
    proved: int


def _levels(site: str, boards: dict[int, VirtualBoard], office: Path) -> list[_Level]:
    held = stores.office_counts(office, site)
    found = []
    for device, board in boards.items():
        newest = max((event.seq for event in journal_events(board.journal_image())), default=0)
        proved = stores.office_chain(office, site, device).proved_to
        found.append(_Level(device, newest, held.get(device, 0), proved))
    return found


def _proof(levels: list[_Level]) -> Finding:
    behind = [
        f"{level.device} to {level.proved} of {level.newest}"
        for level in levels
        if level.proved < level.newest
    ]
    evidence = "proved only: " + ", ".join(behind) if behind else "to the newest event, while the devices ran"
    return Finding("histories proved by the devices' chains", not behind, evidence)


async def drain(site: str, boards: dict[int, VirtualBoard], office: Path) -> Drained:
    """Waits until the office has all that the boards hold, switches them off, and looks again."""
    begun = time.monotonic()
    proof = Finding("histories proved by the devices' chains", so=False, evidence="the events did not arrive")
    while time.monotonic() < begun + DEADLINE_S:
        levels = await asyncio.to_thread(_levels, site, boards, office)
        if not proof.so:
            proof = _proof(levels)
        complete = all(level.held >= level.newest for level in levels)
        if complete and (proof.so or time.monotonic() > begun + PROOF_S):
            await asyncio.gather(*(board.cut_power() for board in boards.values()))
            if await _settled(site, boards, office):
                return Drained(arrived=True, proof=proof)
            await asyncio.gather(*(board.power_on() for board in boards.values()))
        await asyncio.sleep(0.1)
    await asyncio.gather(*(board.cut_power() for board in boards.values()))
    return Drained(arrived=False, proof=proof)


async def _settled(site: str, boards: dict[int, VirtualBoard], office: Path) -> bool:
    """What was under way on the wire when the power went is still coming in."""
    settle = time.monotonic() + SETTLE_S
    while time.monotonic() < settle:
        levels = await asyncio.to_thread(_levels, site, boards, office)
        if all(level.held >= level.newest for level in levels):
            return True
        await asyncio.sleep(0.1)
    return False
