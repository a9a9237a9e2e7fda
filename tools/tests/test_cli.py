"""The command line: what there is, and mistakes in one line with exit code 2."""

import os
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from edge_agent.store.database import own
from edge_agent.tests.harness import Site
from tools import cli

ROOT = Path(__file__).resolve().parents[2]


def gatepost(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'protocol'}"}
    return subprocess.run(
        [sys.executable, "-m", "tools.cli", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd or ROOT,
        env=environment,
        timeout=60,
        check=False,
    )


def test_help_lists_the_commands() -> None:
    done = gatepost("--help")
    assert done.returncode == 0
    for command in ("edge", "office", "status", "simulate", "provision"):
        assert command in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("edge", "run", "--config", "nowhere.toml"), "nowhere.toml"),
        (("office", "run", "--config", "nowhere.toml"), "nowhere.toml"),
        (("status", "--url", "http://127.0.0.1:9/status"), "is the edge agent running?"),
        (("status", "--url", "ftp://x"), "right is an address"),
        (("simulate", "--plan", "nowhere.toml"), "nowhere.toml: can't be read"),
        (("simulate", "--folder", "tools"), "choose another --folder"),
        (("simulate", "--speed", "0"), "from 1 to 1000"),
        (("provision", "--site", "s", "--device", "1", "--role", "tag"), "from 2 to 4,294,967,295"),
        (("provision", "--site", "s", "--device", "7", "--role", "lamp"), "invalid choice"),
        (("nonsense",), "invalid choice"),
        ((), "COMMAND"),
    ],
)
def test_mistakes_are_one_line(arguments: tuple[str, ...], words: str) -> None:
    done = gatepost(*arguments)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if not line.startswith(("usage", " "))]) == 1


def test_what_another_try_may_mend_is_no_mistake(tmp_path: Path) -> None:
    """systemd does not start the agent again after exit code 2."""
    site = Site(tmp_path)
    (tmp_path / "data").mkdir(mode=0o700)
    with own(tmp_path / "data"):
        done = gatepost("edge", "run", "--config", str(site.config_path))
    assert done.returncode == 1
    assert done.stderr == f"gatepost: another agent (process {os.getpid()}) already uses this data_dir: stop it first\n"


def provision(folder: Path, *more: str, device: int = 101) -> int:
    files = ["--edge", str(folder / "devices.toml"), "--office", str(folder / "event-keys.toml")]
    who = ["--site", "riverside", "--device", str(device), "--role", "tag", "--name", "一号"]
    return cli.main(["provision", *who, *files, *more])


def entries(path: Path) -> dict[int, dict[str, object]]:
    return {entry["id"]: entry for entry in tomllib.loads(path.read_text(encoding="utf-8"))["device"]}


def test_provision_splits_the_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert provision(tmp_path) == 0
    assert provision(tmp_path, device=102) == 0
    printed = capsys.readouterr().out
    assert "fingerprint" in printed
    edge, office = entries(tmp_path / "devices.toml"), entries(tmp_path / "event-keys.toml")
    assert set(edge) == set(office) == {101, 102}
    assert edge[101]["name"] == "一号"
    assert "event_key" not in edge[101]
    assert "link_key" not in office[101]
    assert edge[101]["link_key"] != edge[102]["link_key"]
    assert str(edge[101]["link_key"]) not in printed
    for name in ("devices.toml", "event-keys.toml"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_provision_never_overwrites_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert provision(tmp_path) == 0
    before = (tmp_path / "devices.toml").read_bytes(), (tmp_path / "event-keys.toml").read_bytes()
    assert provision(tmp_path) == 2
    assert "--rekey" in capsys.readouterr().err
    assert before == ((tmp_path / "devices.toml").read_bytes(), (tmp_path / "event-keys.toml").read_bytes())
    old = entries(tmp_path / "devices.toml")[101]
    assert provision(tmp_path, "--rekey") == 0
    new = entries(tmp_path / "devices.toml")[101]
    assert (old["epoch"], new["epoch"]) == (0, 1)
    assert old["link_key"] != new["link_key"]


def test_provision_asks_both_files_before_writing_one(tmp_path: Path) -> None:
    assert provision(tmp_path) == 0
    (tmp_path / "event-keys.toml").unlink()
    assert provision(tmp_path) == 2
    assert not (tmp_path / "event-keys.toml").exists()


def test_provision_leaves_foreign_files_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "devices.toml").write_text("[edge]\nsite = 'x'\n")
    assert provision(tmp_path) == 2
    assert "give another file" in capsys.readouterr().err


def test_provision_writes_a_board(tmp_path: Path) -> None:
    board = tmp_path / "board"
    assert provision(tmp_path, "--board", str(board)) == 0
    key = bytes.fromhex(str(entries(tmp_path / "devices.toml")[101]["link_key"]))
    flash = (board / "flash.bin").read_bytes()
    assert key in flash or key.hex().encode() in flash
    assert provision(tmp_path, "--board", str(board)) == 2


def test_a_reader_who_has_seen_enough_gets_no_traceback(tmp_path: Path) -> None:
    config = '[office]\nlisten = "127.0.0.1:0"\ndata_dir = "data"\n[[site]]\nid = "s1"\n'
    (tmp_path / "office.toml").write_text(config)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'protocol'}"}
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tools.cli", "office", "init", "--config", str(tmp_path / "office.toml")],
            stdout=writing, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment, timeout=60, check=False,
        )  # fmt: skip
    finally:
        os.close(writing)
    assert "Traceback" not in done.stderr


def test_what_needs_the_virtual_board_says_so_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tools.device_code.ROOT", tmp_path)  # as in the package: no hw_tests
    keys = [tmp_path / "devices.toml", tmp_path / "event-keys.toml"]
    call = ["provision", "--site", "s", "--device", "7", "--role", "tag", "--board", str(tmp_path / "board")]
    assert cli.main([*call, "--edge", str(keys[0]), "--office", str(keys[1])]) == 2
    assert not any(key.exists() for key in keys)
    assert cli.main(["simulate"]) == 2
    assert capsys.readouterr().err.count("run this from a checkout") == 2
