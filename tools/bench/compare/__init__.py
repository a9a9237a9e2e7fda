"""Part `compare`: the same events with the same outages through Gatepost and what a user might take instead.

6,000 events at 100/s; while they happen, the line to the office or the site's processes fail as script.py says. The
systems run side by side, one scenario after the other (redis and NATS 2.9 in one alone: the site is killed). Counted at
the office: lost, doubled, reordered; and how long the rest took, peak memory and bytes written at the site. Peers are
fetched on demand into build/peers.
GATEPOST_COMPARE_EVENTS=1500 makes it shorter.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from tools.bench import packages
from tools.bench.compare import script
from tools.bench.compare.gatepost import Gatepost
from tools.bench.compare.mosquitto import Mosquitto
from tools.bench.compare.nats import Nats, Nats29
from tools.bench.compare.peer import Peer
from tools.bench.compare.redis import Redis, RedisEverySecond
from tools.bench.compare.script import Event, Scenario
from tools.bench.compare.thingsboard import Thingsboard
from tools.bench.rows import Row, at_most
from tools.simulate.proxy import LineProxy

PART = "compare"
EVENTS = int(os.environ.get("GATEPOST_COMPARE_EVENTS", "6000"))
ONLY = os.environ.get("GATEPOST_COMPARE_ONLY", "")  # part of a peer's name
DRAIN_S = 600.0
QUIET_S = 200.0  # nothing new for so long, with the line in order: lost (a keepalive of 120 s notices after 180)
DEAD_S = 1.0
PEERS: tuple[Callable[[Path], Peer], ...] = (Gatepost, Mosquitto, Nats, Thingsboard)
KILLED: tuple[Callable[[Path], Peer], ...] = (Nats29, Redis, RedisEverySecond)  # where the site alone is killed
SCRATCH = packages.FOLDER / "runs"


class Result(NamedTuple):
    """One peer in one scenario."""

    found: script.Count
    drain_s: float
    peak_mib: float
    written_kib: float


async def _fault(scenario: Scenario, at_s: float, begun_s: float, line: LineProxy, peer: Peer) -> None:
    await _until(begun_s + at_s)
    if scenario.line:
        {"cut": line.cut, "freeze": line.freeze, "deafen": line.deafen}[scenario.line]()
    if scenario.kill_s is not None:
        await _until(begun_s + at_s + scenario.kill_s)
        for process in peer.site_processes():
            await process.kill()
        await asyncio.sleep(DEAD_S)
        await peer.start_site(line.port)
    await _until(begun_s + at_s + scenario.line_s)
    line.mend()


async def _until(moment_s: float) -> None:
    await asyncio.sleep(max(moment_s - time.monotonic(), 0))


async def _feed(events: list[Event], begun_s: float, peer: Peer) -> None:
    for number, event in enumerate(events):
        await _until(begun_s + number / script.RATE)
        peer.feed(event)


async def _drained(peer: Peer, wanted: int) -> tuple[list[Event], float]:
    """(what arrived, when the last of it did), once it is all there or nothing more comes."""
    received: list[Event] = []
    changed_s = time.monotonic()
    deadline_s = changed_s + DRAIN_S
    while True:
        found = await peer.received()
        now_s = time.monotonic()
        if len(found) != len(received):
            received, changed_s = found, now_s
        waits = peer.unacknowledged()
        if len(set(received)) >= wanted and not waits:
            return received, changed_s
        if now_s > deadline_s or (now_s - changed_s > QUIET_S and not waits):
            return received, changed_s
        await asyncio.sleep(0.1)


async def play(make: Callable[[Path], Peer], scenario: Scenario, folder: Path) -> Result:
    """One run. Raises RuntimeError when a system does not start, packages.MissingError when it can't be had."""
    events = script.events(EVENTS)
    peer = make(folder)
    line = LineProxy(await peer.start_office())
    await line.start()
    try:
        await peer.start_site(line.port)
        begun_s = time.monotonic() + 0.5
        length_s = EVENTS / script.RATE
        fault = asyncio.create_task(_fault(scenario, length_s / 3, begun_s, line, peer))
        await asyncio.gather(fault, _feed(events, begun_s, peer))
        ended_s = time.monotonic()
        received, last_s = await _drained(peer, len(events))
        for process in peer.site_processes():
            process.sample()
        uses = [process.use for process in peer.site_processes()]
        return Result(
            script.count(events, received), max(last_s - ended_s, 0.0),
            max(use.peak_kib for use in uses) / 1024, sum(use.written for use in uses) / 1024,
        )  # fmt: skip
    finally:
        await peer.stop()
        await line.stop()


async def _play_all(scenario: Scenario) -> list[tuple[str, Result | str]]:
    async def one(make: Callable[[Path], Peer]) -> tuple[str, Result | str]:
        name = str(getattr(make, "name", make))
        folder = _empty(f"{scenario.name}-{name}".replace(" ", "-").replace("+", "and"))
        try:
            return name, await play(make, scenario, folder)
        except (packages.MissingError, RuntimeError) as error:
            return name, str(error)

    return await asyncio.gather(*(one(make) for make in _chosen(scenario)))


def _empty(name: str) -> Path:
    folder = (SCRATCH / name).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _chosen(scenario: Scenario) -> list[Callable[[Path], Peer]]:
    peers = PEERS if scenario.line or scenario.kill_s is None else PEERS + KILLED
    return [make for make in peers if ONLY.lower() in str(getattr(make, "name", "")).lower()]


def run() -> list[Row]:
    """Every scenario with every peer that can be had."""
    scenarios = script.scenarios(script.OUTAGE_S * min(EVENTS / 6000, 1))
    for make in sorted({make for scenario in scenarios for make in _chosen(scenario)}, key=str):
        print(f"bench: {getattr(make, 'name', '')}: {getattr(make, 'settings', '')}", file=sys.stderr, flush=True)
    rows: list[Row] = []
    table = Table(title=f"{EVENTS:,} events at {script.RATE:g}/s, counted at the office")
    for heading in ("fault", "system", "lost", "doubled", "reordered", "drained after s", "peak MiB", "written KiB"):
        table.add_column(heading, justify="left" if heading in ("fault", "system") else "right")
    for scenario in scenarios:
        print(f"bench: {scenario.name} ...", file=sys.stderr, flush=True)
        for name, result in asyncio.run(_play_all(scenario)):
            if isinstance(result, str):
                print(f"bench: SKIPPED: {scenario.name}: {name}: {result}", file=sys.stderr, flush=True)
                continue
            rows += _rows(f"{scenario.name}: {name}", result, ours=name == Gatepost.name)
            lost, doubled, reordered, _ = result.found
            table.add_row(
                scenario.name, name, f"{lost:,}", f"{doubled:,}", f"{reordered:,}", f"{result.drain_s:.1f}",
                f"{result.peak_mib:.0f}", f"{result.written_kib:,.0f}",
            )  # fmt: skip
        table.add_section()
    Console(width=140).print(table)
    return rows


def _rows(what: str, result: Result, *, ours: bool) -> list[Row]:
    rows = [
        at_most(PART, f"{what}: {kind}", value, "events", 0) if ours else Row(PART, f"{what}: {kind}", value, "events")
        for kind, value in result.found._asdict().items()
    ]
    return [
        *rows,
        Row(PART, f"{what}: drained after", result.drain_s, "s"),
        Row(PART, f"{what}: peak RSS at the site", result.peak_mib, "MiB"),
        Row(PART, f"{what}: written at the site", result.written_kib, "KiB"),
    ]
