"""Lines that lose, double, reorder, garble and vanish, under the firmware's own uplink and journal.

Quick: some hundred events; GATEPOST_SOAK=1: thousands.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from edge_agent.clock import real_ms
from edge_agent.tests.device import Wire
from edge_agent.tests.faults.campaign import restarted
from edge_agent.tests.faults.nursery import Nursery
from edge_agent.tests.faults.rig import EVERY_LINE, SEED, SOAK, Estate, Tally, estate
from edge_agent.tests.faults.tag import SPEED, Tag
from edge_agent.tests.faults.wires import LossyUdp, MergedPty, NoisyPty, SeededPty, SlowPty, VanishingPty
from edge_agent.tests.harness import until
from gatelink import events

pytestmark = pytest.mark.soak

EVENTS = 3_000 if SOAK else 160  # of each device
DEADLINE_S = 1_800 if SOAK else 120
LOST = b'"event": "port lost"'


def fast() -> str:
    """The agent's clock runs as fast as the devices'."""
    now_ms = real_ms()
    return f"[rehearsal]\nepoch_ms = {now_ms}\nstarted_ms = {now_ms}\nspeed = {SPEED}.0\n"


async def lived(made: Estate, tags: list[Tag], rng: random.Random, reboots: int) -> None:
    """Devices mint events, alarms among them, and send; ends when the office has all."""
    made.devices = tags  # type: ignore[assignment]  # they know what the simulated ones know
    going = [asyncio.create_task(tag.run()) for tag in tags]
    try:
        await restarted(made)
        for turn in range(EVENTS):
            for tag in tags:
                await until(lambda t=tag: t.flash.has_room(events.NORMAL) and t.flash.free > 64, DEADLINE_S, "no room")
                if rng.random() < 0.05:
                    tag.mint(events.SOS, None)
                else:
                    tag.mint()
                if reboots and turn % (EVENTS // reboots) == EVENTS // reboots - 1:
                    tag.reboot()
            await asyncio.sleep(rng.random() * 0.01)  # how the events are spread; nothing is right only because of it
        await until(
            lambda: all(not tag.flash.pending for tag in tags) or any(task.done() for task in going),
            DEADLINE_S,
            "the devices still hold events",
        )
        assert not any(task.done() for task in going)
        await made.drained(DEADLINE_S)
    finally:
        for task in going:
            task.cancel()
        await asyncio.gather(*going, return_exceptions=True)


async def test_udp_that_loses_doubles_and_reorders(tmp_path: Path) -> None:
    tally = Tally()
    async with (
        asyncio.timeout(DEADLINE_S * 2),
        Nursery() as nursery,
        estate(tmp_path / "e", nursery, more=fast()) as made,
    ):
        for wire in made.wires:
            wire.close()
        wires = []
        for number, device in enumerate(made.devices):
            wire = await LossyUdp.to(made.udp_port)
            assert isinstance(wire, LossyUdp)
            wire.seed(SEED * 10 + number)
            wires.append(wire)
            assert device.device == 7 + number
        made.wires = list[Wire](wires)
        tags = [Tag(7 + number, wire, SEED) for number, wire in enumerate(wires)]
        await lived(made, tags, random.Random(SEED), reboots=3)
        made.lost_at_edge(tally)
        made.check_all(tally)
    sent, lost, doubled = (sum(getattr(w, what) for w in wires) for what in ("sent", "lost", "doubled"))
    assert lost > sent * 0.25
    assert doubled > sent * 0.15
    tally.say(
        f"UDP with 30 % loss, 20 % duplicates, reordering: {sum(t.last_seq for t in tags)} events in {sent} datagrams, "
        f"{lost} lost on the way, {doubled} doubled on the way"
    )


@pytest.mark.parametrize("kind", [NoisyPty, SlowPty, MergedPty, VanishingPty])
async def test_serial_line(tmp_path: Path, kind: type[SeededPty]) -> None:
    tally = Tally()
    async with (
        asyncio.timeout(DEADLINE_S * 2),
        Nursery() as nursery,
        estate(tmp_path / "e", nursery, devices=1, more=fast() + EVERY_LINE) as made,
    ):
        for old in made.wires:
            old.close()
        wire = kind(made.link, SEED)
        made.wires = [wire]
        tags = [Tag(7, wire, SEED)]
        await lived(made, tags, random.Random(SEED), reboots=2)
        if isinstance(wire, VanishingPty):
            await until(lambda: made.said().count(LOST) == wire.faults, 30, "the agent has not lost it so often")
        made.lost_at_edge(tally)
        made.check_all(tally)
    assert wire.faults >= max(5, EVENTS // 50)
    assert kind.__doc__ is not None
    what = kind.__doc__.strip().splitlines()[0].rstrip(".").lower()
    tally.say(f"serial line, {what}: {tags[0].last_seq} events, {wire.faults} times")
