"""Layer: plan and seed -> the night's stimuli in order; pure, the same seed gives the same night."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from tools.simulate.plan import Happening, Plan, Tag, rounds_in

# A car needs this long at a barrier before the next one can follow.
VEHICLE_GAP_MS = 35_000
_HOUR_MS = 3_600_000
# Cards with these numbers are on nobody's list.
STRANGER_FIRST = 64_500


@dataclass(frozen=True)
class Stimulus:
    """One thing that happens to one device at at_ms of the night; device 0: to the edge or the office.

    kind: tap (uid, hold_ms) · sos (hold_ms) · vehicle (card, hold_ms to drive up, pass_ms) · office_down ·
    office_up · edge_kill · edge_start · power_cut (uid tapped into it, at byte `card` of the slot) · power_on ·
    acks_lost · acks_back.
    """

    at_ms: int
    device: int
    kind: str
    uid: bytes = b""
    card: int = 0
    hold_ms: int = 0
    pass_ms: int = 0
    what: str = ""


def build(plan: Plan, seed: int) -> tuple[Stimulus, ...]:
    """All stimuli of the night, sorted by time."""
    found: list[Stimulus] = []
    for tag in plan.tags:
        found += _patrol(plan, tag, random.Random(f"{seed}:tag:{tag.device}"))
    found += _vehicles(plan, random.Random(f"{seed}:traffic"))
    found = _faults(plan, found, random.Random(f"{seed}:faults"))
    return tuple(sorted(found, key=lambda stimulus: (stimulus.at_ms, stimulus.device, stimulus.kind)))


def _hold_ms(rng: random.Random) -> int:
    """How long a guard holds the tag to a checkpoint."""
    return round(min(2_000, max(450, rng.gauss(800, 200))))


def _patrol(plan: Plan, tag: Tag, rng: random.Random) -> list[Stimulus]:
    uids = {card.id: card.uid for card in plan.checkpoints}
    incident_uids = {card.id: card.uid for card in plan.incident_cards}
    guard = next(card for card in plan.guards if card.id == tag.guard)
    count = rounds_in(tag, plan.length_ms)
    out: list[Stimulus] = []

    def tap(at_ms: int, uid: bytes, what: str) -> None:
        out.append(Stimulus(at_ms, tag.device, "tap", uid=uid, hold_ms=_hold_ms(rng), what=what))

    tap(rng.randint(20_000, 90_000), guard.uid, "shift_start")
    last_ms = out[0].at_ms
    for number in range(1, count + 1):
        jitter_ms = tag.start_jitter_min * 60_000
        # never before the night or the end of the round before; people are late more often than early
        planned = (number - 1) * tag.every_min * 60_000 + jitter_ms
        at_ms = max(last_ms + 40_000, planned + round(rng.triangular(-jitter_ms, jitter_ms, jitter_ms * 0.2)))
        events = {h.checkpoint: h for h in plan.happenings if h.tag == tag.device and h.round == number}
        for name in _walked(tag, events):
            what = f"round {number}"
            tap(at_ms, uids[name], what)
            happening = events.get(name)
            if happening and happening.kind == "double_tap":
                tap(at_ms + out[-1].hold_ms + 1_500, uids[name], "double_tap")
            elif happening and happening.kind == "incident":
                at_ms += rng.randint(15_000, 40_000)
                tap(at_ms, incident_uids[happening.card], "incident")
            elif happening and happening.kind == "sos":
                at_ms += rng.randint(10_000, 25_000)
                out.append(Stimulus(at_ms, tag.device, "sos", hold_ms=3_500, what="sos"))
            last_ms = at_ms
            low, high = tag.walk_s
            at_ms += round(1000 * min(high, max(low, rng.lognormvariate(0, 0.25) * (low + high) / 2)))
    end_ms = max(last_ms + 30_000, plan.length_ms - rng.randint(60_000, 240_000))
    tap(min(end_ms, plan.length_ms - 20_000), guard.uid, "shift_end")
    return out


def _walked(tag: Tag, events: dict[str, Happening]) -> list[str]:
    """The route as it is really walked on this round."""
    route = list(tag.route)
    for name, happening in events.items():
        at = route.index(name)
        if happening.kind == "missed":
            del route[at]
        elif happening.kind == "out_of_order":
            route[at], route[at + 1] = route[at + 1], route[at]
    return route


def _vehicles(plan: Plan, rng: random.Random) -> list[Stimulus]:
    wanted: list[tuple[int, int, int, str]] = []
    for traffic in plan.traffic:
        for hour, count in enumerate(traffic.per_hour):
            for _ in range(count):
                at_ms = hour * _HOUR_MS + rng.randrange(_HOUR_MS)
                direction = "in" if rng.random() < traffic.inward else "out"
                lanes = [lane for lane in plan.barriers if lane.direction == direction] or plan.barriers
                card = traffic.first_card + rng.randrange(traffic.cards)
                if rng.random() < traffic.denied:
                    card = STRANGER_FIRST + rng.randrange(400)
                wanted.append((at_ms, rng.choice(lanes).device, card, traffic.who))
    wanted.sort()
    free_ms: dict[int, int] = {}
    out = []
    for at_ms, device, card, who in wanted:
        at_ms = max(at_ms, free_ms.get(device, 30_000))
        if at_ms > plan.length_ms - 60_000:
            continue
        approach_ms, pass_ms = rng.randint(1_500, 4_000), rng.randint(3_000, 8_000)
        free_ms[device] = at_ms + VEHICLE_GAP_MS
        out.append(
            Stimulus(at_ms, device, "vehicle", card=card, hold_ms=approach_ms, pass_ms=pass_ms, what=who)
        )
    return out


def _faults(plan: Plan, stimuli: list[Stimulus], rng: random.Random) -> list[Stimulus]:
    pairs = {
        "office_unreachable": ("office_down", "office_up"),
        "edge_killed": ("edge_kill", "edge_start"),
        "acks_lost": ("acks_lost", "acks_back"),
    }
    out = list(stimuli)
    for fault in plan.faults:
        if fault.kind == "power_cut":
            out = _power_cut(out, fault.device, fault.from_ms, fault.to_ms - fault.from_ms, rng)
            continue
        first, second = pairs[fault.kind]
        out.append(Stimulus(fault.from_ms, fault.device, first, what=fault.kind))
        out.append(Stimulus(fault.to_ms, fault.device, second, what=fault.kind))
    return out


def _power_cut(
    stimuli: list[Stimulus], device: int, from_ms: int, off_ms: int, rng: random.Random
) -> list[Stimulus]:
    """The first visit after from_ms meets the cut; the guard hears no beep and taps again later."""
    target = min(
        (s for s in stimuli if s.device == device and s.kind == "tap" and s.at_ms >= from_ms),
        key=lambda s: s.at_ms,
        default=None,
    )
    if target is None:
        return stimuli
    back_ms = target.at_ms + off_ms
    again_ms = back_ms + 20_000
    out = []
    for stimulus in stimuli:
        if stimulus.device == device and target.at_ms <= stimulus.at_ms < again_ms + 10_000:
            # the first attempt included: what would have fallen into the dark time happens after it
            stimulus = replace(stimulus, at_ms=again_ms)
            again_ms += 30_000
        out.append(stimulus)
    # which byte of the slot the cut hits is the seed's choice
    out.append(replace(target, kind="power_cut", card=rng.randint(1, 63), what="power_cut"))
    out.append(Stimulus(back_ms, device, "power_on", what="power_cut"))
    return out
