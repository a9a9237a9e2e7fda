"""The command as people run it: a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from edge_agent.tests.harness import Site

ROOT = Path(__file__).resolve().parents[3]


def doctor(site: Site, *more: str, lang: str = "C.UTF-8") -> tuple[int, str]:
    """A process of its own, as people run it."""
    done = subprocess.run(
        [sys.executable, "-m", "tools.cli", "doctor", "--config", str(site.config_path), *more],
        capture_output=True, text=True, timeout=120, check=False, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'protocol'}", "LC_ALL": lang, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert done.stderr == ""
    return done.returncode, done.stdout


def findings(site: Site) -> dict[str, dict[str, Any]]:
    code, said = doctor(site, "--json")
    value = json.loads(said)
    assert ("ok", "warning", "fault").index(value["level"]) == code
    found: dict[str, dict[str, Any]] = {}
    for one in value["findings"]:
        # The worst of a check's findings.
        if one["check"] not in found or one["level"] == "fault":
            found[one["check"]] = one
    return found
