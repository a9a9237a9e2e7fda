"""The events that every benchmark measures: one seeded tag and one seeded barrier, as a night mints them."""

from __future__ import annotations

import random
from typing import NamedTuple

from gatelink import events

SEED = 20260401


class Sample(NamedTuple):
    """One event: `fields` as in gatelink.events, time in 10 ms units since boot."""

    device: int
    boot: int
    seq: int
    uptime_cs: int
    kind: int
    fields: tuple[object, ...]

    @property
    def payload(self) -> bytes:
        """The bytes that a journal slot holds."""
        return events.encode(self.kind, *self.fields)


def patrol(count: int, seed: int = SEED) -> list[Sample]:
    """Visits of 7-byte NTAG checkpoints, 40 s to 5 min apart."""
    rng = random.Random(seed)  # noqa: S311  sample data, the same in every run
    checkpoints = [b"\x04" + rng.randbytes(5) + b"\x80" for _ in range(12)]
    out, now = [], 360_000
    for seq in range(1, count + 1):
        now += rng.randrange(4_000, 30_000)
        out.append(Sample(0x11, 3, 1200 + seq, now, events.VISIT, (checkpoints[seq % 12],)))
    return out


def barrier(count: int, seed: int = SEED) -> list[Sample]:
    """Passages: an access decision, then opening, open, closing, closed with cause and cycle count."""
    rng = random.Random(seed)  # noqa: S311  sample data, the same in every run
    credentials = [rng.randbytes(4) for _ in range(400)]
    out: list[Sample] = []
    now, cycles = 360_000, 1800
    while len(out) < count:
        now += rng.randrange(500, 40_000)
        cycles += 1
        steps: list[tuple[int, int, tuple[object, ...]]] = [
            (0, events.ACCESS, (rng.choice(credentials), 1, 0, 0)),
            (1, events.BARRIER, (1, 1, cycles)),
            (300, events.BARRIER, (2, 6, cycles)),
            (700, events.BARRIER, (3, 3, cycles)),
            (300, events.BARRIER, (0, 6, cycles)),
        ]
        for wait, kind, fields in steps:
            now += wait
            out.append(Sample(0x21, 5, 4000 + len(out), now, kind, fields))
    return out[:count]
