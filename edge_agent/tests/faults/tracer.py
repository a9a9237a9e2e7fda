"""Layer: strace on a running agent: counts its calls that write, kills it at one of them, or makes them fail."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

# What changes something outside of the process: files, folders, lines, sockets.
WRITES = (
    "write", "pwrite64", "writev", "pwritev", "pwritev2", "sendto", "sendmsg", "fsync", "fdatasync", "sync_file_range",
    "ftruncate", "truncate", "fallocate", "rename", "renameat", "renameat2", "unlink", "unlinkat", "link", "linkat",
    "mkdir", "mkdirat", "chmod", "fchmod", "fchmodat",
)  # fmt: skip
OPENS = ("open", "openat")  # may make a file
_CALL = re.compile(rb"^(\d+) +(\w+)\(", re.MULTILINE)
_ATTACH_S = 30.0
_INJECTED = b"(INJECTED)"

Call = tuple[int, str]  # which thread (0: the first, then by age), which call


@cache
def why_not() -> str:
    """Why strace can't be used here, "" if it can."""
    if shutil.which("strace") is None:
        return "strace is not installed (apt-get install strace)"
    with subprocess.Popen(["sleep", "60"]) as victim:
        try:
            tried = subprocess.run(
                ["timeout", "--signal=INT", "1", "strace", "-p", str(victim.pid)], capture_output=True, check=False
            )
        finally:
            victim.kill()
    if b"attached" not in tried.stderr:
        return f"this machine does not let strace attach: {tried.stderr.decode(errors='replace').strip()[:120]}"
    return ""


def needs_strace() -> None:
    """Skips the test, and says so, where strace can't be used."""
    if why_not():
        print(f"faults: SKIPPED, NOTHING WAS TRIED: {why_not()}")
        pytest.skip(f"fault injection NOT RUN: {why_not()}")  # the machine may forbid to attach


def threads(pid: int) -> list[int]:
    """The process's threads, oldest first."""
    return sorted((int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()), key=lambda tid: (tid != pid, tid))


class Tracer:
    """One strace. `out`: the file that it writes."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._process: asyncio.subprocess.Process | None = None

    async def attach(self, target: int, calls: Sequence[str], inject: str = "", *, all_threads: bool = False) -> None:
        """From now on; inject: `signal=KILL:when=3`, `error=EIO:when=1+` and the like, for all of `calls`."""
        arguments = ["strace", "-o", str(self.out), "-e", f"trace={','.join(calls)}", "-p", str(target)]
        if all_threads:
            arguments.insert(1, "-f")
        if inject:
            arguments += ["-e", f"inject={','.join(calls)}:{inject}"]
        self._process = await asyncio.create_subprocess_exec(*arguments, stderr=asyncio.subprocess.PIPE)
        assert self._process.stderr is not None
        try:
            async with asyncio.timeout(_ATTACH_S):
                said = await self._process.stderr.readline()
        except TimeoutError:
            raise AssertionError("strace did not attach in time") from None
        assert b"attached" in said, said

    async def detach(self) -> None:
        """The traced process goes on without faults."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                # not send_signal(): that takes the exit code away from whoever waits for it
                os.kill(self._process.pid, signal.SIGINT)
            async with asyncio.timeout(_ATTACH_S):
                await self._process.communicate()
            self._process = None

    def counts(self, tids: list[int]) -> Counter[Call]:
        """Calls of those threads of a trace of all; what younger ones did stands under -1."""
        found: Counter[Call] = Counter()
        for match in _CALL.finditer(self.out.read_bytes()):
            tid = int(match[1])
            found[tids.index(tid) if tid in tids else -1, match[2].decode()] += 1
        return found

    def injected(self) -> int:
        """How many calls were made to fail so far."""
        return self.out.read_bytes().count(_INJECTED)

    def killed(self) -> bool:
        """Whether strace has killed it, which may still be on its way out."""
        return b"= ?" in self.out.read_bytes()
