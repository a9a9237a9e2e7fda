"""Layer: one night from setting the scene to the table; the only file here that knows every part."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from edge_agent import enrolment
from edge_agent.errors import EdgeError
from edge_agent.store.database import FILE_NAME
from gatelink import events
from hw_tests.virtual_board.board import BoardError, VirtualBoard
from hw_tests.virtual_board.node import NodeMissingError
from tools.device_code import JournalEvent, journal_events
from tools.errors import ToolError
from tools.office import commands
from tools.simulate import drain, report, scene, schedule, stores
from tools.simulate import plan as plans
from tools.simulate.conductor import Conductor, promises
from tools.simulate.errors import NightError
from tools.simulate.plan import Plan
from tools.simulate.processes import Child, fetch_json, free_port
from tools.simulate.progress import Show
from tools.simulate.proxy import LineProxy
from tools.simulate.report import Finding, Verdict
from tools.simulate.scene import Pace, Scene

SPEED = 220.0
# From here to the night's beginning everything is started.
LEAD_S = 6.0
MAX_SEED = 999_999
# What the edge calls itself in its events, unless edge.toml says otherwise.
EDGE_DEVICE = 1


@dataclass
class Cast:
    """Everything that runs during a night."""

    scene: Scene
    boards: dict[int, VirtualBoard]
    edge: Child
    office: Child
    proxy: LineProxy

    @property
    def office_url(self) -> str:
        """The page for people."""
        return f"http://127.0.0.1:{self.scene.office_port}/"

    @property
    def office_file(self) -> Path:
        """The office's database."""
        return self.scene.office_data / "office.db"

    @property
    def edge_file(self) -> Path:
        """The edge's database."""
        return self.scene.edge_data / FILE_NAME


def main(plan_file: Path, folder: Path, *, seed: int | None, speed: float | None, once: bool) -> int:
    """Plays the night: 0 when every column is 0 and every fault happened, else 1. Raises ToolError."""
    plan = plans.load(plan_file)
    if seed is None:
        seed = random.SystemRandom().randint(1, MAX_SEED)
    if speed is not None and not 1 <= speed <= 1000:
        raise ToolError(f"--speed {speed:g}: right is a number from 1 to 1000")
    scene.clear(folder)
    try:
        verdict = asyncio.run(_night(plan, folder.resolve(), seed, speed or SPEED, once=once))
    except (BoardError, NodeMissingError) as error:
        raise NightError(f"virtual board: {error}") from error
    return 0 if verdict.good else 1


async def _night(plan: Plan, folder: Path, seed: int, speed: float, *, once: bool) -> Verdict:
    begun = time.monotonic()
    async with contextlib.AsyncExitStack() as ending:
        with Show(plan.begin_min, plan.length_ms) as show:
            hours = plan.length_ms / 3_600_000
            show.say(
                f"{plan.name_zh} {plan.name_en}: {hours:g} hours at {speed:g} times real time, seed {seed}"
                f" (play it again with SEED={seed})"
            )
            cast = await _set_the_scene(plan, folder, speed)
            ending.push_async_callback(_end, cast)
            await _start(cast, show)
            verdict = await _play(plan, cast, seed, show)
        for line in report.lines(verdict):
            print(line)
        took_s = time.monotonic() - begun
        print(
            f"night with seed {seed}: {'all well' if verdict.good else 'NOT WELL'}, {took_s:.0f} s",
            flush=True,
        )
        if not once:
            await _stay(cast)
    return verdict


async def _set_the_scene(plan: Plan, folder: Path, speed: float) -> Cast:
    started_ms = int(time.time() * 1000)
    pace = Pace(plan.epoch_ms - int(LEAD_S * 1000 * speed), started_ms, speed)
    place = Scene(folder, plan, pace, free_port(), free_port())
    proxy = LineProxy(place.office_port)
    await proxy.start()
    boards = scene.build(place)
    office = Child(
        "the office",
        ["office", "run", "--config", str(place.office_config)],
        folder / "office.log",
        f"http://127.0.0.1:{place.office_port}/",
    )
    edge = Child(
        "the edge agent",
        ["edge", "run", "--config", str(place.edge_config)],
        folder / "edge.log",
        f"http://127.0.0.1:{place.status_port}/status",
    )
    return Cast(place, boards, edge, office, proxy)


async def _start(cast: Cast, show: Show) -> None:
    await asyncio.gather(
        _start_office_and_edge(cast, show), *(board.start() for board in cast.boards.values())
    )


async def _start_office_and_edge(cast: Cast, show: Show) -> None:
    """As on a site: the office makes a one-time code, the edge is enrolled by it and sends by its own key."""
    await cast.office.start()
    place = cast.scene
    address = f"http://127.0.0.1:{cast.proxy.port}"
    try:
        code = await asyncio.to_thread(
            commands.enrol,
            place.office_config,
            place.plan.site,
            scene.EDGE,
            commands.MAX_MINUTES,
            address,
            None,
        )
        known = await enrolment.enrol_here(place.edge_data, place.plan.site, scene.EDGE, code)
    except EdgeError as error:
        raise NightError(f"the edge can't be enrolled: {error}") from error
    show.say(f"{known.site}/{known.edge} is enrolled at the office by a one-time code")
    await cast.edge.start()


async def _play(plan: Plan, cast: Cast, seed: int, show: Show) -> Verdict:
    stimuli = schedule.build(plan, seed)
    conductor = Conductor(plan, cast.scene.pace, seed, cast.boards, cast.edge, cast.proxy, show.say)
    watcher = asyncio.create_task(_watch(cast, conductor, show))
    try:
        await conductor.play(stimuli)
    except ExceptionGroup as group:
        raise _first(group) from group
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
    show.say("the night is over; waiting until everything has arrived", plan.length_ms)
    waited = time.monotonic()
    mechanics = [await _mechanics(cast.boards[barrier.device], barrier.device) for barrier in plan.barriers]
    drained = await drain.drain(plan.site, cast.boards, cast.office_file)
    waited = time.monotonic() - waited
    flash = {device: list(journal_events(board.journal_image())) for device, board in cast.boards.items()}
    decoded = {device: [events.decode(event.payload) for event in found] for device, found in flash.items()}
    verdict = Verdict(faults=conductor.faults, checks=[*promises(plan, conductor, decoded), *mechanics])
    verdict.devices = [_device_report(plan, cast, device, found) for device, found in flash.items()]
    verdict.checks += [drained.proof, _own_events(plan, cast), _logs(cast)]
    status = await fetch_json(f"http://127.0.0.1:{cast.scene.status_port}/status")
    if isinstance(status, dict) and isinstance(status.get("rejects"), dict):
        verdict.rejects = status["rejects"]
    verdict.notes.append(
        f"everything arrived {waited:.1f} s after the night" if drained.arrived else "NOT everything arrived"
    )
    return verdict


async def _mechanics(board: VirtualBoard, device: int) -> Finding:
    """What the plant saw of its barrier: a boom lowered onto a vehicle, both motor relays at once."""
    boom = (await board.state())["boom"]
    safe = boom["collisions"] == 0 and boom["shorts"] == 0
    evidence = (
        f"{boom['openings']} openings, {boom['collisions']} vehicles hit, {boom['shorts']} relay conflicts"
    )
    return Finding(f"boom of barrier {device}", safe, evidence)


def _own_events(plan: Plan, cast: Cast) -> Finding:
    """The edge records events of its own; they have no journal but its log."""
    logged = sum(run.last_seq - run.first_seq + 1 for run in stores.edge_runs(cast.edge_file, EDGE_DEVICE))
    arrived = len(stores.office_rows(cast.office_file, plan.site, EDGE_DEVICE))
    return Finding(
        "the edge's own events", 0 < logged == arrived, f"{logged} logged, {arrived} at the office"
    )


def _logs(cast: Cast) -> Finding:
    """Nobody may have stumbled: an error in a log is a fault even where the table is all zeros."""
    errors = [line for child in (cast.edge, cast.office) for line in child.errors()]
    return Finding(
        "logs of edge and office", not errors, f"{len(errors)} errors {errors[0] if errors else ''}".rstrip()
    )


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first real cause in a group."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _device_report(plan: Plan, cast: Cast, device: int, flash: list[JournalEvent]) -> report.DeviceReport:
    return report.compare(
        device,
        plan.name_of(device),
        flash,
        stores.edge_runs(cast.edge_file, device),
        stores.office_rows(cast.office_file, plan.site, device),
        stores.office_chain(cast.office_file, plan.site, device),
    )


async def _watch(cast: Cast, conductor: Conductor, show: Show) -> None:
    """Shows how things stand, twice a second."""
    while True:
        status = await fetch_json(f"http://127.0.0.1:{cast.scene.status_port}/status")
        state = "edge: no answer"
        if isinstance(status, dict):
            store, backlog = status.get("store", {}), status.get("backlog", {})
            words = backlog.get("words")
            waiting = (
                words.get("en") if isinstance(words, dict) else f"{backlog.get('events')} events waiting"
            )
            state = f"edge holds {store.get('events', 0):,} events; for the office: {waiting}"
        show.at(conductor.now_ms(), state)
        await asyncio.sleep(0.5)


async def _stay(cast: Cast) -> None:
    """Keeps edge and office open until Ctrl-C, at the pace of real time."""
    await cast.edge.stop()
    await cast.office.stop()
    scene.slow_down(cast.scene, int(time.time() * 1000))
    await cast.office.start()
    await cast.edge.start()
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked.set)
    print(f"the office's page: {cast.office_url}   (English: {cast.office_url}?lang=en)   Ctrl-C ends it")
    print(
        f"the edge's status: gatepost status --url http://127.0.0.1:{cast.scene.status_port}/status",
        flush=True,
    )
    await asked.wait()


async def _end(cast: Cast) -> None:
    """Everything off, in the order in which a night ends."""
    for board in cast.boards.values():
        with contextlib.suppress(BoardError):
            await board.stop()
    await cast.edge.stop()
    await cast.office.stop()
    await cast.proxy.stop()
