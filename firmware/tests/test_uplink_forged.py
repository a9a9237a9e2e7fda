# 100,000 forged, replayed, reflected, cross-device, old-boot, old-epoch and damaged frames against one device, and
# commands held back past their deadline: 0 effects, every frame counted by reason.
import os

import pytest

from firmware.tests.test_forgery import late_commands, run_storm

FRAMES = 1_000_000 if os.environ.get("GATEPOST_SOAK") == "1" else 100_000


@pytest.mark.slow
def test_100_000_frames_without_effect() -> None:
    found = run_storm(FRAMES, 77, pending=False)
    assert min(sum(reasons.values()) for reasons in found.values()) == FRAMES // len(found)


@pytest.mark.slow
def test_30_000_frames_while_a_key_is_pending() -> None:
    run_storm(30_000, 78, pending=True)


@pytest.mark.slow
def test_10_000_held_back_commands() -> None:
    assert late_commands(10_000, 79) > 2000
