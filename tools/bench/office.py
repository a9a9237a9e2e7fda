"""A real office process for the benchmarks: one site, an upload token, and the event keys of its devices if wanted."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tools.simulate.processes import free_port

SITE = "bench"
START_S, STOP_S = 30.0, 20.0


class Office(NamedTuple):
    """Where it listens, and the token that an edge of SITE sends."""

    port: int
    token: str


@contextmanager
def running(folder: Path, event_keys: Mapping[int, bytes] | None = None) -> Iterator[Office]:
    """An office with its files in `folder`, the database in folder/office. Raises RuntimeError if it does not start."""
    folder.mkdir(parents=True, exist_ok=True)
    office = Office(free_port(), secrets.token_urlsafe(24))
    text = (
        f'[office]\nlisten = "127.0.0.1:{office.port}"\ndata_dir = "office"\n'
        f'[[site]]\nid = "{SITE}"\nname_zh = "测试"\n'
        f'token_sha256 = "{hashlib.sha256(office.token.encode()).hexdigest()}"\n'
    )
    if event_keys:
        keys = folder / "event-keys.toml"
        keys.write_text(
            "".join(
                f'[[device]]\nsite = "{SITE}"\nid = {device}\nevent_key = "{key.hex()}"\n'
                for device, key in event_keys.items()
            )
        )
        keys.chmod(0o600)
        text += '[devices]\nfile = "event-keys.toml"\n'
    config = folder / "office.toml"
    config.write_text(text)
    with (folder / "office.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tools.cli", "office", "run", "--config", str(config)],
            stderr=log,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
    try:
        _wait(process, office.port, folder / "office.log")
        yield office
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the office did not start: {log.read_text()[-500:]}") from None
            time.sleep(0.05)  # asks again, until the deadline above
        else:
            return
