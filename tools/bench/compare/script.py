"""What happens in a run: events at a steady rate, and one fault; pure. Times in seconds from the first event."""

from __future__ import annotations

from typing import NamedTuple

DEVICES = 4
RATE = 100.0
OUTAGE_S = 25.0
ACKS_S = 3.0


class Event(NamedTuple):
    """The identity by which lost, doubled and reordered ones are told."""

    device: int
    seq: int


class Scenario(NamedTuple):
    """line: what the line to the office does from at_s for line_s; kill_s: when the site's processes get SIGKILL."""

    name: str
    line: str  # "", "cut", "freeze" or "deafen"
    line_s: float = 0.0
    kill_s: float | None = None


def events(count: int) -> list[Event]:
    """The events in the order in which they happen, the devices in turns."""
    return [Event(n % DEVICES + 1, n // DEVICES + 1) for n in range(count)]


def scenarios(outage_s: float = OUTAGE_S) -> list[Scenario]:
    """The outage script of issue and README."""
    return [
        Scenario("no fault", ""),
        Scenario(f"refused {outage_s:g} s", "cut", outage_s),
        Scenario(f"half-open {outage_s:g} s", "freeze", outage_s),
        Scenario(f"half-open {outage_s:g} s + SIGKILL", "freeze", outage_s, outage_s * 0.4),
        Scenario("SIGKILL", "", 0.0, 0.0),
        Scenario(f"acks lost {ACKS_S:g} s", "deafen", ACKS_S),
    ]


class Count(NamedTuple):
    """What the office has of what was sent."""

    lost: int
    doubled: int
    reordered: int
    foreign: int


def count(sent: list[Event], received: list[Event]) -> Count:
    """reordered: events whose first arrival came behind a younger one of the same device."""
    seen: set[Event] = set()
    newest: dict[int, int] = {}
    doubled = reordered = 0
    for event in received:
        if event in seen:
            doubled += 1
            continue
        seen.add(event)
        if event.seq < newest.get(event.device, 0):
            reordered += 1
        newest[event.device] = max(newest.get(event.device, 0), event.seq)
    wanted = set(sent)
    return Count(len(wanted - seen), doubled, reordered, len(seen - wanted))
