"""Part `ingest`: framed bytes on 16 links to durable, acknowledged rows, beside what SQLite alone commits."""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple, cast

import apsw
import cbor2

from edge_agent.daemon import Agent
from gatelink import cose, framing
from tools.bench import frames, links
from tools.bench.rows import Row, at_least, at_most, peak_rss_mib

LINKS = 16
RAW_GROUP = 256
RAW_EVENTS = 200_000
DEVICE_WINDOW = 16  # what our own firmware, short of memory, makes of an agent's window


class Case(NamedTuple):
    """Frames of `size` events, `events` in all, so many frames under way; least: of what SQLite takes alone."""

    size: int
    events: int
    window: int
    least: float | None

    @property
    def name(self) -> str:
        """As in the rows."""
        return f"{self.size} a frame" + (f", {self.window} under way" if self.window != links.WINDOW else "")


CASES = (
    Case(20, 640_000, links.WINDOW, 0.75),
    Case(1, 96_000, links.WINDOW, 0.5),
    Case(1, 96_000, DEVICE_WINDOW, None),
)
# The store stands where the project stands: /tmp may be memory, and an fsync there proves nothing.
SCRATCH = Path("build")


def raw_sqlite(folder: Path) -> float:
    """Events/s that SQLite alone commits: FULL, WAL, a unique key, a row an event, groups of 256."""
    connection = apsw.Connection(str(folder / "raw.sqlite"))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    connection.execute(
        "CREATE TABLE event (device INTEGER, boot INTEGER, seq INTEGER, time_ms INTEGER, payload BLOB,"
        " UNIQUE (device, boot, seq))"
    )
    payload = bytes(12)
    rows = [(100 + n % LINKS, 3, n // LINKS, 1_775_000_000_000 + n * 10, payload) for n in range(RAW_EVENTS)]
    start = time.perf_counter()
    for at in range(0, RAW_EVENTS, RAW_GROUP):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO event VALUES (?,?,?,?,?)", rows[at : at + RAW_GROUP])
        connection.execute("COMMIT")
    taken_s = time.perf_counter() - start
    connection.close()
    return RAW_EVENTS / taken_s


class Taken(NamedTuple):
    """Until every event is durable and acknowledged: seconds, CPU seconds, those of the writer's thread among them."""

    wall_s: float
    cpu_s: float
    writer_s: float


async def agent_takes(folder: Path, scripts: list[links.Script], window: int = links.WINDOW) -> Taken:
    """An agent and its devices in this process."""
    agent = links.open_agent(links.write_site(folder, LINKS))
    await agent.start()
    ports = [links.BenchPort(script, agent, window) for script in scripts]
    start, cpu = time.perf_counter(), time.process_time()
    for port in ports:
        await port.start()
    await asyncio.gather(*(port.finished.wait() for port in ports))
    writer = next(thread for thread in threading.enumerate() if thread.name.startswith("writer"))
    assert writer.ident is not None
    writer_s = time.clock_gettime(time.pthread_getcpuclockid(writer.ident))
    taken = Taken(time.perf_counter() - start, time.process_time() - cpu, writer_s)
    await agent.stop()
    refused = sum(agent.rejects.total.values())
    if refused:
        raise RuntimeError(f"the agent refused {refused} of the bench's frames")
    return taken


async def _devices_alone_s(scripts: list[links.Script], window: int) -> float:
    """CPU seconds of the bench's devices themselves: frames as before, into nothing that acknowledges them at once."""
    nobody = SimpleNamespace(
        switchboard=SimpleNamespace(
            frames=None,
            refused=None,
            sessions={script.device: SimpleNamespace(acked_seq=0) for script in scripts},
        )
    )
    ports = [_Unheard(script, cast(Agent, nobody), window) for script in scripts]
    start = time.process_time()
    for port in ports:
        port.resume()
    await asyncio.gather(*(port.finished.wait() for port in ports))
    return time.process_time() - start


class _Unheard(links.BenchPort):
    """A link whose bytes nobody looks at."""

    def _take(self, data: bytes) -> None:  # noqa: ARG002 - see above
        self._session.acked_seq = self._last_seqs[self._sent - 1]
        asyncio.get_running_loop().call_soon(self.send, None, b"")


def _codec_alone_s(scripts: list[links.Script]) -> float:
    """CPU seconds of COBS, decryption and cbor2 for the same bytes, and nothing else."""
    keys = {script.device: cose.derive(frames.LINK_KEY, script.device, 0) for script in scripts}
    start = time.process_time()
    for script in scripts:
        decoder = framing.Decoder()
        for _, data in script.frames:
            for frame in decoder.feed(data):
                message = cbor2.loads(cose.open_(keys[script.device], cose.UP, frame)[1])
                cbor2.loads(b"\x9f" + message[4] + b"\xff")
    return time.process_time() - start


def run() -> list[Row]:
    """Throughput and CPU for frames of 20 events and of one; raw SQLite before and after, the better one counts."""
    SCRATCH.mkdir(exist_ok=True)
    rows: list[Row] = []
    for case in CASES:
        size, count, name = case.size, case.events, case.name
        scripts = [links.Script(links.FIRST_DEVICE + n, count // LINKS, size) for n in range(LINKS)]
        with tempfile.TemporaryDirectory(dir=SCRATCH) as scratch:
            folder = Path(scratch)
            (folder / "a").mkdir()
            (folder / "b").mkdir()
            before = raw_sqlite(folder / "a")
            taken = asyncio.run(agent_takes(folder, scripts, case.window))
            raw = max(before, raw_sqlite(folder / "b"))
            # The database with its WAL; not the ballast, which is there at any size.
            stored = sum(file.stat().st_size for file in (folder / "data").glob("edge.sqlite*"))
        alone_s = _codec_alone_s(scripts)
        devices_s = asyncio.run(_devices_alone_s(scripts, case.window))
        frame_us = 1e6 / (count / size)
        loop_s = taken.cpu_s - taken.writer_s - devices_s
        relative = (f"agent / SQLite alone, {name}", count / taken.wall_s / raw, "x")
        rows += [
            Row("ingest", f"SQLite alone, groups of {RAW_GROUP}", raw, "events/s"),
            Row("ingest", f"agent, {LINKS} links, {name}", count / taken.wall_s, "events/s"),
            Row("ingest", *relative) if case.least is None else at_least("ingest", *relative, case.least),
            Row("ingest", f"CPU: decrypt + COBS + cbor2 alone, {name}", alone_s * frame_us, "us/frame"),
            Row("ingest", f"CPU: agent, event loop, {name}", loop_s * frame_us, "us/frame"),
            Row(
                "ingest",
                f"CPU: agent, writer with SQLite and fsync, {name}",
                taken.writer_s * frame_us,
                "us/frame",
            ),
            Row(
                "ingest",
                f"CPU: the bench's own devices, not counted, {name}",
                devices_s * frame_us,
                "us/frame",
            ),
            at_most(
                "ingest",
                f"agent's CPU / decrypt + COBS + cbor2, {name}",
                (taken.cpu_s - devices_s) / alone_s,
                "x",
                2.0,
            ),
            at_most("ingest", f"disk, {name}", stored / count, "bytes/event", 100),
        ]
    rows.append(Row("ingest", "peak RSS, bench devices included", peak_rss_mib(), "MiB"))
    return rows
