"""Layer: many seeds on all processors; sums and failures."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import NamedTuple

from edge_agent.tests.simulation import faults
from edge_agent.tests.simulation.world import Played, play

CHUNK = 50
LIMIT_S = 60.0  # processor time of a seed that ordinarily takes 0.03 s
COMMAND = "python -m edge_agent.tests.simulation"


class Summary(NamedTuple):
    """What a campaign has seen; failures: (seed, what did not hold)."""

    seeds: int
    failures: list[tuple[int, str]]
    virtual_ms: float
    minted: int
    faults: Counter[str]
    checks: Counter[str]
    took_s: float

    def lines(self) -> Iterator[str]:
        """For people."""
        drawn = sum(self.faults[kind] for kind in faults.KINDS)
        yield (
            f"{self.seeds:,} seeds in {self.took_s:.0f} s ({self.seeds / self.took_s:.0f}/s), "
            f"{self.virtual_ms / 3_600_000:,.0f} virtual hours, {self.minted:,} events minted, {drawn:,} faults"
        )
        yield "faults: " + ", ".join(f"{kind} {self.faults[kind]:,}" for kind in faults.KINDS)
        what = sorted((kind, count) for kind, count in self.faults.items() if kind not in faults.KINDS)
        yield "what came of them: " + ", ".join(f"{kind} {count:,}" for kind, count in what)
        yield "checked: " + ", ".join(f"{kind} {count:,}" for kind, count in sorted(self.checks.items()))
        for seed, violation in self.failures:
            yield f"seed {seed}: {violation}"
            yield f"  again, with its diary: {replay(seed)}"
        yield f"{len(self.failures)} seeds failed" if self.failures else "all invariants held"


def replay(seed: int) -> str:
    """The command that plays a seed again."""
    return f"{COMMAND} --seed {seed} --trace"


def one(seed: int) -> Played:
    """A seed; what breaks the simulation itself, or never ends, counts as a violation, too."""
    before = signal.signal(signal.SIGVTALRM, _endless)
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_S)
    try:
        return play(seed)
    # Whatever a world raises is what the campaign looks for: it fails the run, with seed and traceback.
    except Exception:  # noqa: BLE001 - told with its seed
        problem = traceback.format_exc(limit=-3).strip()
        return Played(seed, f"the simulation broke: {problem}", "", 0.0, 0, Counter(), Counter())
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _endless(*_: object) -> None:
    raise RuntimeError(f"not at its end after {LIMIT_S:g} s of processor time")


def _chunk(seeds: range) -> list[Played]:
    found = []
    gc.collect()
    gc.freeze()  # modules stay: the collector need not look through them after every seed
    for seed in seeds:
        found.append(one(seed))
        gc.collect()  # a world is full of circles
    return found


def run(first: int, count: int, jobs: int, tell: Callable[[str], None] = lambda _: None) -> Summary:
    """Seeds first .. first + count - 1 on so many processors."""
    begun_s = time.monotonic()
    chunks = [range(at, min(at + CHUNK, first + count)) for at in range(first, first + count, CHUNK)]
    total = Summary(count, [], 0.0, 0, Counter(), Counter(), 0.0)
    told_s, done = begun_s, 0
    for played in _parallel(chunks, jobs):
        for each in played:
            done += 1
            total = total._replace(
                virtual_ms=total.virtual_ms + each.virtual_ms, minted=total.minted + each.minted
            )
            total.faults.update(each.faults)
            total.checks.update(each.checks)
            if each.violation:
                total.failures.append((each.seed, each.violation))
                tell(f"seed {each.seed}: {each.violation}\n  again, with its diary: {replay(each.seed)}")
        if time.monotonic() - told_s > 20:
            told_s = time.monotonic()
            tell(
                f"{done:,} of {count:,} seeds, {done / (told_s - begun_s):.0f}/s, {len(total.failures)} failed"
            )
    total.failures.sort()
    return total._replace(took_s=time.monotonic() - begun_s)


def _parallel(chunks: list[range], jobs: int) -> Iterator[list[Played]]:
    if jobs == 1:
        yield from map(_chunk, chunks)
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        for finished in as_completed([pool.submit(_chunk, chunk) for chunk in chunks]):
            yield finished.result()


def processors() -> int:
    """How many there are for this process."""
    return len(os.sched_getaffinity(0))


def hashes(seeds: Iterable[int]) -> dict[int, str]:
    """What each seed's diary comes to."""
    return {seed: one(seed).trace for seed in seeds}
