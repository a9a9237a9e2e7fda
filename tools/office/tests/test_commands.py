"""What is done beside the server, and what the server refuses to serve without."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import cli
from tools.office.tests.edge import Edge, ticket
from tools.office.tests.makers import Device, body
from tools.office.tests.process import configure, running, sha

DEVICE = Device(101)
DEVICE.work(5)


def test_commands_say_what_is_wrong_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = configure(tmp_path)
    where = ["--config", str(config)]
    for arguments, says in (
        (["enrol", *where, "--site", "nowhere", "--edge", "e"], "its sites are east, lakeside"),
        (["enrol", *where, "--site", "east", "--edge", "e"], "--url is needed"),
        (["enrol", *where, "--site", "east", "--edge", "e e", "--url", "http://127.0.0.1"], "--edge"),
        (["enrol", *where, "--site", "east", "--edge", "e", "--url", "http://10.0.0.1"], "without a certificate"),
        (["enrol", *where, "--site", "east", "--edge", "e", "--url", "https://10.0.0.1"], "gatepost office init"),
        (["enrol", *where, "--site", "east", "--edge", "e", "--valid-minutes", "0"], "from 1 to"),
        (["revoke", *where, "--site", "east", "--edge", "e"], "never enrolled"),
        (["renew", *where], "gatepost office init"),
        (["init", "--config", str(tmp_path / "none.toml")], "can't be read"),
    ):
        assert cli.main(["office", *arguments]) == 2
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1)
        assert says in said.err
    assert cli.main(["office", "edges", *where]) == 0
    assert "no edge is enrolled" in capsys.readouterr().out


def test_other_machines_only_with_https(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = configure(tmp_path, extra=f'viewer_token_sha256 = "{sha("look")}"')
    config.write_text(config.read_text().replace("127.0.0.1:0", "0.0.0.0:0"))
    assert cli.main(["office", "run", "--config", str(config)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "gatepost office init --config office.toml" in said
    assert cli.main(["office", "init", "--config", str(config)]) == 0
    made = capsys.readouterr().out.strip()
    assert (tmp_path / "data" / "office.pem").stat().st_mode & 0o777 == 0o600
    assert cli.main(["office", "init", "--config", str(config)]) == 0
    assert capsys.readouterr().out.strip()[-64:] == made[-64:]  # never made anew
    with running(config) as server:
        edge = Edge(server.port, tls=True)
        assert edge.enrol(ticket(config, server.port))[0] == 200
        assert edge.send(body([DEVICE.row(1, 5)]))[0] == 200
    (tmp_path / "data" / "office.pem").chmod(0o640)
    assert cli.main(["office", "run", "--config", str(config)]) == 2
    assert "chmod 600" in capsys.readouterr().err
