"""The package's contents, apart from a machine to install it on."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from edge_agent.store.database import FILE_NAME
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


def test_packages_for_two_pythons_lie_beside_each_other() -> None:
    names = {build.file_name("0.1.0", "arm64", python) for python in build.PYTHONS}
    assert names == {f"gatepost_0.1.0_arm64_python{python}.deb" for python in ("3.11", "3.13")}


def test_what_runs_names_the_version_that_it_was_built_as(tmp_path: Path) -> None:
    """In BOOT events, to the office and in backups; not the one of whatever else is installed."""
    lib = tmp_path / "lib"
    build.unpack(build.own_wheel(tmp_path, "9.8.7"), lib)
    code = f"import sys; sys.path.insert(0, {str(lib)!r}); from edge_agent import version; print(version.VERSION)"
    done = subprocess.run(
        [sys.executable, "-IBc", code], capture_output=True, text=True, check=True, timeout=60, cwd="/"
    )
    assert done.stdout == "9.8.7\n"


@pytest.mark.parametrize(("kind", "name"), [("edge", FILE_NAME), ("office", "office.db")])
def test_the_version_of_a_store_is_told_by_python_alone(tmp_path: Path, kind: str, name: str) -> None:
    def told() -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-IB", str(build.FILES / "store-version"), kind, str(config)],
            capture_output=True, text=True, check=False, timeout=60, cwd="/",
        )  # fmt: skip
        return done.returncode, done.stdout or done.stderr

    config = tmp_path / "a.toml"
    config.write_text(f'[{kind}]\ndata_dir = "else where"\n')
    assert told() == (0, "0\n")
    store = tmp_path / "else where" / name
    store.parent.mkdir()
    connection = apsw.Connection(str(store))
    connection.pragma("journal_mode", "wal")
    connection.pragma("user_version", 7)
    assert told() == (0, "7\n")  # also while it is in use, from the WAL
    connection.close()
    assert told() == (0, "7\n")
    store.write_bytes(b"no store at all" * 999)
    assert told() == (1, f"{config}: the version of the store can't be told: file is not a database\n")
    config.write_text("[other]\n")
    assert told() == (1, f"{config}: [{kind}] data_dir is missing\n")
    config.unlink()
    assert told()[1].endswith(f"No such file or directory: '{config}'\n")


@pytest.mark.parametrize("script", ["postinst", "prerm", "postrm", "gatepost-rollback"])
def test_scripts_are_plain_sh(script: str) -> None:
    subprocess.run(["sh", "-n", str(build.FILES / script)], check=True, timeout=10)
