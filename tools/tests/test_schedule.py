"""The schedule: seeded, ordered, human, and complete."""

import itertools
from collections import Counter
from pathlib import Path

import pytest

from tools.simulate import plan as plans
from tools.simulate import schedule
from tools.simulate.plan import Plan
from tools.simulate.schedule import Stimulus

ESTATE = Path(plans.__file__).parent / "estate.toml"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plans.load(ESTATE)


def test_same_seed_same_night_other_seed_other_night(plan: Plan) -> None:
    assert schedule.build(plan, 7) == schedule.build(plan, 7)
    assert schedule.build(plan, 7) != schedule.build(plan, 8)


@pytest.mark.parametrize("seed", range(40))
def test_every_night_has_what_was_planned(plan: Plan, seed: int) -> None:
    stimuli = schedule.build(plan, seed)
    assert list(stimuli) == sorted(stimuli, key=lambda stimulus: stimulus.at_ms)
    assert all(0 <= stimulus.at_ms <= plan.length_ms for stimulus in stimuli)
    kinds = Counter(stimulus.kind for stimulus in stimuli)
    assert 380 <= kinds["vehicle"] <= 420
    assert kinds["sos"] == 1
    assert kinds["power_cut"] == kinds["power_on"] == 1
    assert kinds["edge_kill"] == kinds["edge_start"] == 2
    assert kinds["office_down"] == kinds["office_up"] == 1
    for tag in plan.tags:
        _check_rounds(plan, tag.device, stimuli)
    for barrier in plan.barriers:
        times = [s.at_ms for s in stimuli if s.device == barrier.device and s.kind == "vehicle"]
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert min(gaps) >= schedule.VEHICLE_GAP_MS


def _check_rounds(plan: Plan, device: int, stimuli: tuple[Stimulus, ...]) -> None:
    tag = next(tag for tag in plan.tags if tag.device == device)
    names = {card.uid: card.id for card in plan.checkpoints}
    rounds: dict[str, list[str]] = {}
    for stimulus in stimuli:
        if stimulus.device == device and stimulus.kind == "tap" and stimulus.what.startswith("round"):
            rounds.setdefault(stimulus.what, []).append(names[stimulus.uid])
    assert len(rounds) == 8
    for number in range(1, 9):
        walked = rounds[f"round {number}"]
        happenings = [h for h in plan.happenings if h.tag == device and h.round == number]
        missed = Counter(h.checkpoint for h in happenings if h.kind == "missed")
        assert Counter(tag.route) - Counter(walked) == missed
        if any(h.kind == "out_of_order" for h in happenings):
            assert walked != list(tag.route)
        elif not missed:
            assert walked == list(tag.route)
    taps = [s for s in stimuli if s.device == device and s.kind == "tap"]
    assert (taps[0].what, taps[-1].what) == ("shift_start", "shift_end")


def test_people_are_irregular(plan: Plan) -> None:
    stimuli = schedule.build(plan, 3)
    first = plan.checkpoints[0].uid
    starts = [s.at_ms for s in stimuli if s.device == 101 and s.uid == first]
    steps = {later - earlier for earlier, later in itertools.pairwise(starts)}
    assert len(steps) > 10


def test_the_cut_visit_is_tapped_again(plan: Plan) -> None:
    for seed in range(40):
        stimuli = schedule.build(plan, seed)
        cut = next(s for s in stimuli if s.kind == "power_cut")
        back = next(s for s in stimuli if s.kind == "power_on")
        assert 0 < cut.card < 64
        own = [s for s in stimuli if s.device == cut.device and s.kind == "tap"]
        assert not [s for s in own if cut.at_ms <= s.at_ms < back.at_ms]
        assert next(s for s in own if s.at_ms > back.at_ms).uid == cut.uid
