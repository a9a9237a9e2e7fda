"""Random lives of a bus: devices come, go, lose power, answer late, babble; noise and commands; all from one seed.

GATEPOST_SOAK=1 plays 200 of them; GATEPOST_BUS_SEED=n plays that one again.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_agent.live import LIVE_MS
from edge_agent.tests.bus import Bus
from gatelink import events, messages

S = 1_000_000
ONE = os.environ.get("GATEPOST_BUS_SEED")
SEEDS = [int(ONE)] if ONE else range(200 if os.environ.get("GATEPOST_SOAK") else 5)


@pytest.mark.soak
@pytest.mark.parametrize("seed", SEEDS)
async def test_a_life(tmp_path: Path, seed: int) -> None:
    print(f"GATEPOST_BUS_SEED={seed}")
    bus = Bus(tmp_path, 1 + seed * 7 % 24, 5_000 + seed, baudrate=(9_600, 19_200, 57_600, 115_200)[seed % 4])
    rng = bus.rng
    try:
        for device in bus.devices:
            device.late = rng.choice((0, 0, 0, 0.02))
            for _ in range(rng.choice((0, 0, 40))):
                device.record()
        sent = 0
        for _ in range(120):
            bus.noise = rng.choice((0, 0, 0.0005, 0.003))
            device = rng.choice(bus.devices)
            fate = rng.randrange(12)
            if fate == 0:
                device.plugged = not device.plugged
            elif fate == 1:
                device.start()
            elif fate == 2:
                bus.after(rng.randrange(S), lambda: bus.talk(rng.randbytes(rng.randrange(1, 300)), None))
            elif fate == 3 and bus.pump.session(device.device).online:
                sent += 1
                deadline_ms = device.clock.uptime_ms() + 2_000
                bus.pump.session(device.device).send(messages.Command(sent, messages.OPEN, deadline_ms, None))
            elif fate == 4:
                bus.poller.restart(bus.now_us)  # the adapter was pulled
            elif fate < 9:
                device.record(*((events.FORCED,) if rng.random() < 0.3 else ()))
            bus.run(bus.now_us + rng.randrange(2 * S))
        bus.noise = 0
        for device in bus.devices:
            device.plugged, device.late = True, 0
        bus.run(bus.now_us + 400 * S, lambda: bus.settled)
        count = bus.check()
        bus.run(bus.now_us + 12 * S)
        assert all(session.online for session in bus.pump.agent.switchboard.sessions.values())
        for device in bus.devices:
            told = [state for number, state in bus.presence if number == device.device]
            assert told == [(index + 1) % 2 for index in range(len(told))], "online and offline take turns"
            acted = [at_us for _, at_us in device.commands]
            assert len(acted) == len(set(acted))
        assert sum(len(device.commands) for device in bus.devices) <= sent
        assert all(age <= LIVE_MS for _, _, age in bus.live)
        print(
            f"{len(bus.devices)} devices, {bus.baudrate} baud: {count} events once each, {len(bus.live)} of them live, "
            f"{sent} commands, {len(bus.presence)} comings and goings, {bus.collisions} collisions, "
            f"{bus.flips} bit errors"
        )
    finally:
        bus.close()
