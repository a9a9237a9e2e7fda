"""Wrong files: each mistake names file, line, key and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.errors import ConfigError
from tools.office.config import OFFICE, Name, load
from tools.office.server import main
from tools.office.tests.makers import Device
from tools.office.tests.process import configure, sha


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path)
    return str(caught.value)


def change(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path


def test_a_good_file(tmp_path: Path) -> None:
    device = Device(101)
    config = load(configure(tmp_path, [device], "viewer_token_sha256 = " + repr(sha("x"))))
    assert config.listen == ("127.0.0.1", 0)
    assert config.data_dir == tmp_path / "data"
    assert config.utc_offset_min == 480
    assert config.sites["lakeside"].name == Name("湖畔花园", "Lakeside Garden")
    assert config.sites["east"].name == Name("东区<b>", "东区<b>")
    assert config.event_keys == {("lakeside", 101): device.key}
    assert config.card_names == {("lakeside", bytes.fromhex("04a1b2c3d4e5f6")): Name("1号楼大堂", "Lobby 1")}
    assert config.rehearsal is None
    assert device.key.hex() not in repr(config)


def test_the_example_is_complete_and_good(tmp_path: Path) -> None:
    """Every key of every table stands in it, and it loads with its comments taken off where they hide a key."""
    text = (Path(__file__).parents[1] / "office.example.toml").read_text()
    (tmp_path / "office.toml").write_text(text)
    assert load(tmp_path / "office.toml").listen == ("127.0.0.1", 8080)
    for table, keys in OFFICE.items():
        assert f"[{table}]" in text
        for key in keys:
            assert f"\n{key.name} = " in text or f"\n# {key.name} = " in text, key.name


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("data_dir", "dat_dir", ["office.toml:3", "dat_dir", 'did you mean "data_dir"']),
        ('"127.0.0.1:0"', '"127.0.0.1"', ["office.toml:2", "[office] listen", "127.0.0.1:8787"]),
        ('"127.0.0.1:0"', '"0.0.0.0:80"', ["office.toml:2", "viewer_token_sha256"]),
        ("[office]", "[ofice]", ["office.toml:1", 'did you mean "office"']),
        ('data_dir = "data"', "", ["[office]", '"data_dir" is missing']),
        ('data_dir = "data"', "data_dir = 5", ["office.toml:3", "data_dir"]),
        ('data_dir = "data"', 'data_dir = "data"\nutc_offset = "8"', ["office.toml:4", "+08:00"]),
        ('data_dir = "data"', 'data_dir = "data"\ntls_cert = "a.pem"', ["office.toml:4", "tls_key"]),
        ('data_dir = "data"', 'data_dir = "data"\nviewer_token_sha256 = "look"', ["office.toml:4", "sha256sum"]),
        ('id = "lakeside"', 'id = "lake side"', ["[site] id", "riverside-1"]),
        ('id = "east"', 'id = "lakeside"', ["[site] id", "stands here twice"]),
        ("token_sha256", "token", ["[site] token", 'did you mean "token_sha256"']),
        ("keys.toml", "missing.toml", ["missing.toml", "can't be read"]),
        ("[office]", "[office", ["office.toml:1", "not TOML"]),
    ],
)
def test_mistakes(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    problem = refused(change(configure(tmp_path), old, new))
    for word in words:
        assert word in problem, problem


def test_no_site(tmp_path: Path) -> None:
    (tmp_path / "office.toml").write_text('[office]\ndata_dir = "data"\n[site]\nid = "x"\n')
    assert "[[site]]" in refused(tmp_path / "office.toml")
    (tmp_path / "office.toml").write_text('[office]\ndata_dir = "data"\n')
    assert "one [[site]]" in refused(tmp_path / "office.toml")


def test_mistakes_in_the_key_file(tmp_path: Path) -> None:
    path = configure(tmp_path, [Device(101), Device(102)])
    keys = tmp_path / "keys.toml"
    good = keys.read_text()
    for old, new, words in (
        ('"lakeside"', '"lake"', ['keys.toml:2', '"lake" is no site']),
        ("id = 102", "id = 101", ["keys.toml:9", "stands here twice"]),
        ("event_key", "evnt_key", ["keys.toml:6", 'did you mean "event_key"']),
        (Device(101).key.hex(), "abc", ["keys.toml:6", "64 hexadecimal digits"]),
    ):
        change(keys, old, new)
        problem = refused(path)
        for word in words:
            assert word in problem, problem
        assert Device(101).key.hex() not in problem
        keys.write_text(good)
    keys.chmod(0o640)
    assert "chmod 600 keys.toml" in refused(path)


def test_the_command_says_it_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = change(configure(tmp_path), "data_dir", "dat_dir")
    assert main(["--config", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["--config", str(tmp_path / "nothing.toml")]) == 2
    assert "can't be read" in capsys.readouterr().err
