"""However a line's frames are cut into reads: the same events, window and chain; random lives of one device."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from edge_agent import strips
from edge_agent.runs import MAX_EVENTS, split
from edge_agent.tests.device import Device
from edge_agent.tests.pump import Pump, pump
from gatelink import cose, events

DEVICE, KEY = 7, bytes(range(32))
SEEDS, STEPS = 8, 90


def life(rng: random.Random, now_ms: int) -> tuple[Device, list[bytes]]:
    """A device and the frames that it sends: singles, batches, statuses, other kinds, what is sent again, reboots."""
    device = Device(DEVICE, KEY, seed=rng.randrange(1 << 30))
    frames = [device.hello(1)]
    sent = 0
    for _ in range(STEPS):
        match rng.randrange(12):
            case 0:
                frames.append(device.status((device.uptime_ms, now_ms, 60)))
            case 1:
                device.mint(events.SOS, None)
            case 2:
                device.mint(events.BOOT, 1, "a text")
            case 3 if rng.randrange(4) == 0:
                for seq in range(sent + 1, device.last_seq + 1):
                    frames.append(device.batch(seq, 1))
                sent = device.last_seq
                device.restart()
                frames.append(device.hello(sent + 1))
            case 4:
                frames.append(rng.choice(frames))  # a replay
            case 5 if sent > 3:
                frames.append(device.batch(sent - 3, rng.randrange(1, 9)))  # sent again, cut otherwise
            case _:
                for _ in range(rng.choice([1, 5, 40])):
                    device.mint()
                size = rng.choice([1, 1, 20, 64])
                while sent < device.last_seq:
                    frames.append(device.batch(sent + 1, size))
                    sent += device.run_length(sent + 1, size)
    return device, frames


def held(edge: Pump) -> tuple[Any, ...]:
    """What an edge holds of the device, its replay window, and what it counted."""
    session = edge.session(DEVICE)
    found = {}
    for row in edge.rows():
        if row.device == DEVICE and row.items:
            parts = split(row.items)
            assert len(parts) == row.last_seq - row.first_seq + 1 <= MAX_EVENTS
            for index, (since, payload) in enumerate(parts):
                found[row.first_seq + index] = (row.boot, row.uptime_cs + since, payload)
    stored = list(
        edge.agent.database.writer.execute("SELECT epoch, piv_high, piv_mask, upto, islands FROM device")
    )
    return (
        found, session._window.high, session._window.mask, session.acked_seq, session.gaps, session.frames,
        session.replays, dict(edge.agent.rejects.total), stored,
    )  # fmt: skip


def proved(edge: Pump, device: Device) -> int:
    """The highest seq whose chain value is stored; every stored one must be the device's."""
    highest = 0
    for row in edge.rows():
        if row.device == DEVICE and row.mac8 is not None:
            assert row.mac8 == (device.journal[row.last_seq][3] if row.last_seq else bytes(8))
            highest = max(highest, row.last_seq)
    return highest


async def test_however_the_reads_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together = []
    merged = strips.merged

    def watched(plaintexts: list[bytes]) -> Any:
        run = merged(plaintexts)
        together.append(run is not None)
        return run

    monkeypatch.setattr(strips, "merged", watched)
    for seed in range(SEEDS):
        rng = random.Random(seed)
        now_ms = 1_700_000_000_000
        device, frames = life(rng, now_ms)
        folders = [tmp_path / f"{seed}-{name}" for name in ("one", "many")]
        for folder in folders:
            folder.mkdir()
        with pump(folders[0], {DEVICE: (KEY, 0)}) as one, pump(folders[1], {DEVICE: (KEY, 0)}) as many:
            for frame in frames:
                one.agent.switchboard.frames(one.line, None, [frame])
            one.flush()
            left = list(frames)
            while left:
                size = rng.choice([1, 3, 16, 40, 100])
                many.take(*left[:size])
                del left[:size]
            assert held(many) == held(one), f"seed {seed}"
            assert proved(many, device) == proved(one, device), f"seed {seed}"
            assert len(many.rows()) < len(one.rows())
            opened = [cose.open_(device.keys, cose.UP, frame) for frame in frames]
            assert held(many)[5] == len({piv for piv, _ in opened}), f"seed {seed}"
    assert together.count(True) > SEEDS  # that nothing went the way of single frames only
