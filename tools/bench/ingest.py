"""Part `ingest`: framed bytes on 16 links to durable, acknowledged rows, beside what SQLite alone commits."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path

import apsw
import cbor2

from gatelink import cose, framing
from tools.bench import frames, links
from tools.bench.rows import Row, at_least, at_most, peak_rss_mib

LINKS = 16
RAW_GROUP = 256
RAW_EVENTS = 200_000
# (events a frame, events in all, least fraction of raw SQLite)
CASES = ((20, 640_000, 0.75), (1, 96_000, 0.5))
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


async def _agent(folder: Path, scripts: list[links.Script]) -> tuple[float, float]:
    """(seconds, CPU seconds) until every event is durable and acknowledged."""
    agent = links.open_agent(links.write_site(folder, LINKS))
    await agent.start()
    ports = [links.BenchPort(script, agent) for script in scripts]
    start, cpu = time.perf_counter(), time.process_time()
    for port in ports:
        await port.start()
    await asyncio.gather(*(port.finished.wait() for port in ports))
    taken = time.perf_counter() - start, time.process_time() - cpu
    await agent.stop()
    refused = sum(agent.rejects.total.values())
    if refused:
        raise RuntimeError(f"the agent refused {refused} of the bench's frames")
    return taken


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
    for size, count, least in CASES:
        scripts = [links.Script(links.FIRST_DEVICE + n, count // LINKS, size) for n in range(LINKS)]
        with tempfile.TemporaryDirectory(dir=SCRATCH) as name:
            folder = Path(name)
            (folder / "a").mkdir()
            (folder / "b").mkdir()
            before = raw_sqlite(folder / "a")
            taken_s, cpu_s = asyncio.run(_agent(folder, scripts))
            raw = max(before, raw_sqlite(folder / "b"))
            stored = sum(entry.stat().st_size for entry in os.scandir(folder / "data"))
        alone_s = _codec_alone_s(scripts)
        name = f"{size} a frame"
        rows += [
            Row("ingest", f"SQLite alone, groups of {RAW_GROUP}", raw, "events/s"),
            Row("ingest", f"agent, {LINKS} links, {name}", count / taken_s, "events/s"),
            at_least("ingest", f"agent / SQLite alone, {name}", count / taken_s / raw, "x", least),
            at_most("ingest", f"agent's CPU / decrypt + COBS + cbor2, {name}", cpu_s / alone_s, "x", 2.0),
            at_most("ingest", f"disk, {name}", stored / count, "bytes/event", 100),
        ]
    rows.append(Row("ingest", "peak RSS, bench devices included", peak_rss_mib(), "MiB"))
    return rows
