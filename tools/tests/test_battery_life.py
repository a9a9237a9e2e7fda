"""The arithmetic of a tag's battery, and that the README says what it gives."""

from pathlib import Path

import pytest

from tools import battery_life as battery

README = Path(__file__).resolve().parents[2] / "firmware" / "README.md"


def test_the_readme_says_what_the_arithmetic_gives() -> None:
    assert battery.table() in README.read_text(encoding="utf-8")


def test_patrol_by_hand() -> None:
    # 15 ms of 340 awake, 40 of 340 with the field on, 12 taps an hour
    awake = 15 / 340 + 12 / 3600
    by_hand = (
        awake * 50
        + (1 - awake) * 0.8
        + 40 / 340 * 60
        + 300 / 340 * 0.045
        + 12 * 0.12 / 3600 * 90
        + 0.11
        + 0.01
    )
    assert battery.patrol_ma(12) == pytest.approx(by_hand)
    assert battery.pocket_ma() == pytest.approx(50 * 0.5 / 600 + 0.01 * (1 - 0.5 / 600) + 0.045 + 0.11 + 0.01)


def test_a_day_is_the_sum_of_its_hours() -> None:
    assert battery.day_mah(8, 12) == pytest.approx(8 * battery.patrol_ma(12) + 16 * battery.pocket_ma())
    assert battery.days(8, 12, 2000) == pytest.approx(2 * battery.days(8, 12))


def test_more_to_do_costs_more() -> None:
    assert (
        battery.pocket_ma()
        < battery.patrol_ma(0)
        < battery.patrol_ma(12)
        < battery.patrol_ma(60)
        < battery.awake_ma()
    )
    assert battery.patrol_ma(12, 0.6) < battery.patrol_ma(12, 0.3)


def test_the_times_are_the_firmwares() -> None:
    firmware = README.parent / "patrol_tag"
    assert '"look_ms": (300,' in (firmware / "settings.py").read_text(encoding="utf-8")
    assert "LOOK_MS = 600_000" in (firmware / "sleeper.py").read_text(encoding="utf-8")
