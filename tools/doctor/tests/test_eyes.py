"""Who looks: root sees what the agent's user sees; somebody else is told what he may not look at."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from edge_agent.tests.harness import Site
from tools.doctor.tests.asking import ROOT, findings

# Changing the user of a process or file is root's alone; CI runs as root and tries it.
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@as_root
def test_root_looks_with_the_eyes_of_the_agents_user() -> None:
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are root's alone
        folder = Path(name)
        site = Site(folder)
        (folder / "data").mkdir(mode=0o700)
        os.chown(folder / "data", nobody.pw_uid, nobody.pw_gid)
        folder.chmod(0o755)
        found = findings(site)
        assert found["files"]["remedy"]["en"] == f"sudo chown nobody {folder / 'devices.toml'}"
        assert found["config"]["level"] == "fault"
        # And where it can't even get there.
        folder.chmod(0o700)
        found = findings(site)
        assert found["files"]["remedy"]["en"] == f"sudo chown nobody {folder}"
        assert found["config"]["level"] == "fault"


# Root gives its rights up and asks, as a technician does who is not root.
AS_USER = """
import os, sys
from tools import cli
from tools.doctor import command
os.setgroups([])
os.setgid(int(sys.argv[1]))
os.setuid(int(sys.argv[1]))
sys.exit(cli.main(["doctor", "--json", "--config", sys.argv[2]]))
"""


def as_user(user: int, site: Site) -> dict[str, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", AS_USER, str(user), str(site.config_path)],
        capture_output=True, text=True, timeout=120, check=False, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'protocol'}", "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert done.stderr == ""
    return {one["check"]: one for one in json.loads(done.stdout)["findings"]}


@as_root
def test_what_the_one_who_asks_may_not_see() -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    stranger = max(entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid < 60_000) + 1  # has no name here
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are root's alone
        folder = Path(name)
        site, data = Site(folder), folder / "data"
        folder.chmod(0o755)
        data.mkdir(mode=0o700)
        for path in (data, folder / "devices.toml"):
            os.chown(path, stranger, stranger)
        assert findings(site)["files"]["level"] == "ok"
        # Somebody else than the agent's user gets no advice that would take the agent's rights away.
        found = as_user(nobody, site)["files"]
        assert found["text"]["en"] == f"{data} may not be looked at by user nobody"
        assert found["remedy"]["en"].endswith(f"sudo gatepost doctor --config {site.config_path}")
        site.config_path.chmod(0o600)
        found = as_user(nobody, site)["config"]
        assert found["text"]["en"] == f"{site.config_path} may not be looked at by user nobody"
        site.config_path.chmod(0o644)
        (data / "replaced-20261127T000000Z").mkdir(mode=0o700)  # root's
        assert findings(site)["kept aside"]["key"] == "store_aside"
        data.chmod(0o000)
        found = findings(site)["files"]
        assert found["text"]["en"] == f"{data} is closed even to {stranger}, whose it is"
        data.chmod(0o700)
        # What does not lie there yet is nobody's fault.
        site.config_path.write_text(site.config_path.read_text().replace('"data"', '"not/yet"'))
        assert "disk_not_tried" in {one["key"] for one in findings(site).values()}
