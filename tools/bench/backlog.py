"""Part `backlog`: an agent with millions of events that the office does not have yet, beside one with few."""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import tempfile
import time
import urllib.request
from pathlib import Path

from edge_agent import logs
from edge_agent.store import devices, events, outbox
from edge_agent.store.database import Database, transaction
from edge_agent.store.devices import Ledger
from gatelink import events as wire_events
from tools.bench import fresh, links, sample
from tools.bench.rows import Row, at_least, at_most

LINKS = 16
BATCH = 20
FEW = 100_000
MANY = 5_000_000 if os.environ.get("GATEPOST_BENCH_FULL") == "1" else 1_000_000
COUNT = 160_000  # events taken in on top, for the rate
ROUNDS = 3
ROWS_A_COMMIT = 20_000
BOOT = 2  # of the backlog; the bench's devices go on in later ones
SCRATCH = Path("build")
MODULE = "tools.bench.backlog"
# Nobody listens there: the uploader reads, tries and waits, as in an outage.
OFFICE = '[office]\nurl = "http://127.0.0.1:9"\ntoken = "bench-bench-bench"\n'


def fill(folder: Path, count: int) -> None:
    """A store with `count` events of 16 devices, by the store's own functions, in runs of 20 with a chain value."""
    folder.mkdir(mode=0o700)
    database = Database(folder)
    batch = sample.patrol(BATCH)
    items = wire_events.join([s.uptime_cs for s in batch], [s.payload for s in batch])
    now_ms = time.time_ns() // 1_000_000
    runs = count // BATCH
    for start in range(0, runs, ROWS_A_COMMIT):
        rows: list[tuple[object, ...]] = []
        for number in range(start, min(start + ROWS_A_COMMIT, runs)):
            first = number // LINKS * BATCH + 1
            rows.append(
                (
                    number + 1, links.FIRST_DEVICE + number % LINKS, BOOT, first, first + BATCH - 1, first * 1_000,
                    now_ms - 500, now_ms, now_ms, 1, 0, None, items, number.to_bytes(8, "big"),
                )
            )  # fmt: skip
        with transaction(database.writer):
            events.append(database.writer, rows)
            outbox.appended(database.writer, "normal", len(rows) * BATCH)
    ledgers = []
    for device in range(LINKS):
        ledger = Ledger(links.FIRST_DEVICE + device, 0)
        ledger.coverage.upto = len(range(device, runs, LINKS)) * BATCH
        ledger.piv_high, ledger.last_boot = BOOT << 16, BOOT
        ledgers.append(ledger)
    with transaction(database.writer):
        devices.save(database.writer, ledgers)
    database.close()


def _rss_kib() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError("/proc/self/status names no VmRSS")


async def _serve(folder: Path, count: int, boot: int) -> dict[str, float]:
    connection_path = folder / "data"
    first = [0] * LINKS
    if (connection_path / "edge.sqlite").exists():
        database = Database(connection_path)
        known = devices.load(database.writer)
        first = [known[links.FIRST_DEVICE + n].coverage.upto for n in range(LINKS)]
        database.close()
    scripts = [
        links.Script(links.FIRST_DEVICE + n, count // LINKS, BATCH, after_seq=first[n], boot=boot)
        for n in range(LINKS)
    ]
    config = links.write_site(folder, LINKS, OFFICE)
    start_s = time.perf_counter()
    agent = links.open_agent(config)
    await agent.start()
    started_s = time.perf_counter() - start_s
    ports = [links.BenchPort(script, agent) for script in scripts]
    start_s = time.perf_counter()
    for port in ports:
        await port.start()
    await asyncio.gather(*(port.finished.wait() for port in ports))
    taken_s = time.perf_counter() - start_s
    url = f"http://127.0.0.1:{agent.status.port}/status"
    start_s = time.perf_counter()
    body = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=30).read())
    status_s = time.perf_counter() - start_s
    await asyncio.sleep(1.0)  # the uploader has read its first rows
    rss_kib = _rss_kib()
    await agent.stop()
    return {
        "started_s": started_s, "rate": count / taken_s, "rss_kib": rss_kib, "status_s": status_s, "body": len(body),
    }  # fmt: skip


def serve(folder: str, count: int, boot: int) -> dict[str, float]:
    """Opens the store, takes events in, answers /status with an uploader that can't reach its office; figures."""
    logs.configure("error", lambda: time.time_ns() // 1_000_000)
    return asyncio.run(_serve(Path(folder), count, boot))


def run() -> list[Row]:
    """Start-up, memory and ingest rate, each in fresh processes that take turns; medians, for rates the best."""
    SCRATCH.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=SCRATCH) as name:
        sites = {count: Path(name) / str(count) for count in (0, FEW, MANY)}
        for count, folder in sites.items():
            folder.mkdir()
            if count:
                fill(folder / "data", count)
        stored = (sites[MANY] / "data" / "edge.sqlite").stat().st_size
        # Memory: the same small amount taken in on top of both.
        memory: dict[int, list[dict[str, float]]] = {FEW: [], MANY: []}
        rate: dict[int, list[float]] = {0: [], MANY: []}
        for turn in range(ROUNDS):
            for count, found in memory.items():
                found.append(
                    fresh.call(MODULE, "serve", str(sites[count]), LINKS * BATCH * 10, BOOT + 1 + 2 * turn)
                )
            for count, rates in rate.items():
                if not count:
                    shutil.rmtree(sites[0] / "data", ignore_errors=True)
                boot = BOOT + 2 + 2 * turn
                rates.append(fresh.call(MODULE, "serve", str(sites[count]), COUNT, boot)["rate"])
    few, many = (statistics.median(each["rss_kib"] for each in memory[count]) / 1024 for count in (FEW, MANY))
    start_s = max(each["started_s"] for each in memory[MANY])
    page_s = max(each["status_s"] for each in memory[MANY])
    return [
        at_most("backlog", f"start-up with {MANY:,} events", start_s, "s", 2),
        Row("backlog", f"/status with {MANY:,} events", page_s * 1000, "ms"),
        Row("backlog", f"RSS with {FEW:,} events, serving", few, "MiB"),
        at_most("backlog", f"RSS growth from {FEW:,} to {MANY:,} events", many - few, "MiB", 1),
        at_most("backlog", f"disk, runs of {BATCH}", stored / MANY, "bytes/event", 100),
        Row("backlog", "ingest into an empty store", max(rate[0]), "events/s"),
        at_least(
            "backlog", f"ingest with {MANY:,} events / empty", max(rate[MANY]) / max(rate[0]), "x", 0.85
        ),
    ]
