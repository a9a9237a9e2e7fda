"""The agent in its own process, killed in mid-stream: nothing acknowledged is lost, nothing is doubled."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

from edge_agent.tests.device import PtyWire, UdpWire, Wire, ask, sync
from edge_agent.tests.harness import OWN, Process, Site, until

KILLS = 6


async def test_sigkill_in_mid_stream_again_and_again(tmp_path: Path) -> None:
    site = Site(tmp_path)
    wires: list[Wire] = [PtyWire(site.link), await UdpWire.to(site.udp_port)]
    rng = random.Random(20)
    agent = Process(site)
    await agent.start()
    for _ in range(KILLS):
        goals = []
        for device in site.devices:
            for _ in range(400):
                device.mint()
            goals.append(device.acked + rng.randrange(20, 380))
        going = [
            asyncio.create_task(sync(device, wire, batch=rng.randrange(1, 8)))
            for device, wire in zip(site.devices, wires, strict=True)
        ]
        await until(lambda g=goals: any(d.acked >= n for d, n in zip(site.devices, g, strict=True)), 20)
        await agent.kill()
        acked = [device.acked for device in site.devices]
        for device, through in zip(site.devices, acked, strict=True):
            held = site.events(device.device)
            assert set(range(1, through + 1)) <= set(held), "an acknowledged event is lost"
        await agent.start()
        await asyncio.gather(*going)
    assert await agent.end() == 0
    for device, wire in zip(site.devices, wires, strict=True):
        site.check(device)
        wire.close()
    starts = [p[2] for _, _, p in site.events(OWN).values() if p[:2] == b"\x83\x01"]
    assert starts == [0] + [1] * KILLS  # the first start was clean, the others followed a kill
    assert len(starts) == KILLS + 1


async def test_goes_on_without_a_new_hello(tmp_path: Path) -> None:
    site = Site(tmp_path)
    device, wire = site.devices[0], PtyWire(site.link)
    agent = Process(site)
    await agent.start()
    await sync(device, wire)
    await agent.kill()
    await agent.start()
    device.mint()
    assert (await ask(device, wire, lambda: device.batch(1, 1))).acked_seq == 1
    await agent.kill()
    wire.close()


async def test_a_frame_of_before_the_kill_is_a_replay_after_it(tmp_path: Path) -> None:
    site = Site(tmp_path)
    device, wire = site.devices[0], PtyWire(site.link)
    agent = Process(site)
    await agent.start()
    await sync(device, wire)
    device.mint()
    frame = device.batch(1, 1)
    await ask(device, wire, lambda: frame)
    await agent.kill()
    await agent.start()
    device.mint()
    await ask(device, wire, lambda: device.batch(2, 1))
    assert (await ask(device, wire, lambda: frame)).acked_seq == 2
    await agent.end()
    site.check(device)
    wire.close()


async def test_sigterm_commits_what_was_read(tmp_path: Path) -> None:
    site = Site(tmp_path)
    device, wire = site.devices[0], PtyWire(site.link)
    agent = Process(site)
    await agent.start()
    await sync(device, wire)
    for _ in range(2_000):
        device.mint()
    going = asyncio.create_task(sync(device, wire, batch=1))
    await until(lambda: device.acked >= 20)
    assert await agent.end() == 0
    assert not going.done(), "it was to end in mid-stream"
    assert set(range(1, device.acked + 1)) <= set(site.events(7))
    await agent.start()
    await going
    assert await agent.end() == 0
    site.check(device)
    lines = [json.loads(line) for line in agent.log.read_text().splitlines()]
    assert [line["event"] for line in lines].count("stopped") == 2
    assert all({"time_ms", "level", "event"} <= set(line) for line in lines)
    wire.close()
