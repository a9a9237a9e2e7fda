"""The units as systemd itself judges them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parents[1] / "files"
UNITS = sorted(HERE.glob("*.service"))
MOST = 1.5  # issue 4

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="UNITS NOT JUDGED: systemd-analyze is not installed"
)


def settings(unit: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        key, is_setting, value = line.partition("=")
        if is_setting and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def test_both_are_there() -> None:
    assert [unit.name for unit in UNITS] == ["gatepost-edge.service", "gatepost-office.service"]


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_exposure(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(unit)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    print(f"{unit.name}: exposure {found[1]}, at most {MOST} wanted")
    assert float(found[1]) <= MOST


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_knows_every_setting(unit: Path, tmp_path: Path) -> None:
    """A misspelt setting is ignored by systemd and protects nothing."""
    program = tmp_path / "gatepost"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/gatepost/current/bin/gatepost", str(program)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    about_us = [line for line in (done.stdout + done.stderr).splitlines() if "gatepost" in line]
    assert not about_us


def test_they_differ_only_where_they_must() -> None:
    edge, office = map(settings, UNITS)
    apart = {key for key in edge.keys() | office.keys() if edge.get(key) != office.get(key)}
    assert apart == {
        "Description", "Type", "NotifyAccess", "ExecStart", "WatchdogSec", "TimeoutStartSec", "SupplementaryGroups",
        "StateDirectory", "WorkingDirectory", "Nice", "OOMScoreAdjust", "MemoryMax", "TasksMax", "LimitNOFILE",
        "DeviceAllow", "PrivateDevices", "After", "ConditionPathExists", "RestartPreventExitStatus",
    }  # fmt: skip
