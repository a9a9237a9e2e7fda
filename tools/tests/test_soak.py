"""`make soak` says what it did: a drill that was skipped or misspelt is no drill that went well."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import soak

DRILLS = """
import pytest

def test_goes():
    print("3 of 3")

@pytest.mark.skip(reason="no device")
def test_goes_not():
    raise AssertionError
"""


@pytest.fixture
def drill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One file of drills instead of the repository's, run by the real pytest."""
    path = tmp_path / "test_power_cut.py"
    path.write_text(DRILLS)
    monkeypatch.setattr(soak, "drill_files", lambda: [path])
    return path


def run(tmp_path: Path, only: str = "power_cut") -> int:
    return soak.main(["--only", only, "--folder", str(tmp_path / "soak")])


def test_a_skipped_drill_is_in_the_last_line(
    tmp_path: Path, drill: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == "2 drills: the others well; 1 SKIPPED: power_cut: goes_not"
    (row,) = [line for line in said if "goes_not" in line and line != said[-1]]
    assert "SKIPPED" in row
    drill.write_text(DRILLS.replace('print("3 of 3")', "raise AssertionError"))
    assert run(tmp_path) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "2 drills: NOT WELL: power_cut: goes; 1 SKIPPED: power_cut: goes_not"
    drill.write_text(DRILLS.replace("@pytest.mark.skip", "# @pytest.mark.skip").replace("raise Ass", "print or Ass"))
    assert run(tmp_path) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 drills: all well"


def test_a_file_without_a_test_is_not_well(
    tmp_path: Path, drill: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drill.write_text("")
    assert run(tmp_path) == 1
    assert f"NOT WELL: {drill}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("only", "hint"),
    [
        ("powercut", "did you mean power_cut?"),
        ("tests/test_power_cu.py", "did you mean power_cut?"),
        ("nigts", "did you mean nights?"),
        ("xyz", "known here: power_cut, nights"),
    ],
)
def test_only_nothing_is_a_mistake(
    tmp_path: Path, drill: Path, only: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert drill.exists()
    assert run(tmp_path, only) == 2
    assert capsys.readouterr().err == f"soak: ONLY={only} chooses no drill; {hint}\n"
    assert not (tmp_path / "soak").exists()


def test_the_repositorys_drills_are_found() -> None:
    assert "edge_agent/tests/faults/test_sigkill.py" in map(str, soak.drill_files())
