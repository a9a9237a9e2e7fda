"""The real server as a process of its own, and a small client."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.office.tests.makers import Device

ROOT = Path(__file__).parents[3]
TOKENS = {"lakeside": "token-of-lakeside", "east": "token-of-east"}
START_S = 30.0


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def configure(folder: Path, devices: list[Device] = [], extra: str = "", sites: str = "") -> Path:  # noqa: B006
    """Write office.toml and its key file; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = folder / "keys.toml"
    keys.write_text(
        "".join(
            f'[[device]]\nsite = "lakeside"\nid = {one.device}\nname = "{one.device}号设备"\n'
            f'name_en = "Device {one.device}"\nevent_key = "{one.key.hex()}"\n'
            for one in devices
        )
    )
    keys.chmod(0o600)
    cards = '[[card]]\nsite = "lakeside"\nuid = "04a1b2c3d4e5f6"\nname = "1号楼大堂"\nname_en = "Lobby 1"\n'
    (folder / "cards.toml").write_text(cards)
    path = folder / "office.toml"
    path.write_text(
        f'[office]\nlisten = "127.0.0.1:0"\ndata_dir = "data"\n{extra}\n'
        f'[[site]]\nid = "lakeside"\nname_zh = "湖畔花园"\nname_en = "Lakeside Garden"\n'
        f'token_sha256 = "{sha(TOKENS["lakeside"])}"\n'
        f'[[site]]\nid = "east"\nname_zh = "东区<b>"\ntoken_sha256 = "{sha(TOKENS["east"])}"\n{sites}'
        f'[devices]\nfile = "keys.toml"\n[cards]\nfile = "cards.toml"\n'
    )
    return path


class Server:
    """One process; `port` is the system's choice."""

    def __init__(self, config: Path) -> None:
        self._log = config.with_name("office.log")
        with self._log.open("ab") as log:
            begin = log.tell()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tools.office.server", "--config", str(config)],
                cwd=ROOT,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "protocol")])},
            )
        self.port = self._listening(begin)

    def _listening(self, begin: int) -> int:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            for line in self.log(begin):
                if line["event"] == "Application startup complete.":
                    return next(int(one["url"].rpartition(":")[2]) for one in self.log(begin) if "url" in one)
            if self.process.poll() is not None:
                raise AssertionError(self._log.read_text())
            time.sleep(0.02)  # asks again; nothing is right only because of it
        raise AssertionError("the server did not start")

    def log(self, begin: int = 0) -> list[dict[str, Any]]:
        """What it logged, complete lines."""
        raw = self._log.read_bytes()[begin:]
        return [json.loads(line) for line in raw[: raw.rfind(b"\n") + 1].splitlines()]

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def connect(self) -> http.client.HTTPConnection:
        """A connection of its own."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        line.connect()
        line.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # head and body go out apart
        return line

    def ask(
        self, method: str, path: str, raw: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """One request on a connection of its own."""
        with contextlib.closing(self.connect()) as line:
            line.request(method, path, raw, headers or {})
            answer = line.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()

    def get(self, path: str, headers: dict[str, str] | None = None) -> Any:
        """JSON at `path`."""
        status, _, raw = self.ask("GET", path, None, headers)
        assert status == 200, raw
        return json.loads(raw)

    def send(self, raw: bytes, site: str = "lakeside", token: str | None = None) -> tuple[int, Any]:
        """One batch."""
        status, _, answer = self.ask("POST", batches(site), raw, upload_headers(site, token))
        return status, json.loads(answer)

    def checked(self, device: int, seq: int) -> dict[str, Any]:
        """The device's state once its chain was followed to `seq`."""
        deadline = time.monotonic() + START_S
        while True:
            found = self.get(f"/api/v1/sites/lakeside/devices/{device}")
            if found["checked_to"] >= seq:
                return dict(found)
            assert time.monotonic() < deadline, found
            time.sleep(0.02)  # asks again; nothing is right only because of it

    def history(self, device: int, site: str = "lakeside") -> list[tuple[int, int, int, str]]:
        """(seq, boot, uptime_cs, payload) of all of a device's events."""
        found, after = [], 0
        while after is not None:
            page = self.get(f"/api/v1/sites/{site}/devices/{device}/events?after={after}&limit=1000")
            found += [(one["seq"], one["boot"], one["uptime_cs"], one["payload"]) for one in page["events"]]
            after = page["next_after"]
        return found


def batches(site: str) -> str:
    return f"/api/v1/sites/{site}/batches"


def upload_headers(site: str, token: str | None = None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token or TOKENS.get(site, 'none')}", "Content-Type": "application/cbor"}


def minted(device: Device) -> list[tuple[int, int, int, str]]:
    """As Server.history gives it."""
    return [(one.seq, one.boot, one.uptime_cs, one.payload.hex()) for one in device.journal]


@contextlib.contextmanager
def running(config: Path) -> Iterator[Server]:
    """A server that ends with the test."""
    server = Server(config)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.kill()
