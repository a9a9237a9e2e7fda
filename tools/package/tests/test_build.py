"""The package's contents, apart from a machine to install it on."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest

from tools.errors import ToolError
from tools.package import build

HERE, OTHER = ("amd64", "arm64") if platform.machine() == "x86_64" else ("arm64", "amd64")


def test_libraries_of_another_processor_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=f"is for another processor than {OTHER}"):
        build.build(OTHER, "3.11", tmp_path, installed=True, quick=True)
    assert not list(tmp_path.iterdir())


def test_libraries_of_this_one_are_counted(tmp_path: Path) -> None:
    build.from_environment(tmp_path)
    assert build.check_machine(tmp_path, HERE) > 5
    assert (tmp_path / "apsw").is_dir()
    assert not list(tmp_path.rglob("__pycache__"))


def test_a_folder_without_any_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="no binaries"):
        build.check_machine(tmp_path, HERE)


@pytest.mark.parametrize("script", ["postinst", "prerm", "postrm", "gatepost-rollback"])
def test_scripts_are_plain_sh(script: str) -> None:
    subprocess.run(["sh", "-n", str(build.FILES / script)], check=True, timeout=10)
