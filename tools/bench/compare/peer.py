"""What a system under comparison must do, and its processes: started, measured, killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from tools.bench.compare.script import Event

START_S = 60.0


class Peer(Protocol):
    """One system: a site that takes events, an office that gets them over a line that the bench owns."""

    name: str
    settings: str  # how it was made durable, for the reader of the table
    disk: str  # the folder in its own that the site writes to
    wrap: list[str]  # what stands before the site's command lines
    senders: tuple[int, ...]  # the devices that there are
    acked: dict[Event, float]  # when the site's acknowledgement was there, CLOCK_REALTIME

    async def start_office(self) -> int:
        """Starts the office's side; the port that the line leads to."""

    async def start_site(self, line_port: int) -> None:
        """Starts the site's side (again, after kill_site)."""

    def feed(self, event: Event) -> None:
        """An event happens; what stands for the device keeps it until the site has acknowledged it."""

    def unacknowledged(self) -> int:
        """Events that the device still holds."""

    async def received(self) -> list[Event]:
        """What a reader at the office gets, in the order in which it gets it."""

    def site_processes(self) -> list[Process]:
        """What SIGKILL meets, and whose memory and writes are counted."""

    async def stop(self) -> None:
        """Ends everything."""


class Use(NamedTuple):
    """peak_kib: the highest resident set; written: bytes that reached the block layer."""

    peak_kib: int
    written: int


class Process:
    """A child with its log; its use survives its death if it is sampled before."""

    def __init__(self, command: list[str], log: Path, cwd: Path, env: dict[str, str] | None = None) -> None:
        self._log = log
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=cwd,
                env={**os.environ, **(env or {})}, start_new_session=True,
            )  # fmt: skip
        self.use = Use(0, 0)

    def sample(self) -> None:
        """Reads what the kernel counts of it."""
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{self._child.pid}/status").read_text()
            peak = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)
            io = dict(line.split(": ") for line in Path(f"/proc/{self._child.pid}/io").read_text().splitlines())
            self.use = Use(max(peak, self.use.peak_kib), max(int(io["write_bytes"]), self.use.written))

    async def kill(self) -> None:
        """SIGKILL."""
        self.sample()
        self._child.send_signal(signal.SIGKILL)
        await asyncio.to_thread(self._child.wait)

    async def end(self) -> None:
        """SIGTERM, and SIGKILL after 10 s."""
        self.sample()
        if self._child.poll() is None:
            self._child.terminate()
            try:
                await asyncio.to_thread(self._child.wait, 10)
            except subprocess.TimeoutExpired:
                await self.kill()

    async def answers(self, port: int) -> None:
        """Returns when it takes connections on a port of this machine. Raises RuntimeError."""
        deadline = time.monotonic() + START_S
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                if self._child.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(self._silent()) from None
                await asyncio.sleep(0.05)  # asks again, until the deadline above
            else:
                writer.close()
                if self._child.poll() is not None:
                    raise RuntimeError(self._silent())  # somebody else has the port
                return

    def _silent(self) -> str:
        tail = self._log.read_text(errors="replace")[-2_000:]
        return f"{self._child.args!r:.80} does not answer:\n{tail}"


async def end_all(
    tasks: Sequence[asyncio.Task[None]], closing: Iterable[Awaitable[object]], processes: Iterable[Process | None]
) -> None:
    """Ends what a system has: what it does meanwhile, then its connections, then its processes."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for each in closing:
        await each
    for process in processes:
        if process is not None:
            await process.end()
