"""Layer: the real edge agent and the real office as child processes: started, watched, killed and ended."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import secrets
import signal
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path

from tools.simulate.errors import NightError

START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 20.0
_ANSWER_S = 5.0
_PR_SET_PDEATHSIG = 1
_MAX_ANSWER = 16 * 1024 * 1024


def end_with_parent() -> None:
    """In the child: SIGTERM when the conductor is gone, however it went; a stray agent would keep the ports locked."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


_given: set[int] = set()


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port of this machine that nobody has, and nobody gets by chance; SOCK_DGRAM: of UDP.

    Below what the system gives to outgoing connections, and each only once: what starts side by side must not find
    its port taken.
    """
    while True:
        port = 10_240 + secrets.randbelow(22_528)
        if port in _given:
            continue
        _given.add(port)
        with socket.socket(type=kind) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=_ANSWER_S) as answer:  # noqa: S310 - our own processes
        return bytes(answer.read(_MAX_ANSWER))


async def fetch_json(url: str) -> object:
    """The JSON at an address of our own processes; None while it does not answer."""
    try:
        return json.loads(await asyncio.to_thread(_get, url))
    except (urllib.error.URLError, ConnectionError, TimeoutError, ValueError):
        return None


class Child:
    """One of `gatepost`'s long-running commands in a process of its own; its log is a file."""

    def __init__(self, name: str, arguments: list[str], log: Path, answers_at: str) -> None:
        self.name = name
        self._arguments = arguments
        self._log = log
        self._answers_at = answers_at
        self._process: asyncio.subprocess.Process | None = None

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Starts it and waits until it answers. Raises NightError when it ends or stays silent."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tools.cli",
                *self._arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                # a Ctrl-C at the terminal is the conductor's to handle
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        deadline = asyncio.get_running_loop().time() + START_DEADLINE_S
        while asyncio.get_running_loop().time() < deadline:
            if self._process.returncode is not None:
                raise NightError(
                    f"{self.name} ended with code {self._process.returncode}: {self._last_words()}"
                )
            if await self._answering():
                return
            await asyncio.sleep(0.05)
        raise NightError(
            f"{self.name} did not answer within {START_DEADLINE_S:.0f} s; its log is {self._log}"
        )

    async def _answering(self) -> bool:
        try:
            await asyncio.to_thread(_get, self._answers_at)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        return True

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "it said nothing"

    def errors(self) -> list[str]:
        """What the log calls an error, each in one short line."""
        found = []
        for line in self._log.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("Traceback"):
                found.append(f"{self.name}: a traceback, see {self._log.name}")
            elif '"level": "error"' in line:
                entry = json.loads(line)
                cause = str(entry.get("traceback") or entry.get("error") or "").strip().splitlines()[-1:]
                found.append(f"{self.name}: {' '.join([str(entry.get('event'))[:60], *cause])[:200]}")
        return found

    async def kill(self) -> bool:
        """SIGKILL, at once; True if that is what ended it."""
        if self._process is None or self._process.returncode is not None:
            return False
        self._process.send_signal(signal.SIGKILL)
        return await self._process.wait() == -signal.SIGKILL

    async def stop(self) -> int | None:
        """SIGTERM and the exit code; None if it had to be killed or was not running."""
        if self._process is None or self._process.returncode is not None:
            return None
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            return await asyncio.wait_for(self._process.wait(), STOP_DEADLINE_S)
        except TimeoutError:
            await self.kill()
            return None
