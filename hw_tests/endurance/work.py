"""Layer: what a device has to do in a day, as a list of moments; seeded, the same days for every run of a seed."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
STAFF = ("0a000001", "0a000002", "0a000003")
INCIDENT = "0b000001"
CHECKPOINTS = tuple(f"04{number:012x}" for number in range(1, 13))
RESIDENTS = tuple(f"{0x120000 + 977 * number:06x}" for number in range(200))
# Every day the edge is out of reach for so long: what happens meanwhile comes as a backlog.
AWAY_MS = (HOUR_MS // 2, 2 * HOUR_MS)

CONFIG: dict[str, dict[str, Any]] = {
    "patrol_tag": {"staff": STAFF, "incident": [INCIDENT], "checkpoints": CHECKPOINTS},
    "barrier": {"access": [{"credential": number} for number in RESIDENTS]},
}


class Moment(NamedTuple):
    """Something happens to the device at `at_ms` of the day: an operation of slices.mjs."""

    at_ms: int
    op: str
    arguments: dict[str, Any]

    @property
    def is_work(self) -> bool:
        """A tap or a passage: what allocations are counted for."""
        return self.op in ("tap", "vehicle")


def patrol_day(day: int, seed: int) -> list[Moment]:
    """A round of twelve checkpoints every hour, a relief every twelve, now and then something unusual."""
    rng = random.Random(f"{seed} tag {day}")
    out = [Moment(0, "battery", {"mv": 4100})]

    def tap(at_ms: int, uid: str) -> None:
        out.append(Moment(at_ms, "tap", {"uid": uid, "hold_ms": 400}))

    for hour in range(24):
        at = hour * HOUR_MS + 60_000
        if hour % 12 == 6:
            tap(at - 30_000, STAFF[(day * 2 + hour // 12) % len(STAFF)])
        for checkpoint in rng.sample(CHECKPOINTS, len(CHECKPOINTS)):
            at += rng.randrange(90_000, 240_000)
            tap(at, checkpoint)
        if hour % 8 == 1:
            tap(at + 20_000, INCIDENT)
        if hour % 6 == 2:
            tap(at + 50_000, f"08{rng.randrange(1 << 24):06x}")
        out.append(Moment(at + 90_000, "battery", {"mv": 4100 - 25 * hour}))
    out.append(Moment(15 * HOUR_MS + 17, "press", {"button": "sos", "ms": 1000}))
    return sorted(out)


def barrier_day(day: int, seed: int) -> list[Moment]:
    """A vehicle every few minutes, in or out; one in twenty is not on the list."""
    rng = random.Random(f"{seed} barrier {day}")
    out = []
    at = 60_000
    while at < DAY_MS - 120_000:
        known = rng.random() >= 0.05
        credential = rng.choice(RESIDENTS) if known else f"{rng.randrange(1 << 24):06x}"
        lane = rng.choice(("in", "out"))
        trip = {
            "credential": credential,
            "lane": lane,
            "approach_ms": 1500,
            "pass_ms": 4000,
            "patience_ms": 9000,
        }
        out.append(Moment(at, "vehicle", trip))
        at += rng.randrange(60_000, 600_000)
    return out


DAYS = {"patrol_tag": patrol_day, "barrier": barrier_day}
