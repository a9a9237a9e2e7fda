"""Part `powercut`: the power goes at the site while events come; what had been acknowledged is counted afterwards.

The systems of part `compare` run side by side under strace (trace.py) for 45 s with 20 events/s; the line to the office
is down, so the site has to keep them. Then, for several moments at which an acknowledgement had just reached a device,
the folder is made as the disk would hold it (replay.py, disk.py: the rules), the system starts on it with the line in
order, takes an event of one more device, and what the office gets is counted.

GATEPOST_POWERCUT_CUTS=20 makes more cuts, GATEPOST_SEED others, GATEPOST_COMPARE_ONLY=redis leaves out systems.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from tools.bench import packages
from tools.bench.compare import ONLY, script
from tools.bench.compare.gatepost import Gatepost
from tools.bench.compare.mosquitto import Mosquitto, MosquittoDefault
from tools.bench.compare.nats import Nats, Nats29, NatsDefault
from tools.bench.compare.peer import Peer
from tools.bench.compare.redis import Redis, RedisEverySecond
from tools.bench.compare.script import DEVICES, Event
from tools.bench.compare.thingsboard import Thingsboard
from tools.bench.powercut import attach, trace
from tools.bench.powercut.disk import NONE, SOME, Disk
from tools.bench.powercut.replay import Replay, births
from tools.bench.rows import Row, at_most
from tools.simulate.proxy import LineProxy

PART = "powercut"
CUTS = int(os.environ.get("GATEPOST_POWERCUT_CUTS", "10"))
SEED = int(os.environ.get("GATEPOST_SEED", "1"))
RATE, LENGTH_S = 20.0, 45.0
FIRST = (
    5 * DEVICES
)  # events that arrive at the office, so that all of a system is at work, before the line goes down
SETTLED_S = 35.0  # no cut before: what the system writes on its own after 30 s has been written once
ACKED_S, TRACED_S, BACK_S, QUIET_S = 20.0, 60.0, 30.0, 4.0
AT_ONCE = 6  # systems that are started again side by side
SCRATCH = packages.FOLDER / "powercut"
MARK = Event(DEVICES + 1, 1)
PEERS: tuple[Callable[[Path], Peer], ...] = (
    Gatepost, Mosquitto, MosquittoDefault, Nats, NatsDefault, Nats29, Redis, RedisEverySecond, Thingsboard,
)  # fmt: skip


class Lived(NamedTuple):
    """What ran: its folder, with the trace; the disk's folder in it; when each event was acknowledged."""

    folder: Path
    disk: str
    acked: dict[Event, float]
    begun_s: float


class Cut(NamedTuple):
    """What was acknowledged before it, what of that is gone, whether the system came back and worked."""

    acked: int
    lost: int
    doubled: int
    reordered: int
    back: bool


async def live(make: Callable[[Path], Peer], folder: Path) -> Lived:
    """One system, traced until it is killed. Raises RuntimeError, packages.MissingError."""
    peer = make(folder)
    root = folder / peer.disk
    root.mkdir(mode=0o700)
    peer.wrap = trace.command(folder / "trace")
    line = LineProxy(await peer.start_office())
    await line.start()
    try:
        await peer.start_site(line.port)
        events = script.events(FIRST + int(RATE * LENGTH_S))
        await _feed(peer, events[:FIRST])
        if not set(events[:FIRST]) <= set(await _received(peer, set(events[:FIRST]))):
            raise RuntimeError("the first events did not reach the office")
        line.cut()
        begun_s = time.time()
        await _feed(peer, events[FIRST:])
        deadline_s = time.monotonic() + ACKED_S
        while True:
            if not peer.unacknowledged() or time.monotonic() > deadline_s:
                break
            await asyncio.sleep(0.05)
        for process in peer.site_processes():
            await process.kill()
    finally:
        await peer.stop()
        await line.stop()
    await asyncio.to_thread(attach.finished, folder / "trace", TRACED_S)
    first = set(events[:FIRST])
    acked = {event: at_s for event, at_s in peer.acked.items() if event not in first}
    return Lived(folder, peer.disk, acked, begun_s)


async def _feed(peer: Peer, events: list[Event]) -> None:
    begun_s = time.monotonic()
    for number, event in enumerate(events):
        await asyncio.sleep(max(begun_s + number / RATE - time.monotonic(), 0))
        peer.feed(event)


def moments(lived: Lived, rng: random.Random) -> list[float]:
    """When the power goes: each time an acknowledgement has just come."""
    late = sorted(at_s for at_s in lived.acked.values() if at_s - lived.begun_s >= SETTLED_S)
    return sorted(rng.sample(late, min(CUTS, len(late))))


def images(lived: Lived, cuts: list[float], seed: int) -> list[str]:
    """Makes the folder of each cut; what the model misses of the folder as it is. Raises trace.TraceError."""
    rng = random.Random(seed)  # noqa: S311 - the same seed, the same cuts
    path, root = lived.folder / "trace", (lived.folder / lived.disk).resolve()
    with path.open("rb") as first, path.open("rb") as lines:
        born = births(trace.calls(first))
        replay = Replay(Disk({}, []), str(root), str(lived.folder.resolve()), trace.calls(lines), born)
        for number, moment in enumerate(cuts):
            replay.to(moment)
            replay.disk.image(lived.folder / f"cut-{number}" / lived.disk, (NONE, SOME)[number % 2], rng)
        replay.to_end()
    missed = set(replay.disk.differs(root)) - replay.unsure
    path.unlink()
    return sorted(each for each in missed if not each.endswith("-shm"))


async def start_again(make: Callable[[Path], Peer], lived: Lived, number: int, moment: float) -> Cut:
    """The system on what the cut left; the office as it was."""
    folder = lived.folder / f"cut-{number}"
    shutil.copytree(
        lived.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(lived.disk, "cut-*", "*.log")
    )
    peer = make(folder)
    peer.senders = (MARK.device,)
    line = LineProxy(await peer.start_office())
    await line.start()
    acked = [event for event, at_s in lived.acked.items() if at_s <= moment]
    received: list[Event] = []
    back = False
    try:
        await peer.start_site(line.port)
        peer.feed(MARK)
        received = await _received(peer, {*acked, MARK})
        back = MARK in received
    except RuntimeError as error:
        print(
            f"bench: {folder.parent.name}, cut {number}: {str(error).splitlines()[-1]}",
            file=sys.stderr,
            flush=True,
        )
    finally:
        await peer.stop()
        await line.stop()
    found = script.count(acked, [event for event in received if event != MARK])
    shutil.rmtree(folder)
    return Cut(len(acked), found.lost, found.doubled, found.reordered, back)


async def _received(peer: Peer, wanted: set[Event]) -> list[Event]:
    """What the office has, once it is all there, or once the mark is there and nothing more comes."""
    received: list[Event] = []
    changed_s = time.monotonic()
    deadline_s = changed_s + BACK_S
    while True:
        found = await peer.received()
        now_s = time.monotonic()
        if len(found) != len(received):
            received, changed_s = found, now_s
        quiet = now_s - changed_s > QUIET_S
        if (wanted <= set(received)) or now_s > deadline_s or (quiet and MARK in received):
            return received
        await asyncio.sleep(0.1)


async def _all(chosen: list[Callable[[Path], Peer]]) -> dict[str, list[Cut] | str]:
    """By name: its cuts, or why there are none."""
    lives = await asyncio.gather(*(_lived(make) for make in chosen))
    context = multiprocessing.get_context("spawn")
    limit = asyncio.Semaphore(AT_ONCE)
    with ProcessPoolExecutor(2, mp_context=context) as pool:

        async def again(make: Callable[[Path], Peer], lived: Lived, number: int, moment: float) -> Cut:
            async with limit:
                return await start_again(make, lived, number, moment)

        async def one(make: Callable[[Path], Peer], lived: Lived | str) -> list[Cut] | str:
            if isinstance(lived, str):
                return lived
            cuts = moments(lived, random.Random(SEED))  # noqa: S311 - the same seed, the same cuts
            try:
                missed = await asyncio.get_running_loop().run_in_executor(pool, images, lived, cuts, SEED)
            except trace.TraceError as error:
                return str(error)
            if missed:
                return f"what it wrote could not be followed: {', '.join(missed)[:200]}"
            return await asyncio.gather(
                *(again(make, lived, number, at_s) for number, at_s in enumerate(cuts))
            )

        results = await asyncio.gather(*(one(make, lived) for make, lived in zip(chosen, lives, strict=True)))
    return {_name(make): result for make, result in zip(chosen, results, strict=True)}


async def _lived(make: Callable[[Path], Peer]) -> Lived | str:
    folder = (SCRATCH / _name(make).replace(" ", "-").replace(",", "")).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        return await live(make, folder)
    except (packages.MissingError, trace.TraceError, RuntimeError) as error:
        return str(error)


def _name(make: Callable[[Path], Peer]) -> str:
    return str(getattr(make, "name", make))


def run() -> list[Row]:
    """Every system that can be had."""
    chosen = [make for make in PEERS if ONLY.lower() in _name(make).lower()]
    for make in chosen:
        print(f"bench: {_name(make)}: {getattr(make, 'settings', '')}", file=sys.stderr, flush=True)
    rows: list[Row] = []
    table = Table(title=f"Power cuts at the site, {RATE:g} events/s for {LENGTH_S:g} s (seed {SEED})")
    table.add_column("system")
    for heading in (
        "cuts",
        "with losses",
        "acknowledged",
        "lost, most",
        "mean",
        "doubled",
        "reordered",
        "back",
    ):
        table.add_column(heading, justify="right")
    for name, cuts in asyncio.run(_all(chosen)).items():
        if isinstance(cuts, str):
            print(f"bench: SKIPPED: {name}: {cuts}", file=sys.stderr, flush=True)
            continue
        rows += _rows(name, cuts, ours=name == Gatepost.name)
        lost = [cut.lost for cut in cuts]
        table.add_row(
            name, str(len(cuts)), str(sum(each > 0 for each in lost)), f"{sum(cut.acked for cut in cuts):,}",
            str(max(lost)), f"{sum(lost) / len(lost):.1f}", str(sum(cut.doubled for cut in cuts)),
            str(sum(cut.reordered for cut in cuts)), str(sum(cut.back for cut in cuts)),
        )  # fmt: skip
    Console(width=140).print(table)
    return rows


def _rows(name: str, cuts: list[Cut], *, ours: bool) -> list[Row]:
    figures = {
        "lost": sum(cut.lost for cut in cuts),
        "doubled": sum(cut.doubled for cut in cuts),
        "reordered": sum(cut.reordered for cut in cuts),
    }
    counted = [(f"{name}: {what}", value, "events") for what, value in figures.items()]
    return [
        Row(PART, f"{name}: acknowledged before {len(cuts)} cuts", sum(cut.acked for cut in cuts), "events"),
        *(at_most(PART, *each, 0) if ours else Row(PART, *each) for each in counted),
        Row(PART, f"{name}: cuts with losses", sum(cut.lost > 0 for cut in cuts), "cuts"),
        Row(PART, f"{name}: started and worked again", sum(cut.back for cut in cuts), "cuts"),
    ]
