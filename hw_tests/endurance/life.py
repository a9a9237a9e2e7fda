"""Layer: days of work on a role's real main program, and the heap that they take.

The heap is what stands in gc.mem_alloc(). `code`: alive when every module is loaded, before main() ran. The rest is
what the program needs to run. Nothing here is an estimate, but the peak is an upper bound: within a slice (the time
from one contact with the world to the next) nothing is collected, on a device it would be when the heap is full.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hw_tests.endurance.edge import Edge
from hw_tests.endurance.work import AWAY_MS, CONFIG, DAY_MS, DAYS, Moment
from hw_tests.virtual_board import wiring
from hw_tests.virtual_board.slices import Ran, SlicedBoard
from tools.setup import bytecode

DEVICE = 7
LINK_KEY = bytes(range(1, 33))
EVENT_KEY = bytes(range(2, 34))
WORK_MS = {"patrol_tag": 2_000, "barrier": 25_000}  # a tap, a passage and everything that follows from it
QUIET_MS = 10_000
# What a role may take beside its code, and what may have come to it after any number of days.
HEAP_BYTES = 60 * 1024
GROWTH_BYTES = 1024


@dataclass
class Day:
    """Heap bytes at its end (collected), in the fullest slice, and allocated by a tap or passage (the median)."""

    live: int = 0
    peak: int = 0
    per_work: int = 0
    works: int = 0
    durable_ms: list[tuple[float, float]] = field(default_factory=list)


@dataclass
class Life:
    """What days of work cost, heap in bytes above the empty VM."""

    role: str
    code: int = 0
    starting: int = 0  # main() until it waits for the first time, nothing collected
    started: int = 0  # alive a while after it
    days: list[Day] = field(default_factory=list)
    events: int = 0
    kinds: dict[int, int] = field(default_factory=dict)
    printed: str = ""

    @property
    def peak(self) -> int:
        """Of all days; code included."""
        return max(day.peak for day in self.days)

    @property
    def growth(self) -> int:
        """Bytes from the end of the first day to the end of the last."""
        return self.days[-1].live - self.days[0].live

    @property
    def durable_ms(self) -> tuple[float, float]:
        """(modelled, CPU) ms from a tap to its slot in the flash: the worst of the one, the median of the other."""
        found = [pair for day in self.days for pair in day.durable_ms]
        return max(pair[0] for pair in found), statistics.median(pair[1] for pair in found)


class _World:
    """A board with its edge; follows the time. `begun_ms`: when day 0 began."""

    def __init__(self, board: SlicedBoard, edge: Edge, day_ms: int) -> None:
        self.board = board
        self.edge = edge
        self.day_ms = day_ms
        self.now_ms = 0.0
        self.begun_ms = 0.0

    def until(self, at_ms: float, account: Callable[[Ran], None]) -> None:
        away_from, away_to = AWAY_MS
        while self.now_ms < at_ms:
            ran = self.board.run(at_ms - self.now_ms)
            self.now_ms = ran.us / 1000
            account(ran)
            self.edge.there = not away_from <= (self.now_ms - self.begun_ms) % self.day_ms < away_to
            answer = self.edge.receive(ran.sent, int(self.now_ms)) if ran.sent else b""
            if answer:
                self.board.receive(answer)


def compile_role(role: str, target: Path) -> dict[str, Path]:
    """Compiles a role -> {/lib/package: folder below `target`}. Raises RuntimeError."""
    folders = (*bytecode.SHARED, f"firmware/{role}")
    for folder in folders:
        _, complaints = bytecode.compile_folder(wiring.REPO, folder, target)
        if complaints:
            raise RuntimeError("\n".join(complaints))
        # a source beside its .mpy would be imported instead
        for source in (target / folder).glob("*.py"):
            source.unlink()
    return {f"/lib/{Path(folder).name}": target / folder for folder in folders}


def live(folder: Path, role: str, days: int, *, day_ms: int = DAY_MS, seed: int = 1) -> Life:
    """Plays `days` of work. Raises RuntimeError when the device died or lost something."""
    found = Life(role)
    board = SlicedBoard(folder, role, compile_role(role, folder / "mpy"), plant={"travel_ms": 3000})
    board.provision(DEVICE, LINK_KEY, EVENT_KEY, CONFIG[role])
    edge = Edge(DEVICE, LINK_KEY)
    with board:
        idle = board.idle
        found.code = board.load(f"{role}.main") - idle
        world = _World(board, edge, day_ms)
        first = board.run(1)
        world.now_ms = world.begun_ms = first.us / 1000
        found.starting = first.peak - idle
        if first.sent:
            board.receive(edge.receive(first.sent, int(world.now_ms)))
        started = Day()
        world.until(world.now_ms + 60_000 + QUIET_MS, lambda ran: _take(started, ran, idle))
        found.started = started.live
        world.begun_ms = world.now_ms
        for number in range(days):
            day = Day()
            found.days.append(day)
            begun_ms = world.begun_ms + number * day_ms
            moments = [moment for moment in DAYS[role](number, seed) if moment.at_ms < day_ms - WORK_MS[role]]
            _live_day(world, day, moments, role, idle, begun_ms)
        found.printed = board.ask("state")["printed"]
    found.events = edge.acked
    found.kinds = edge.kinds
    if edge.refused or edge.pending > 1 or sum(edge.kinds.values()) != edge.acked:
        raise RuntimeError(f"not everything arrived: {edge.acked} events, {edge.pending} pending")
    return found


def _take(day: Day, ran: Ran, idle: int) -> None:
    day.live = ran.live - idle
    day.peak = max(day.peak, ran.peak - idle)


def _live_day(world: _World, day: Day, moments: list[Moment], role: str, idle: int, begun_ms: float) -> None:
    per_work: list[int] = []
    for moment in moments:
        world.until(begun_ms + moment.at_ms, lambda ran: _take(day, ran, idle))
        world.board.ask(moment.op, **moment.arguments)
        if not moment.is_work:
            continue
        spent: list[Ran] = []

        def account(ran: Ran, spent: list[Ran] = spent) -> None:
            spent.append(ran)
            _take(day, ran, idle)

        world.until(world.now_ms + WORK_MS[role], account)
        day.works += 1
        per_work.append(sum(ran.allocated for ran in spent))
        durable = spent[-1].durable
        if durable:
            day.durable_ms.append(durable)
    world.until(begun_ms + world.day_ms, lambda ran: _take(day, ran, idle))
    day.per_work = int(statistics.median(per_work))
