"""Part `latency`: from a frame that is due to its durable ack, at steady rates; on this disk and on a slow one."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import deque
from pathlib import Path

import apsw

from edge_agent.daemon import Agent
from edge_agent.transports.port import Address
from tools.bench import fresh, links, slow_disk
from tools.bench.rows import Row, at_least, at_most

LINKS = 16
SECONDS = 4
RATES = (50, 200, 500, 2_000)
BATCH, BURST = 20, 160_000  # events of the throughput measure on the slow disk
ALONE = 150  # commits of one event each
SCRATCH = Path("build")


class TimedPort(links.BenchPort):
    """A link that sends a frame when told and notes how long after its due time the ack came."""

    def __init__(self, script: links.Script, agent: Agent) -> None:
        super().__init__(script, agent)
        self._due: deque[tuple[int, float]] = deque()
        self.taken_s: list[float] = []

    def push(self, due_s: float) -> None:
        """Hands the next frame to the agent; due_s: when that should have been, by time.perf_counter()."""
        self._due.append((self._last_seqs[self._sent], due_s))
        self._sent += 1
        self._take(self._lines[self._sent - 1])

    def send(self, _address: Address, _frame: bytes, /, *, urgent: bool = False) -> None:  # noqa: ARG002
        """The agent answers."""
        now_s = time.perf_counter()
        acked = self._session.acked_seq
        while self._due and self._due[0][0] <= acked:
            self.taken_s.append(now_s - self._due.popleft()[1])
        if acked >= self._script.last_seq:
            self.finished.set()


async def _paced(folder: Path, rate: int) -> list[float]:
    """Seconds from due to acknowledged, sorted, for single-event frames spread evenly over time and links."""
    count = rate * SECONDS // LINKS
    scripts = [links.Script(links.FIRST_DEVICE + n, count, 1) for n in range(LINKS)]
    agent = links.open_agent(links.write_site(folder, LINKS))
    await agent.start()
    ports = [TimedPort(script, agent) for script in scripts]
    for port in ports:
        await port.start()
    await asyncio.sleep(0.3)  # the hellos are behind them
    start_s = time.perf_counter()
    for number in range(count * LINKS):
        due_s = start_s + number / rate
        left_s = due_s - time.perf_counter()
        if left_s > 0:
            await asyncio.sleep(left_s)
        ports[number % LINKS].push(due_s)
    await asyncio.gather(*(port.finished.wait() for port in ports))
    await agent.stop()
    return sorted(taken for port in ports for taken in port.taken_s)


async def _burst(folder: Path) -> float:
    """Events/s with full windows on all links."""
    scripts = [links.Script(links.FIRST_DEVICE + n, BURST // LINKS, BATCH) for n in range(LINKS)]
    agent = links.open_agent(links.write_site(folder, LINKS))
    await agent.start()
    ports = [links.BenchPort(script, agent) for script in scripts]
    start_s = time.perf_counter()
    for port in ports:
        await port.start()
    await asyncio.gather(*(port.finished.wait() for port in ports))
    taken_s = time.perf_counter() - start_s
    await agent.stop()
    return BURST / taken_s


def _one_by_one(folder: Path) -> float:
    """Events/s when each is a commit of its own: SQLite alone, FULL, WAL."""
    connection = apsw.Connection(str(folder / "alone.sqlite"))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    connection.execute("CREATE TABLE event (device INTEGER, seq INTEGER, payload BLOB, UNIQUE (device, seq))")
    start_s = time.perf_counter()
    for number in range(ALONE):
        connection.execute("INSERT INTO event VALUES (1, ?, ?)", (number, bytes(12)))
    taken_s = time.perf_counter() - start_s
    connection.close()
    return ALONE / taken_s


def paced(rate: int, slow: bool) -> tuple[float, float]:
    """(median, 99th percentile) in ms."""
    disk = slow_disk.SlowDisk() if slow else None
    with tempfile.TemporaryDirectory(dir=SCRATCH) as name:
        taken = asyncio.run(_paced(Path(name), rate))
    del disk
    return taken[len(taken) // 2] * 1000, taken[len(taken) * 99 // 100] * 1000


def slow_burst() -> tuple[float, float]:
    """(agent, one commit an event) in events/s on the slow disk."""
    disk = slow_disk.SlowDisk()
    with tempfile.TemporaryDirectory(dir=SCRATCH) as name:
        alone = _one_by_one(Path(name))
        agent = asyncio.run(_burst(Path(name)))
    del disk
    return agent, alone


def run() -> list[Row]:
    """Ack times at four rates on both disks, and throughput against a commit for each event on the slow one."""
    SCRATCH.mkdir(exist_ok=True)
    rows: list[Row] = []
    sync_ms = slow_disk.SYNC_S * 1000
    agent, alone = fresh.call("tools.bench.latency", "slow_burst")
    rows += [
        Row(
            "latency",
            f"slow disk (+{sync_ms:g} ms a sync), a commit an event, SQLite alone",
            alone,
            "events/s",
        ),
        Row("latency", f"slow disk, agent, {LINKS} links, {BATCH} a frame", agent, "events/s"),
        at_least("latency", "slow disk, agent / a commit an event", agent / alone, "x", 300),
    ]
    for rate in RATES:
        median, late = fresh.call("tools.bench.latency", "paced", rate, True)  # noqa: FBT003 - slow
        rows.append(Row("latency", f"slow disk, {rate:,} events/s, ack p50", median, "ms"))
        rows.append(at_most("latency", f"slow disk, {rate:,} events/s, ack p99", late, "ms", 10 * sync_ms))
    for rate in RATES:
        median, late = fresh.call("tools.bench.latency", "paced", rate, False)  # noqa: FBT003 - this disk
        name = f"this disk, {rate:,} events/s, ack p50"
        rows.append(
            at_most("latency", name, median, "ms", 2) if rate == 2_000 else Row("latency", name, median, "ms")
        )
        rows.append(Row("latency", f"this disk, {rate:,} events/s, ack p99", late, "ms"))
    return rows
