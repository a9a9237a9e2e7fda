"""Layer: what to do about the room on the disk, and how long it will last; pure."""

from __future__ import annotations

from typing import NamedTuple

from edge_agent.store.retention import Mark, Usage

DAY_MS = 86_400_000
LEAST_SPAN_MS = DAY_MS // 24  # a rate is not told from less
MIB = 1 << 20


class Room(NamedTuple):
    """Bytes free on the disk and in the ballast file; stalled: commits fail for want of room."""

    free: int
    ballast: int
    stalled: bool


class Plan(NamedTuple):
    """full: no more events are taken. press: delivered rows go before their time. What to do with the ballast."""

    full: bool
    press: bool
    release: bool
    remake: bool


def plan(full: bool, room: Room, reserve: int, ballast: int) -> Plan:
    """Full below the reserve, or when commits fail; no longer a quarter above it, with the ballast made anew."""
    missing = max(ballast - room.ballast, 0)
    ample = not room.stalled and room.free >= reserve + reserve // 4 + missing
    now_full = not ample if full else room.stalled or room.free < reserve
    return Plan(
        now_full,
        room.stalled or room.free < 2 * reserve,
        release=room.stalled and room.ballast > 0,
        remake=bool(missing) and ample,
    )


def days_left(free: int, usage: Usage, since: Mark | None, now_ms: int, reserve: int) -> int | None:
    """How many days of events fit, at the rate since that mark, if nothing is deleted; None: not known yet."""
    if since is None or now_ms - since.at_ms < LEAST_SPAN_MS or not usage.held:
        return None
    came = usage.appended - since.appended
    if came <= 0:
        return None
    bytes_a_day = came * usage.used // usage.held * DAY_MS // (now_ms - since.at_ms)
    return max(free - reserve + usage.spare, 0) // max(bytes_a_day, 1)
