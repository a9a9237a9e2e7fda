"""A whole agent without threads, ports and waiting: frames in, commits at once, frames out; killed at any commit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from edge_agent import config as configuration
from edge_agent.clock import Clock
from edge_agent.daemon import Agent
from edge_agent.entries import Entry
from edge_agent.link import Session
from edge_agent.outside import Outside
from edge_agent.planning import Plan
from edge_agent.store.events import Row
from edge_agent.writer import ENTRIES, Work

BEFORE, AFTER = "before", "after"


class KilledError(Exception):
    """The process ended here."""


class Line:
    """A port that keeps what is sent."""

    name = "line"
    kind = "udp"
    where = "nowhere"
    up = True
    frames_in = frames_out = dropped_out = losses = 0
    jammed = False

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    async def start(self) -> None:
        """Nothing to do."""

    async def stop(self) -> None:
        """Nothing to do."""

    def send(self, address: object, frame: bytes, /, *, urgent: bool = False) -> None:
        self.sent.append(frame)

    def silent(self, device: int) -> bool:
        return False

    def describe(self) -> dict[str, object]:
        return {}

    def pause(self) -> None:
        """Never full: every frame is committed at once."""

    def resume(self) -> None:
        """Never full."""


class HandWriter:
    """Commits at step(), in the caller's thread."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def start(self, work: Work) -> asyncio.Future[None]:
        self._work = work
        next(work)
        return asyncio.get_running_loop().create_future()

    def put(self, entries: list[Entry] | None) -> None:
        self.entries += entries or []

    def step(self) -> None:
        """One group of what was put."""
        entries, self.entries = self.entries, []
        wait = self._work.send(entries)
        while wait.what != ENTRIES:
            wait = self._work.send([])

    def call(self, function: Callable[..., None], *arguments: object) -> None:
        function(*arguments)

    def abandon(self) -> None:
        """Never waits."""

    def close(self) -> None:
        """Nothing to end."""


class ByHand(Outside):
    def __init__(self, writer: HandWriter) -> None:
        super().__init__()
        self._writer = writer

    def writer(self) -> HandWriter:
        return self._writer


class Pump:
    """devices: number -> (link key, epoch). Needs a running loop. `now_ms` is steady; wall clock: `set_ms` off it."""

    def __init__(self, folder: Path, devices: dict[int, tuple[bytes, int]], more: str = "") -> None:
        self.folder = folder
        self.now_ms, self.set_ms, self.synced = 1_700_000_000_000, 0, True
        self.line = Line()
        self.commits = 0
        self.kill: tuple[int, str] = (0, BEFORE)
        self.kills = 0
        (folder / "edge.toml").write_text(
            '[edge]\nsite = "s1"\nid = "e1"\ndata_dir = "data"\n[devices]\nfile = "devices.toml"\n' + more
        )
        self.write_devices(devices)
        self.agent = self._start()

    def write_devices(self, devices: dict[int, tuple[bytes, int]], *, revoked: bool = False) -> None:
        keys = self.folder / "devices.toml"
        keys.write_text(
            "".join(
                f'[[device]]\nid = {number}\nrole = "tag"\nlink_key = "{key.hex()}"\nepoch = {epoch}\n'
                + ("revoked = true\n" if revoked else "")
                for number, (key, epoch) in devices.items()
            )
        )
        keys.chmod(0o600)

    def _start(self) -> Agent:
        config = configuration.load(self.folder / "edge.toml")
        self.writer = HandWriter()
        agent = Agent(
            config,
            Clock(
                wall=lambda: self.now_ms + self.set_ms, steady=lambda: self.now_ms, synced=lambda: self.synced
            ),
            ByHand(self.writer),
        )
        agent.ingest.start()
        apply = agent.ingest._apply

        def counted(plan: Plan) -> None:
            self.commits += 1
            due = self.commits == self.kill[0]
            if due and self.kill[1] == BEFORE:
                raise KilledError
            apply(plan)
            if due:
                raise KilledError

        agent.ingest._apply = counted  # type: ignore[method-assign]
        return agent

    def kill_at(self, commit: int, when: str) -> None:
        """The commit-th commit from now on ends the process, before or after it is durable."""
        self.commits, self.kill = 0, (commit, when)

    def session(self, device: int) -> Session:
        return self.agent.switchboard.sessions[device]

    def restart(self) -> None:
        """As after SIGKILL: only the store is left."""
        self.agent.database.close()
        self.agent = self._start()

    def flush(self) -> None:
        """Commits what waits, also what the answers to commits bring; a due kill restarts the agent."""
        try:
            while self.agent.ingest.hand_over() or self.writer.entries:
                self.writer.step()
        except KilledError:
            self.kills += 1
            self.restart()
            self.flush()

    def take(self, *frames: bytes) -> list[bytes]:
        """Frames from the line -> the answers."""
        self.line.sent = []
        self.agent.switchboard.frames(self.line, None, list(frames))
        self.flush()
        return self.line.sent

    def rows(self) -> list[Row]:
        return [Row(*row) for row in self.agent.database.writer.execute("SELECT * FROM log ORDER BY pos")]

    def dump(self) -> list[tuple[str, list[tuple[object, ...]]]]:
        """Everything that the store holds."""
        connection: apsw.Connection = self.agent.database.writer
        tables = [
            str(name)
            for (name,) in connection.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1"
            )
        ]
        return [(name, list(connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2"))) for name in tables]

    def close(self) -> None:
        self.agent.database.close()


@contextmanager
def pump(folder: Path, devices: dict[int, tuple[bytes, int]], more: str = "") -> Iterator[Pump]:
    """A pump that is closed at the end."""
    made = Pump(folder, devices, more)
    try:
        yield made
    finally:
        made.close()
