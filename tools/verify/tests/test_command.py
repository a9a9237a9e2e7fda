"""`gatepost verify` as people call it; a proof of one event, and every value in it changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_agent import identity
from tools import cli
from tools.verify.tests.changes import FIRST
from tools.verify.tests.scene import Copy, Scene, write_office


def test_proof_of_one_event(
    scene: Scene, copy: Copy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    office_toml = scene.folder / "office" / "office.toml"
    public = identity.load(copy.edge.data_dir).public
    key = identity.fingerprint(public)
    path = tmp_path / "proof.json"
    keys = scene.folder / "office" / "keys.toml"
    first = copy.office_db().execute(f"SELECT {FIRST}").get
    asked = [
        "verify",
        "--office",
        str(office_toml),
        "--event",
        f"7/1/{first + 3}",
        "--proof",
        str(path),
        "--lang",
        "en",
    ]
    assert cli.main(asked) == 0
    check = ["verify", "--proof", str(path), "--lang", "en", "--key"]
    for given in (key, public.hex()):
        assert cli.main([*check, given, "--event-keys", str(keys)]) == 0
    assert "the device's own chain fits" in capsys.readouterr().out
    assert cli.main([*check, key]) == 0
    assert "without the event key" in capsys.readouterr().out
    whole = json.loads(path.read_text())
    assert len(path.read_text()) < 20_000
    spoilt = 0

    def spoil(at: Any, name: Any, value: Any) -> None:
        nonlocal spoilt
        before = at[name]
        at[name] = value
        path.write_text(json.dumps(whole))
        assert cli.main([*check, key, "--event-keys", str(keys)]) == 1, (name, before)
        at[name] = before
        spoilt += 1

    def other(value: Any) -> Any:
        if isinstance(value, int):
            return value + 1
        if isinstance(value, str):
            return value[:-1] + ("0" if value[-1:] != "0" else "1")
        return "00" if value is None else None

    for part in ("event", "row", "head"):
        for name in whole[part]:
            spoil(whole[part], name, other(whole[part][name]))
    for name in ("site", "edge", "key", "signature", "event", "row", "head", "path"):
        spoil(whole, name, other(whole[name]))
    for index in range(len(whole["path"])):
        spoil(whole["path"], index, other(whole["path"][index]))
    for name in ("mac8", "mac8_before"):
        spoil(whole["chain"], name, other(whole["chain"][name]))
    for index in range(len(whole["chain"]["events"])):
        for column in range(4):
            spoil(whole["chain"]["events"][index], column, other(whole["chain"]["events"][index][column]))
    print(spoilt, "values of the file changed, one by one")
    path.write_text(json.dumps(whole))
    assert cli.main([*check, key]) == 0
    assert cli.main([*check, "0000-" * 7 + "0000"]) == 1
    capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "right is --office"),
        (["--proof", "x.json"], "right is --office"),
        (["--proof", "x.json", "--key", "abc"], "--key"),
        (["--proof", "nothing.json", "--key", "0" * 64], "can't be read"),
        (["--edge", "edge.toml", "--day", "2026-04-01"], "--day goes with --office"),
        (["--office", "nothing.toml"], "nothing.toml"),
        (["--office", "OFFICE", "--day", "yesterday"], "right is a day"),
        (["--office", "OFFICE", "--event", "7"], "right is device/boot/number"),
        (["--office", "OFFICE", "--proof", "p.json"], "which event"),
    ],
)
def test_mistakes_on_the_command_line(
    scene: Scene, arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    office_toml = str(scene.folder / "office" / "office.toml")
    assert cli.main(["verify", *[office_toml if one == "OFFICE" else one for one in arguments]]) == 2
    said = capsys.readouterr().err
    assert word in said
    assert said.count("\n") == 1


def test_both_sides_and_json(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    both = [
        "verify",
        "--office",
        str(scene.folder / "office" / "office.toml"),
        "--edge",
        str(scene.folder / "edge.toml"),
    ]
    assert cli.main([*both, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["faults"], found["unable"]) == ("fine", [], None)
    assert found["events"] > 150
    assert cli.main([*both, "--lang", "zh"]) == 0
    assert "全部相符" in capsys.readouterr().out


def test_what_can_not_be_checked(scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = write_office(tmp_path / "office", scene.devices)
    assert cli.main(["verify", "--office", str(empty), "--lang", "en"]) == 2
    assert "start this program's office server once" in capsys.readouterr().out
    (tmp_path / "office" / "data").mkdir()
    (tmp_path / "office" / "data" / "office.db").write_bytes(b"no database at all" * 200)
    assert cli.main(["verify", "--office", str(empty), "--lang", "en"]) == 2


@pytest.mark.parametrize("side", ["office", "edge"])
def test_the_key_that_must_have_signed(
    scene: Scene, copy: Copy, capsys: pytest.CaptureFixture[str], side: str
) -> None:
    """By fingerprint or as digits, large or small; another key is named, at both sides."""
    where = scene.folder / ("office/office.toml" if side == "office" else "edge.toml")
    asked = ["verify", f"--{side}", str(where), "--lang", "en", "--key"]
    public = identity.load(copy.edge.data_dir).public
    key = identity.fingerprint(public)
    for given in (key, key.upper(), public.hex(), public.hex().upper()):
        assert cli.main([*asked, given]) == 0, capsys.readouterr().out
    for other in ("0" * 64, identity.fingerprint(bytes(32))):
        capsys.readouterr()
        assert cli.main([*asked, other]) == 1
        assert "signed by a key that is not this edge's" in capsys.readouterr().out
