"""Layer: starts agents and offices quickly: a process that has imported everything forks one whenever it is asked.

A child runs the command line's own main() in a process of its own; only the 0.5 s of imports are saved.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import mmap
import os
import select
import signal
import sys
import time
import traceback
from collections import deque
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[3]
READY_S = 60.0

Record = tuple[str, int, int]  # the recorder's log, how many of 1,000 syncs fail, seed


class Child:
    """One process. `ended`: its exit code, or minus the number of the signal that ended it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Sends a signal; nothing if it is gone already."""
        if not self.ended.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def end(self, deadline_s: float = 20.0) -> int:
        """SIGTERM; the exit code."""
        self.kill(signal.SIGTERM)
        async with asyncio.timeout(deadline_s):
            return await asyncio.shield(self.ended)


class Nursery:
    """The test's side."""

    def __init__(self) -> None:
        self._children: dict[int, Child] = {}
        # One for each order, answered in their order: of a queue a second lane could take the first one's child.
        self._born: deque[asyncio.Future[Child]] = deque()

    async def __aenter__(self) -> Nursery:
        path = os.pathsep.join([str(ROOT), str(ROOT / "protocol")])
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "edge_agent.tests.faults.nursery",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            cwd=ROOT, env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        ready = self._next_born()
        self._listening = asyncio.create_task(self._listen())
        async with asyncio.timeout(READY_S):
            await ready
        return self

    async def __aexit__(self, *_: object) -> None:
        for child in self._children.values():
            child.kill()
        assert self._process.stdin is not None
        self._process.stdin.close()
        async with asyncio.timeout(READY_S):
            await self._process.wait()
            await self._listening

    async def start(
        self,
        config: Path,
        log: Path,
        *,
        what: str = "edge",
        held: bool = False,
        record: Record | None = None,
        clock: Path | None = None,
    ) -> Child:
        """Forks `gatepost <what> run`. Held: stops itself before its first step until SIGCONT. record: see recorder.

        clock: a file of 8 bytes, signed, by how many ms this child's wall clock is off at the moment.
        """
        assert self._process.stdin is not None
        order = {
            "what": what, "config": str(config), "log": str(log), "held": held, "record": record,
            "clock": str(clock) if clock else None,
        }  # fmt: skip
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        born = self._next_born()
        async with asyncio.timeout(READY_S):
            child = await born
            while held and _state(child.pid) != "T":  # noqa: ASYNC110 - it stops in another process
                await asyncio.sleep(0.001)
        return child

    def _next_born(self) -> asyncio.Future[Child]:
        self._born.append(asyncio.get_running_loop().create_future())
        return self._born[-1]

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            said = json.loads(line)
            if "code" in said:
                self._children.pop(said["pid"]).ended.set_result(said["code"])
            else:
                child = Child(said["pid"])
                if child.pid:  # 0: the nursery itself is ready
                    self._children[child.pid] = child
                self._born.popleft().set_result(child)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _set_clock(path: str) -> None:
    """This process's wall clock follows the file."""
    right = time.time_ns
    with open(path, "rb") as file:  # noqa: PTH123 - mmap wants the handle
        off = mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)
    time.time_ns = lambda: right() + int.from_bytes(off[:8], "little", signed=True) * 1_000_000


def _child(order: dict[str, Any]) -> int:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    out = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.closerange(3, 64)
    from tools import cli

    if order["record"] is not None:
        from edge_agent.tests.faults import recorder

        recorder.install(*order["record"])
    if order["clock"] is not None:
        _set_clock(order["clock"])
    if order["held"]:
        os.kill(os.getpid(), signal.SIGSTOP)
    return cli.main([order["what"], "run", "--config", order["config"]])


def _tell(out: IO[str], **said: int) -> None:
    out.write(json.dumps(said) + "\n")
    out.flush()


def _serve() -> None:
    """Orders come as lines on stdin; ends when that ends. One thread only, so that forking is safe."""
    import edge_agent.daemon
    import tools.office.server

    assert edge_agent.daemon  # what the children need is here before they are born
    assert tools.office.server
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    living: set[int] = set()
    rest = b""
    _tell(sys.stdout, pid=0)
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            while living:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                living.discard(pid)
                _tell(sys.stdout, pid=pid, code=os.waitstatus_to_exitcode(status))
        if 0 in ready:
            data = os.read(0, 65_536)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                pid = os.fork()
                if not pid:
                    code = 70
                    try:
                        code = _child(json.loads(line))
                    except SystemExit as end:
                        code = end.code if isinstance(end.code, int) else 1
                    finally:
                        if (error := sys.exception()) is not None:
                            traceback.print_exception(error)
                            code = 1
                        sys.stderr.flush()
                        os._exit(code)
                living.add(pid)
                _tell(sys.stdout, pid=pid)
    for pid in living:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    _serve()
