"""Layer: what goes wrong, when and for how long: drawn from the seed, done to the world."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from edge_agent.errors import EdgeError
from edge_agent.tests.simulation.disk import EIO, FULL, UNSURE
from edge_agent.tests.simulation.edge import QUICK_MS
from edge_agent.tests.simulation.line import CALM, DOWN, UP, Fate, altered
from edge_agent.tests.simulation.office import PROMPT_MS
from gatelink import framing, messages

if TYPE_CHECKING:
    from edge_agent.daemon import Agent
    from edge_agent.tests.simulation.device import Device
    from edge_agent.tests.simulation.world import World

WITHIN_MS = 1_500  # of a command
LATE_MS = 20  # readings are cut off to whole milliseconds, on both sides


class Fault(NamedTuple):
    """One of KINDS, from at_ms for so long (where that means anything)."""

    at_ms: float
    kind: str
    for_ms: float


def plan(rng: random.Random, end_ms: float) -> list[Fault]:
    """The faults of one world: some kinds, several times each, or few of all."""
    kinds = list(KINDS)
    chosen = rng.sample(kinds, rng.randrange(1, 5)) if rng.random() < 0.5 else kinds
    weights = [KINDS[kind][0] for kind in chosen]
    found = []
    for kind in rng.choices(chosen, weights, k=rng.randrange(3, 13)):
        at_ms = rng.uniform(0, end_ms)
        for_ms = rng.choice((rng.uniform(100, 3_000), rng.uniform(1_000, 30_000), rng.uniform(0, end_ms / 2)))
        found.append(Fault(at_ms, kind, min(for_ms, end_ms - at_ms)))
    return sorted(found)


def rough(rng: random.Random) -> Fate:
    """A line on a bad day."""
    low = rng.choice((1.0, 10.0, 100.0))
    return Fate(
        (low, low * rng.uniform(1.1, 20)),
        rng.choice((0.0, 0.05, 0.3)),
        rng.choice((0.0, 0.05, 0.2)),
        rng.choice((0.0, 0.02, 0.2)),
        rng.choice((0.0, 0.02, 0.2)),
        rng.choice((0.0, 0.3)),
    )


def _device(world: World) -> Device:
    return world.rng.choice(list(world.devices.values()))


def _edge_kill(world: World, _: float) -> None:
    world.count["edge's process killed"] += world.edge.end(world.rng.uniform(200, 20_000), power=False)


def _edge_power(world: World, for_ms: float) -> None:
    off_ms = world.rng.uniform(500, 20_000) + for_ms / 4
    world.count["edge's power cut"] += world.edge.end(off_ms, power=True)


def _edge_crash(world: World, _: float) -> None:
    world.edge.disk.crash_in = world.rng.randrange(1, 40)
    world.edge.disk.crash_power = world.rng.random() < 0.7


def _edge_stop(world: World, _: float) -> None:
    world.edge.stop(world.rng.uniform(100, 5_000))


def _edge_disk(world: World, for_ms: float) -> None:
    disk = world.edge.disk
    disk.failing = world.rng.choice((FULL, EIO))
    disk.failing_share = world.rng.choice((1.0, 0.5, 0.1))

    def heal() -> None:
        disk.failing = ""

    world.loop.after_ms(for_ms, heal)


def _edge_unsure(world: World, _: float) -> None:
    """Syncs fail, the agent is killed, its successor goes on, the power goes."""
    edge, loop, rng = world.edge, world.loop, world.rng
    edge.disk.failing, edge.disk.failing_share = UNSURE, 1.0

    def kill() -> None:
        edge.disk.failing = ""
        edge.end(300, power=False)

    killed_ms = rng.uniform(1_000, 15_000)
    loop.after_ms(killed_ms, kill)
    loop.after_ms(killed_ms + rng.uniform(1_000, 40_000), partial(edge.end, 1_000, power=True))


def _edge_slow(world: World, for_ms: float) -> None:
    edge = world.edge
    edge.commit_range_ms = world.rng.choice(((10.0, 40.0), (100.0, 3_000.0)))
    edge.report_ms = world.rng.choice((0.05, 5.0, 60.0))
    world.loop.after_ms(for_ms, _quick, world)


def _quick(world: World) -> None:
    world.edge.commit_range_ms = QUICK_MS
    world.edge.report_ms = 0.05


def _edge_clock(world: World, for_ms: float) -> None:
    """Set wrong, and right again; nobody who vouches for his clock starts the agent in between."""
    edge = world.edge
    if edge.wrong_ms or edge.life is None:
        return
    edge.wrong_ms = world.rng.choice((-1, 1)) * world.rng.choice((300.0, 5_000.0, 3_600_000.0, 40_000_000.0))
    world.loop.after_ms(for_ms, edge.right)


def _device_power(world: World, for_ms: float) -> None:
    device = _device(world)
    world.count["device's power cut"] += device.on
    device.power_off()
    world.loop.after_ms(min(for_ms, 60_000) + 200, device.power_on)


def _device_cut(world: World, _: float) -> None:
    _device(world).arm()


def _line_shut(world: World, for_ms: float) -> None:
    """A cut cable, or half of one."""
    closed = _device(world).line.closed
    ways = world.rng.choice(([UP], [DOWN], [UP, DOWN]))
    closed.update(ways)
    world.loop.after_ms(for_ms, closed.difference_update, ways)


def _line_rough(world: World, for_ms: float) -> None:
    line = _device(world).line
    line.fate = rough(world.rng)
    world.loop.after_ms(for_ms, setattr, line, "fate", CALM)


def _unplug(world: World, for_ms: float) -> None:
    device = _device(world)
    if not device.line.serial:
        _line_shut(world, for_ms)
        return
    edge = world.edge
    edge.unplugged.add(device.number)
    serial = edge.serials.get(device.number)
    if serial is not None:
        serial.vanish()
    world.loop.after_ms(for_ms, edge.unplugged.discard, device.number)


def _hostile(world: World, for_ms: float) -> None:
    """Frames of an attacker: old ones again, altered ones, ones from elsewhere, and rubbish."""
    rng = world.rng
    for _ in range(rng.randrange(1, 12)):
        world.loop.after_ms(rng.uniform(0, for_ms), _strike, world)


def _strike(world: World) -> None:
    rng = world.rng
    line, other = _device(world).line, _device(world).line
    kind = rng.randrange(6)
    if kind == 5:
        world.count["hostile: replayed down"] += line.replay_down()
        return
    if kind == 0 or not other.heard:
        world.count["hostile: rubbish"] += 1
        line.noise(rng.randbytes(rng.randrange(1, 300)))
        return
    data = rng.choice(other.heard)
    frames = framing.Decoder().feed(data) if other.serial else [data]
    if kind == 1:
        frames = [altered(frame, rng) for frame in frames]
    for frame in frames:
        if 0 < len(frame) <= framing.MAX_FRAME:
            world.count["hostile: altered" if kind == 1 else "hostile: replayed"] += 1
            line.noise(framing.encode(frame) if line.serial else frame)


def _office_kill(world: World, _: float) -> None:
    off_ms, power = world.rng.uniform(200, 30_000), world.rng.random() < 0.5
    world.count["office's power cut" if power else "office's process killed"] += world.office.end(off_ms, power=power)


def _office_crash(world: World, _: float) -> None:
    world.office.disk.crash_in = world.rng.randrange(1, 60)
    world.office.disk.crash_power = world.rng.random() < 0.7


def _office_disk(world: World, for_ms: float) -> None:
    disk = world.office.disk
    disk.failing = world.rng.choice((FULL, EIO))
    disk.failing_share = world.rng.choice((1.0, 0.3))

    def heal() -> None:
        disk.failing = ""

    world.loop.after_ms(for_ms, heal)


def _office_slow(world: World, for_ms: float) -> None:
    office = world.office
    office.way.delay_ms = world.rng.choice((200.0, 2_000.0))
    office.after_commit_ms = world.rng.choice((PROMPT_MS, 500.0))
    world.loop.after_ms(for_ms, setattr, office.way, "delay_ms", world.office_delay_ms)
    world.loop.after_ms(for_ms, setattr, office, "after_commit_ms", PROMPT_MS)


def _way(name: str, value: object, calm: object) -> Callable[[World, float], None]:
    def happen(world: World, for_ms: float) -> None:
        setattr(world.office.way, name, value)
        world.loop.after_ms(for_ms, setattr, world.office.way, name, calm)

    return happen


def _rotate(world: World, _: float) -> None:
    device = _device(world)
    agent = world.edge.agent
    if agent is not None and device.number in agent.switchboard.sessions:
        world.as_edge(_new_key(world, agent, device.number))


async def _new_key(world: World, agent: Agent, device: int) -> None:
    _, done, _ = await agent.orders.rotate(device, 20_000)
    world.count["keys rotated"] += done


def _revoke(world: World, _: float) -> None:
    """At most one device, and only where there are others."""
    device = _device(world)
    agent = world.edge.agent
    if agent is None or len(world.devices) == 1 or any(d.gone for d in world.devices.values()):
        return
    device.gone = True
    world.as_edge(_no_key(world, agent, device.number))


async def _no_key(world: World, agent: Agent, device: int) -> None:
    await agent.orders.revoke(device)
    world.count["keys dropped"] += 1


def _command(world: World, _: float) -> None:
    device = _device(world)
    agent = world.edge.agent
    if agent is None or device.number not in agent.switchboard.sessions:
        return
    number = len(world.truth.issued) + 1
    world.truth.issued[number] = world.true_ms() + WITHIN_MS + LATE_MS
    if world.rng.random() < 0.5:  # it has to be sent again
        device.line.fate = Fate((2.0, 300.0), loss=0.3, doubled=0.3)
        world.loop.after_ms(3_000, setattr, device.line, "fate", CALM)
    world.as_edge(_issue(world, device.number, number))


async def _issue(world: World, device: int, number: int) -> None:
    assert world.edge.agent is not None
    try:
        await world.edge.agent.switchboard.sessions[device].command(messages.OPEN, number, WITHIN_MS)
        world.count["command answered"] += 1
    except EdgeError:
        world.count["command refused"] += 1


# kind: (weight, what it does)
KINDS: dict[str, tuple[float, Callable[[World, float], None]]] = {
    "edge killed": (3, _edge_kill),
    "edge without power": (3, _edge_power),
    "edge ends in a write": (4, _edge_crash),
    "edge stopped and started": (1.5, _edge_stop),
    "edge's disk full or failing": (2, _edge_disk),
    "edge's disk unsure of its syncs": (1, _edge_unsure),
    "edge's disk slow": (2, _edge_slow),
    "edge's clock set": (1.5, _edge_clock),
    "device without power": (2, _device_power),
    "device cut in a write": (3, _device_cut),
    "line shut, or half of it": (3, _line_shut),
    "line rough": (4, _line_rough),
    "port pulled out": (1.5, _unplug),
    "attacker": (3, _hostile),
    "office killed": (2, _office_kill),
    "office ends in a write": (3, _office_crash),
    "office's disk full or failing": (1, _office_disk),
    "office slow": (2, _office_slow),
    "office refuses connections": (2, _way("refusing", True, False)),
    "office silent (half-open)": (2, _way("silent", True, False)),
    "requests lost": (1, _way("lost_requests", 0.4, 0.0)),
    "receipts lost": (2, _way("lost_receipts", 0.6, 0.0)),
    "requests again, late": (2, _way("again", 0.5, 0.0)),
    "key rotated": (2, _rotate),
    "device revoked": (0.3, _revoke),
    "command": (3, _command),
}

# What each of them comes to when it really happens: a drawn one may meet nobody. All of it is asked of a campaign.
EFFECTS: dict[str, tuple[str, ...]] = {
    "edge killed": ("edge's process killed",),
    "edge without power": ("edge's power cut",),
    "edge ends in a write": ("edge crash in a write",),
    "edge stopped and started": ("edge stopped in order",),
    "edge's disk full or failing": ("edge disk full", "edge read error", "edge write error", "edge sync error"),
    "edge's disk unsure of its syncs": ("edge sync lost",),
    "edge's disk slow": ("edge slow commit",),
    "edge's clock set": ("clock step told",),
    "device without power": ("device's power cut",),
    "device cut in a write": ("power cut in a write",),
    "line shut, or half of it": (f"line shut {UP}", f"line shut {DOWN}"),
    "line rough": ("frame lost", "frame altered", "frame doubled", "frame late", "block in pieces"),
    "port pulled out": ("port vanished",),
    "attacker": ("hostile: altered", "hostile: replayed", "hostile: replayed down", "hostile: rubbish"),
    "office killed": ("office's process killed", "office's power cut"),
    "office ends in a write": ("office crash in a write",),
    "office's disk full or failing": ("office disk full", "office read error", "office write error"),
    "office slow": ("receipt slow",),
    "office refuses connections": ("request refused",),
    "office silent (half-open)": ("request into silence", "receipt into silence"),
    "requests lost": ("request lost",),
    "receipts lost": ("receipt lost",),
    "requests again, late": ("request doubled",),
    "key rotated": ("keys rotated",),
    "device revoked": ("keys dropped",),
    "command": ("command answered",),
}
