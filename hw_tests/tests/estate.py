"""Layer: one device on a virtual board, the real edge agent as a process of its own, releases to give it."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
from cryptography.hazmat.primitives.asymmetric import ec

from gatelink import events
from hw_tests.virtual_board.board import VirtualBoard
from node.image import open_image
from tools import cli
from tools.release import build, sign
from tools.simulate.processes import free_port

ROOT = Path(__file__).parents[2]
DEVICE = 7
LINK, EVENT = bytes(range(1, 33)), bytes(range(2, 34))
TOKEN = "control-token"
EPOCH_MS = 1_900_000_000_000


class Releases:
    """Versions of a role, signed by a key that the device holds."""

    def __init__(self, folder: Path, role: str) -> None:
        self._folder = folder
        self.role = role
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.public = sign.public_bytes(self.key.public_key()).hex()
        self.files = build.role_files(ROOT, role)

    def compiled(self, source: str) -> bytes:
        path = self._folder / "source.py"
        path.write_text(source)
        return build.compile_file(path, "source.py", self._folder / "source.mpy")

    def crashing(self) -> dict[str, bytes]:
        """Every file as it is, but the main program."""
        return {**self.files, f"{self.role}/main.mpy": self.compiled("raise RuntimeError('not today')\n")}

    def write(self, seq: int, files: dict[str, bytes] | None = None, **fields: Any) -> Path:
        """A folder as tools.release builds it; fields override the manifest's; key=, spoil= make bad ones."""
        files = self.files if files is None else files
        key, spoil = fields.pop("key", self.key), fields.pop("spoil", False)
        manifest = {
            "ver": f"2.0.{seq}", "seq": seq, "min_seq": 0, "model": self.role, "mpy_abi": build.MPY_ABI,
            "expires": EPOCH_MS // 1000 + 86_400, "files": sign.entries(files), **fields,
        }  # fmt: skip
        signed = sign.sign(manifest, key)
        if spoil:
            signed = signed[:-1] + bytes([signed[-1] ^ 1])
        folder = self._folder / f"release-{seq}-{len(list(self._folder.iterdir()))}"
        sign.write_release(folder, files, signed)
        return folder


class Estate:
    """A board, an edge, one clock for both: `speed` times the machine's. Everything of it lies in `folder`."""

    def __init__(
        self,
        folder: Path,
        releases: Releases,
        config: dict[str, Any],
        *,
        speed: float = 20.0,
        manual: bool = False,
        port: str = 'kind = "serial"\npath = "{path}"',
    ) -> None:
        """port: how the edge reaches the board: lines of its [[port]], {path}: the board's serial port."""
        self.folder = folder
        self.speed = speed
        self._kind = port
        self.started_ms = round(time.time() * 1000)
        self.board = VirtualBoard(
            folder / "board", releases.role, speed=speed, manual=manual, started_ms=self.started_ms
        )
        settings = {**config, "update_keys": [releases.public]}
        self.board.provision(DEVICE, LINK, EVENT, 1, settings)
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.token_file = folder / "control"
        self._role = {"patrol_tag": "tag"}.get(releases.role, releases.role)
        self._process: asyncio.subprocess.Process | None = None
        self._write()

    def _write(self) -> None:
        (self.folder / "edge.toml").write_text(
            f'[edge]\nsite = "s1"\nid = "e1"\ndata_dir = "data"\n[devices]\nfile = "devices.toml"\n'
            f'[status]\nlisten = "127.0.0.1:{self._port}"\ncontrol_token_file = "control"\n'
            f'[[port]]\n{self._kind.format(path=self.board.port)}\nname = "A"\nreconnect_max_ms = 50\n'
            f"[rehearsal]\nepoch_ms = {EPOCH_MS}\nstarted_ms = {self.started_ms}\nspeed = {self.speed}\n"
        )
        device = f'id = {DEVICE}\nname = "T"\nrole = "{self._role}"\nlink_key = "{LINK.hex()}"\nepoch = 1\n'
        for name, text in (("control", TOKEN + "\n"), ("devices.toml", f"[[device]]\n{device}")):
            path = self.folder / name
            path.write_text(text)
            path.chmod(0o600)

    async def start(self) -> None:
        await self.board.start()
        await self.start_edge()

    async def start_edge(self) -> None:
        paths = os.pathsep.join(str(ROOT / part) for part in ("", "protocol"))
        with (self.folder / "edge.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tools.cli", "edge", "run", "--config", str(self.folder / "edge.toml"),
                stderr=log, cwd=ROOT, env={**os.environ, "PYTHONPATH": paths},
            )  # fmt: skip

    async def kill_edge(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            await self.kill_edge()
        await self.board.stop()

    async def status(self) -> dict[str, Any]:
        """The edge's status; {} while it does not answer."""
        try:
            async with aiohttp.ClientSession() as http, http.get(f"{self.url}/status") as answer:
                return dict(await answer.json())
        except aiohttp.ClientError:
            return {}

    async def device(self) -> dict[str, Any]:
        """The device in the edge's status; {} while the edge does not answer."""
        found = await self.status()
        return dict(found["devices"][0]) if found else {}

    async def until(
        self, condition: Callable[[dict[str, Any]], Any], deadline_s: float = 60.0
    ) -> dict[str, Any]:
        """The device once the condition holds of it. Raises AssertionError with the last status."""
        found: dict[str, Any] = {}
        try:
            async with asyncio.timeout(deadline_s):
                while True:
                    found = await self.device()
                    if found and condition(found):
                        return found
                    await asyncio.sleep(0.02)
        except TimeoutError:
            console = bytes(self.board.console[-1500:]).decode(errors="replace")
            raise AssertionError(f"{json.dumps(found, ensure_ascii=False)}\n{console}") from None

    async def update(self, release: Path) -> None:
        """`gatepost edge update`."""
        given = ["--device", str(DEVICE), "--release", str(release), "--token-file", str(self.token_file)]
        assert await asyncio.to_thread(cli.main, ["edge", "update", *given, "--url", self.url]) == 0

    async def over(self, release: Path, deadline_s: float = 60.0) -> dict[str, Any]:
        """Gives the device this release and waits for its end -> the status's `update`."""
        await self.update(release)
        found = await self.until(lambda device: device["update"]["state"] != "sending", deadline_s)
        return dict(found["update"])

    def slots(self) -> list[Any]:
        """Every slot of the journal in the flash, oldest first."""
        return list(open_image(self.board.journal_image()).scan())

    def visits(self) -> list[bytes]:
        """UIDs of all visits in the journal, in order."""
        stored = [events.decode(slot.payload) for slot in self.slots()]
        return [event[1] for event in stored if event[0] == events.VISIT]
