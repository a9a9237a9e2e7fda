"""Every mistake in a configuration file is named with line, key and what would be right."""
# ruff: noqa: E501 - the tables of mistakes read best with one mistake a line

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent import config, enrolment
from edge_agent.config_schema import DEVICE_KEYS, FILES, PATH, TABLES
from edge_agent.errors import ConfigError

HERE = Path(__file__).parents[1]
GOOD = """\
[edge]
site = "s1"
id = "e1"
data_dir = "data"

[office]
url = "https://office.example.org/gatepost/"
token = "0123456789"

[devices]
file = "devices.toml"

[[port]]
kind = "serial"
path = "/dev/ttyUSB0"

[[port]]
kind = "udp"
listen = "[::]:4711"
"""
KEY = "ab" * 32
DEVICES = f"""\
[[device]]
id = 7
name = "一号巡更棒"
role = "tag"
link_key = "{KEY}"

[[device]]
id = 8
role = "barrier"
link_key = "{KEY}"
epoch = 2
"""


def write(folder: Path, edge: str = GOOD, devices: str = DEVICES, mode: int = 0o600) -> Path:
    keys = folder / "devices.toml"
    keys.write_text(devices)
    keys.chmod(mode)
    path = folder / "edge.toml"
    path.write_text(edge)
    return path


def test_good_files(tmp_path: Path) -> None:
    loaded = config.load(write(tmp_path))
    assert loaded.office is not None
    assert loaded.office.url == "https://office.example.org/gatepost"
    assert [(p.kind, p.name, p.listen) for p in loaded.ports] == [
        ("serial", "/dev/ttyUSB0", ("", 0)),
        ("udp", "[::]:4711", ("::", 4711)),
    ]
    assert [(d.device, d.role, d.epoch) for d in loaded.devices] == [(7, 1, 0), (8, 2, 2)]
    assert loaded.data_dir == tmp_path / "data"
    assert KEY not in repr(loaded)
    assert loaded.rehearsal is None


def test_rehearsal(tmp_path: Path) -> None:
    text = GOOD + "[rehearsal]\nepoch_ms = 1000\nstarted_ms = 500\nspeed = 240\n"
    loaded = config.load(write(tmp_path, text))
    assert loaded.rehearsal == (1000, 500, 240)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('site = "s1"', 'sight = "s1"', 'edge.toml:2: [edge] sight: is not known; did you mean "site"?'),
        ('id = "e1"', "", 'edge.toml:1: [edge]: "id" is missing: this machine\'s id'),
        ("[office]", "[ofice]", 'edge.toml:6: [ofice]: is not known; did you mean "office"?'),
        ("[devices]", "[zzz]", "edge.toml:10: [zzz]: is not known; known here: edge, office"),
        ('site = "s1"', 'site = "s 1"', "edge.toml:2: [edge] site: 's 1' is wrong; right is letters, digits"),
        ('site = "s1"', "site = 1", "edge.toml:2: [edge] site: 1 is wrong; right is letters"),
        ('"https://office.example.org/gatepost/"', '"office"', "edge.toml:7: [office] url: 'office' is wrong; right is an"),
        ('token = "0123456789"', "", 'edge.toml:6: [office] token: exactly one of "token" and "token_file" is needed'),
        ('token = "0123456789"', 'token = "x"', "edge.toml:8: [office] token: the value is wrong; right is a text of 8"),
        ('token = "0123456789"', 'token_file = "none"', "edge.toml:8: [office] token_file: none can't be read"),
        ('token = "0123456789"', 'token = "0123456789"\nca_file = "no.pem"', "edge.toml:9: [office] ca_file: no.pem does not"),
        ('token = "0123456789"', 'token = "0123456789"\nbackoff_min_ms = 70000', "edge.toml:9: [office] backoff_min_ms: is larger"),
        ('token = "0123456789"', 'token = "0123456789"\ntimeout_s = true', "edge.toml:9: [office] timeout_s: True is wrong"),
        ('path = "/dev/ttyUSB0"', "", 'edge.toml:13: [port]: "path" is missing: a serial port needs it'),
        ('path = "/dev/ttyUSB0"', 'path = "/dev/x"\nlisten = "a:1"', "edge.toml:16: [port] listen: does not belong to a serial"),
        ('path = "/dev/ttyUSB0"', 'path = "/dev/x"\nbaudrate = 115201', "edge.toml:16: [port] baudrate: 115201 is wrong; right is one of"),
        ('listen = "[::]:4711"', 'listen = "4711"', "edge.toml:19: [port] listen: '4711' is wrong; right is an address and port"),
        ('listen = "[::]:4711"', 'lisen = "[::]:4711"', 'edge.toml:19: [port] lisen: is not known; did you mean "listen"?'),
        ('kind = "udp"', 'kind = "tcp"', 'edge.toml:18: [port] kind: \'tcp\' is wrong; right is one of "serial", "rs485", "dock", "udp"'),
        ('kind = "serial"', 'kind = "dock"', 'edge.toml:15: [port] path: does not belong to a dock port; leave it out'),
        ('kind = "serial"\npath = "/dev/ttyUSB0"', 'kind = "dock"\nmatch = ["ttyACM*"]', "edge.toml:15: [port] match: ['ttyACM*'] is wrong; right is a list of"),
        ('kind = "serial"\npath = "/dev/ttyUSB0"', 'kind = "dock"\nmatch = []', "edge.toml:15: [port] match: [] is wrong; right is a list of absolute paths"),
        ('kind = "serial"', 'kind = "rs485"', 'edge.toml:13: [port]: "devices" is missing: an rs485 port needs it'),
        ('kind = "serial"', 'kind = "rs485"\ndevices = []', "edge.toml:15: [port] devices: [] is wrong; right is 1 to 32 different device"),
        ('kind = "serial"', 'kind = "rs485"\ndevices = [7, 7]', "edge.toml:15: [port] devices: [7, 7] is wrong; right is 1 to 32"),
        ('kind = "serial"', 'kind = "rs485"\ndevices = [7, 9]', "edge.toml:15: [port] devices: 9 is not among the [devices]"),
        ('kind = "serial"', 'kind = "rs485"\ndevices = [7]\ndirection = "rts"', "edge.toml:16: [port] direction: 'rts' is wrong; right is one of"),
        ('path = "/dev/ttyUSB0"', 'path = "/dev/x"\ndevices = [7]', "edge.toml:16: [port] devices: does not belong to a serial port"),
        ('kind = "udp"\nlisten = "[::]:4711"', 'kind = "rs485"\npath = "/dev/b"\ndevices = [7]\n[[port]]\nkind = "rs485"\npath = "/dev/c"\ndevices = [8, 7]', "edge.toml:24: [port] devices: 7 is on another bus"),
        ('listen = "[::]:4711"', 'listen = "[::]:4711"\nname = "/dev/ttyUSB0"', "edge.toml:20: [port] name: '/dev/ttyUSB0' is there twice"),
        ("[[port]]\nkind = \"serial\"", "[port]\nkind = \"serial\"", "edge.toml:17: not TOML"),
        ('file = "devices.toml"', 'file = "nothing.toml"', "nothing.toml: can't be read: No such file"),
        ('id = "e1"', "id = e1", "edge.toml:3: not TOML: Invalid value"),
    ],
)  # fmt: skip
def test_mistakes(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError) as caught:
        config.load(write(tmp_path, GOOD.replace(old, new)))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("id = 8", "id = 7", "devices.toml:8: [device] id: 7 is used by another device"),
        ("id = 8", "id = 1", "devices.toml:8: [device] id: 1 is wrong; right is a whole number from 2"),
        ('role = "tag"', 'role = "tags"', "devices.toml:4: [device] role: 'tags' is wrong; right is one of \"tag\""),
        ("epoch = 2", "epok = 2", 'devices.toml:11: [device] epok: is not known; did you mean "epoch"?'),
        ("epoch = 2", 'event_key = "00"', "devices.toml:11: [device] event_key: must not be on the edge"),
        (f'role = "barrier"\nlink_key = "{KEY}"', 'role = "barrier"\nlink_key = "abcd"', "devices.toml:10: [device] link_key: the value"),
        ('role = "barrier"\n', "", 'devices.toml:7: [device]: "role" is missing'),
    ],
)  # fmt: skip
def test_mistakes_in_devices(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in DEVICES
    with pytest.raises(ConfigError) as caught:
        config.load(write(tmp_path, devices=DEVICES.replace(old, new)))
    assert message in str(caught.value)
    assert KEY not in str(caught.value)


def test_keys_open_to_others_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="chmod 600"):
        config.load(write(tmp_path, mode=0o640))


def test_token_file(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret-token\n")
    token.chmod(0o600)
    text = GOOD.replace('token = "0123456789"', 'token_file = "token"')
    loaded = config.load(write(tmp_path, text))
    assert loaded.office is not None
    assert loaded.office.token == "secret-token"
    token.chmod(0o644)
    with pytest.raises(ConfigError, match="open to other users"):
        config.load(write(tmp_path, text))


def test_the_example_is_right_and_names_every_key(tmp_path: Path) -> None:
    example = (HERE / "edge.example.toml").read_text()
    (tmp_path / "token").write_text("0123456789\n")
    (tmp_path / "token").chmod(0o600)
    (tmp_path / "control").write_text("0123456789\n")
    (tmp_path / "control").chmod(0o600)
    config.load(write(tmp_path, example))
    for table, keys in TABLES.items():
        assert f"[{table}]" in example
        for key in keys:
            assert f"{key.name} =" in example, f"[{table}] {key.name} is not in edge.example.toml"


def test_every_file_that_can_be_named_is_known_as_one(tmp_path: Path) -> None:
    paths = {(table, key.name) for table, keys in TABLES.items() for key in keys if key.check is PATH}
    assert {(table, key) for table, key, _ in FILES} == paths - {("edge", "data_dir"), ("port", "path")}
    tables: dict[str, object] = {
        "devices": {"file": "devices.toml"},
        "status": {"tls_cert": "../status.pem", "tls_key": "/etc/status-key.pem", "viewer_token_file": 7},
        "office": "no table",
    }
    assert config.named_files(tmp_path / "edge.toml", tables) == (
        (tmp_path / "devices.toml", True, "devices"),
        (tmp_path / "../status.pem", False, "status"),
        (Path("/etc/status-key.pem"), True, "status"),
    )


def test_the_readme_documents_every_key() -> None:
    readme = (HERE / "README.md").read_text()
    for table, keys in {**TABLES, "device": DEVICE_KEYS}.items():
        for key in keys:
            assert f"| `{key.name}` |" in readme, f"[{table}] {key.name} is not in README.md"
            assert key.doc in readme, f"README.md tells something else of [{table}] {key.name}"


TABLE = '[office]\nurl = "https://office.example.org/gatepost/"\ntoken = "0123456789"\n'
ENROLLED = enrolment.Enrolled("https://192.168.7.2:8443", "s1", "e1", (bytes(32), bytes([1] * 32)), 5)


def test_an_enrolled_edge_needs_no_address_and_no_token(tmp_path: Path) -> None:
    empty = write(tmp_path, GOOD.replace(TABLE, "[office]\nbatch_rows = 7\n"))
    waiting = config.load(empty).office
    assert waiting is not None
    assert (waiting.url, waiting.token, waiting.batch_rows) == ("", "", 7)
    none = GOOD.replace(TABLE, "")
    assert config.load(write(tmp_path, none)).office is None
    (tmp_path / "data").mkdir(mode=0o700)
    enrolment.save(tmp_path / "data", ENROLLED)
    assert enrolment.load(tmp_path / "data", "s1", "e1") == ENROLLED
    for text in (none, GOOD.replace(TABLE, "[office]\n")):
        found = config.load(write(tmp_path, text)).office
        assert found is not None
        assert (found.url, found.token, found.edge) == (ENROLLED.url, "", "e1")
    with pytest.raises(ConfigError, match=r"edge.toml:7: \[office\] url: this edge is enrolled"):
        config.load(write(tmp_path))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('site = "s1"', 'site = "s2"', 'remove it and enrol "e1" at "s1"'),
        ('edge = "e1"', 'edge = "e2"', "remove it"),
        ("https://", "ftp://", "office.toml:2: url"),
        ("00" * 32, "00" * 31, "64 hexadecimal digits"),
        ('pins = ["', 'pins = [5, "', "64 hexadecimal digits"),
        ("pins", "pin", "did you mean"),
        ("enrolled_ms = 5", "", '"enrolled_ms" is missing'),
    ],
)
def test_an_enrolment_that_somebody_changed_is_refused(tmp_path: Path, old: str, new: str, says: str) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    enrolment.save(tmp_path / "data", ENROLLED)
    kept = tmp_path / "data" / enrolment.FILE_NAME
    assert old in kept.read_text()
    kept.write_text(kept.read_text().replace(old, new, 1))
    with pytest.raises(ConfigError) as raised:
        config.load(write(tmp_path, GOOD.replace(TABLE, "[office]\n")))
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)
