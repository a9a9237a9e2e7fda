"""Part `drain`: a backlog into the real office process, beside what the office's SQLite takes alone, and a slow link.

The rows are as an agent stores them: runs of 20 visits, or single visits, each with its chain value; all of them
different. thingsboard-gateway's sqlite storage is fetched on demand (PyPI, build/peers), or skipped loudly.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import logging
import os
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from itertools import islice
from pathlib import Path
from typing import Any

from edge_agent import config as configuration
from edge_agent import logs, own_events
from edge_agent.clock import Clock
from edge_agent.daemon import Agent
from edge_agent.planning import Plan
from edge_agent.store import devices, events, outbox
from edge_agent.store.database import Database, transaction
from edge_agent.store.devices import Ledger
from edge_agent.store.events import Row as LogRow
from edge_agent.sync import wire
from edge_agent.tests.proxy import Proxy
from gatelink import events as wire_events
from gatelink import kdf
from tools.bench import frames, fresh, links, office, packages, sample
from tools.bench.rows import Row, at_least, at_most
from tools.office.batch import decode
from tools.office.store.sqlite import SqliteStore

PART = "drain"
MODULE = "tools.bench.drain"
SCRATCH = Path("build")
SITE = office.SITE
DEVICES = 16
FULL = os.environ.get("GATEPOST_BENCH_FULL") == "1"
COUNTS = {20: 5_000_000 if FULL else 400_000, 1: 100_000}  # events in runs of so many
RTT_S = 0.05
SMALL = 100  # rows in an upload, where one upload under way is compared with many
RTT_EVENTS = 100_000
TINY = 20  # rows in an upload, where the office is surely not what it waits for
ROWS_A_COMMIT = 20_000
LIVE_S = 0.25  # between live events
PEER_EVENTS = 100_000
SYNCHRONOUS_FULL = 2
DEADLINE_S = 900.0


def rows(count: int, size: int, shape: str = "patrol") -> list[LogRow]:
    """`count` events of DEVICES devices in runs of `size`, as they lie in an agent's log after an outage."""
    found: list[LogRow] = []
    each = count // DEVICES
    for device in range(DEVICES):
        samples = getattr(sample, shape)(each, sample.SEED + device)
        mac8 = bytes(8)
        base = 1_790_000_000_000 + device * 977
        for start in range(0, each, size):
            run = samples[start : start + size]
            for seq, one in enumerate(run, start + 1):
                mac8 = kdf.mac8(frames.EVENT_KEY, mac8, wire_events.record(seq, 2, one.uptime_cs, one.payload))
            at_ms = base + run[0].uptime_cs * 10
            noise = (run[0].uptime_cs * 7919) % 40
            received = base + run[-1].uptime_cs * 10 + 90 + noise * 8
            items = wire_events.join([one.uptime_cs for one in run], [one.payload for one in run])
            found.append(
                LogRow(
                    0, links.FIRST_DEVICE + device, 2, start + 1, start + len(run), run[0].uptime_cs,
                    at_ms - 60 - noise % 9, at_ms + 60 + noise % 7, received, 1, 0, None, items, mac8,
                )
            )  # fmt: skip
    found.sort(key=lambda row: row.received_ms)
    return [row._replace(pos=pos) for pos, row in enumerate(found, 1)]


def fill(folder: Path, backlog: list[LogRow]) -> None:
    """A store with these rows, by the store's own functions."""
    folder.mkdir(mode=0o700)
    database = Database(folder)
    upto: dict[int, int] = {}
    waiting = iter(backlog)
    while group := list(islice(waiting, ROWS_A_COMMIT)):
        with transaction(database.writer):
            events.append(database.writer, group)
            outbox.appended(database.writer, "normal", sum(row.last_seq - row.first_seq + 1 for row in group))
        upto.update((row.device, row.last_seq) for row in group)
    ledgers = []
    for device, seq in upto.items():
        ledger = Ledger(device, 0)
        ledger.coverage.upto, ledger.piv_high, ledger.last_boot = seq, 2 << 16, 2
        ledgers.append(ledger)
    with transaction(database.writer):
        devices.save(database.writer, ledgers)
    database.close()


def _site(folder: Path, port: int, token: str, more: str) -> Path:
    where = f'url = "http://127.0.0.1:{port}"\ntoken = "{token}"\n'
    return links.write_site(folder, DEVICES, f"[office]\n{where}head_pause_s = 86400\n{more}")


class _Live:
    """Events that happen while the backlog is drained: how long each took to be receipted."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._open: dict[int, float] = {}
        self.took_s: list[float] = []
        self._at = 0.0
        committed = agent.ingest.on_commit

        def seen(plan: Plan) -> None:
            for row in plan.rows:
                self._open.setdefault(int(str(row[0])), self._at)
            committed(plan)

        agent.ingest.on_commit = seen

    def happen(self) -> None:
        """One more."""
        self._at = time.perf_counter()
        self._agent.record(own_events.own(own_events.QUEUE, 1))

    def look(self) -> None:
        """Which of them are at the office by now."""
        assert self._agent.uploader is not None
        covered = self._agent.uploader.lanes["normal"].spans.covered
        for pos in [pos for pos in self._open if not covered.missing(pos, pos)]:
            self.took_s.append(time.perf_counter() - self._open.pop(pos))


async def _drain(
    folder: Path, port: int, token: str, count: int, more: str, delay_s: float
) -> dict[str, float]:
    proxy = None
    if delay_s:
        proxy = Proxy(port, delay_s=delay_s)
        await proxy.start()
        port = proxy.port
    agent = Agent(configuration.load(_site(folder, port, token, more)), Clock())
    began_s = time.perf_counter()
    await agent.start()
    uploader = agent.uploader
    assert uploader is not None
    lane = uploader.lanes["normal"]
    live = _Live(agent)
    next_s = began_s
    while lane.delivered < count:
        now_s = time.perf_counter()
        if now_s > next_s:
            next_s = now_s + LIVE_S
            live.happen()
        live.look()
        if now_s - began_s > DEADLINE_S:
            raise RuntimeError(f"not drained within {DEADLINE_S:g} s: {lane.error or lane.delivered}")
        await asyncio.sleep(0.005)
    took_s = time.perf_counter() - began_s
    found = {
        "took_s": took_s, "bytes": uploader.client.bytes_receipted, "uploads": uploader.uploads,
        "live_s": statistics.median(live.took_s) if live.took_s else 0.0, "live_most_s": max(live.took_s, default=0.0),
        "delivered": lane.delivered,
    }  # fmt: skip
    await agent.stop()
    if proxy is not None:
        await proxy.stop()
    return found


def drain(folder: str, port: int, token: str, count: int, more: str, delay_s: float) -> dict[str, float]:
    """One agent, started on a store with a backlog; in a process of its own."""
    logs.configure("error", lambda: time.time_ns() // 1_000_000)
    return asyncio.run(_drain(Path(folder), port, token, count, more, delay_s))


def alone(folder: str, size: int, count: int) -> float:
    """Events/s of SqliteStore.take() with batches as large as an agent's, decoded before; in a process of its own."""
    backlog = rows(count, size)
    store = SqliteStore(Path(folder))
    key = store.site_key(SITE)
    step = min(262_144 // (len(backlog[0].items) + outbox.ROW_COST), 4_000)
    took_s = 0.0
    for at in range(0, len(backlog), step):
        batch = decode(wire.encode(SITE, "bench", "normal", backlog[at : at + step], {}, wire.COLUMNS), SITE, key)
        began_s = time.perf_counter()
        store.take(batch, 1)
        took_s += time.perf_counter() - began_s
    store.close()
    return count / took_s


def storage(folder: str, size: int, count: int) -> float:
    """Events/s of our outbox alone, read and marked as delivered, each in a commit with FULL; in its own process."""
    fill(Path(folder), rows(count, size))
    database = Database(Path(folder))
    reader = database.reader()
    began_s = time.perf_counter()
    first, left = 1, True
    while left:
        part = outbox.read(reader, "normal", first, outbox.LAST_POS, 4_000, 262_144)
        with transaction(database.writer):
            outbox.delivered(database.writer, "normal", part.first, part.through, part.events, {})
        first, left = part.through + 1, part.full
    took_s = time.perf_counter() - began_s
    database.close()
    return count / took_s


def thingsboard(folder: str, place: str, count: int) -> float:
    """Events/s that thingsboard-gateway's SQLiteEventStorage gives out and deletes, FULL; in a process of its own."""
    sys.path.insert(0, place)
    logger: Any = logging.getLogger("storage")
    logger.trace = lambda *_: None
    logger.setLevel(logging.ERROR)
    module = importlib.import_module("thingsboard_gateway.storage.sqlite.sqlite_event_storage")
    settings = {"data_file_path": f"{folder}/", "max_read_records_count": 1_000, "writing_batch_size": 1_000}
    store = module.SQLiteEventStorage(settings, logger, threading.Event())
    database = store._SQLiteEventStorage__read_database
    deadline_s = time.monotonic() + 120
    while database.db.connection.execute("PRAGMA synchronous").fetchone()[0] != SYNCHRONOUS_FULL:
        if time.monotonic() > deadline_s:
            raise RuntimeError("thingsboard-gateway's storage can't be set to FULL")
        with contextlib.suppress(sqlite3.OperationalError):  # its own thread is in a transaction
            database.db.connection.execute("PRAGMA synchronous = FULL")
    for one in sample.patrol(count):
        uid = one.fields[0]
        assert isinstance(uid, bytes)
        point = {"ts": 1_790_000_000_000 + one.uptime_cs * 10, "values": {"seq": one.seq, "uid": uid.hex()}}
        store.put(json.dumps({"deviceName": str(one.device), "deviceType": "tag", "telemetry": [point]}))
    deadline_s = time.monotonic() + 120
    while database.get_stored_messages_count() < count:
        if time.monotonic() > deadline_s:
            raise RuntimeError("thingsboard-gateway's storage did not take the events")
        time.sleep(0.05)  # asks again, until the deadline above
    database.can_prepare_new_batch()
    given = 0
    began_s = time.perf_counter()
    while given < count:
        pack = store.get_event_pack()
        given += len(pack)
        store.event_pack_processing_done()
        if time.perf_counter() - began_s > DEADLINE_S:
            raise RuntimeError("thingsboard-gateway's storage gave out too little")
    took_s = time.perf_counter() - began_s
    store.stop()
    return count / took_s


def _drained(size: int, count: int, more: str = "", delay_s: float = 0.0, *, keys: bool = False) -> dict[str, float]:
    """A backlog of `count` events, an office, an agent: each new, the two in processes of their own."""
    known = {links.FIRST_DEVICE + n: frames.EVENT_KEY for n in range(DEVICES)} if keys else None
    with tempfile.TemporaryDirectory(dir=SCRATCH) as name:
        folder = Path(name).resolve()
        (folder / "site").mkdir()
        fill(folder / "site" / "data", rows(count, size))
        with office.running(folder / "office", known) as server:
            found: dict[str, float] = fresh.call(
                MODULE, "drain", str(folder / "site"), *server, count, more, delay_s, timeout_s=DEADLINE_S + 60
            )
    return found | {"rate": count / found["took_s"]}


def _packed(shape: str, size: int) -> float:
    """Bytes an event of one full upload, compressed."""
    backlog = rows(16_000, size, shape)[: 262_144 // (12 * size + outbox.ROW_COST)]
    body = wire.compress(wire.encode(SITE, "bench", "normal", backlog, {}, wire.COLUMNS))
    return len(body) / sum(row.last_seq - row.first_seq + 1 for row in backlog)


def run() -> list[Row]:
    """Rates end to end, beside SQLite alone, one upload under way and a peer's storage; all on the same disk."""
    SCRATCH.mkdir(exist_ok=True)
    found: list[Row] = []
    rates: dict[int, float] = {}
    for size, count in COUNTS.items():
        what = f"runs of {size}" if size > 1 else "single events"
        with tempfile.TemporaryDirectory(dir=SCRATCH) as name:
            base = fresh.call(MODULE, "alone", name, size, min(count, 400_000))
        done = _drained(size, count)
        rates[size] = done["rate"]
        found += [
            Row(PART, f"SqliteStore.take alone, {what}", base, "events/s"),
            Row(PART, f"{count:,} events to the office, {what}", done["rate"], "events/s"),
            at_least(PART, f"drain / take alone, {what}", done["rate"] / base, "x", 0.4),
            at_most(PART, f"uploaded, {what} with a chain value each", done["bytes"] / count, "bytes/event", 24),
            at_most(PART, f"live event in the drain, longest, {what}", done["live_most_s"], "s", 2),
            Row(PART, f"live event in the drain, median, {what}", done["live_s"], "s"),
            Row(PART, f"barrier, one upload, {what}", _packed("barrier", size), "bytes/event"),
        ]
    done = _drained(20, COUNTS[20] if not FULL else 400_000, keys=True)
    found.append(Row(PART, "to an office that proves the chains as well, runs of 20", done["rate"], "events/s"))
    one, tiny = (
        _drained(1, RTT_EVENTS * n // 2_000, f"batch_rows = {n}\nin_flight = 1\n", RTT_S / 2) for n in (SMALL, TINY)
    )
    many = _drained(1, RTT_EVENTS // 4, f"batch_rows = {TINY}\n", RTT_S / 2)
    grown = _drained(1, RTT_EVENTS, "", RTT_S / 2)
    far = f"{RTT_S * 1000:.0f} ms round trip"
    found += [
        Row(PART, f"{far}, one upload of {SMALL} single events under way", one["rate"], "events/s"),
        at_least(PART, f"{far}, up to 16 / one under way, {TINY} events each", many["rate"] / tiny["rate"], "x", 10),
        at_least(PART, f"{far}, as it comes / one of {SMALL} under way", grown["rate"] / one["rate"], "x", 10),
        Row(PART, f"{far}, as it comes", grown["rate"], "events/s"),
    ]
    try:
        place = packages.python_packages("thingsboard", "thingsboard-gateway", "setuptools<81")
    except packages.MissingError as error:
        print(f"bench: SKIPPED: {error}", file=sys.stderr, flush=True)
        return found
    with tempfile.TemporaryDirectory(dir=SCRATCH) as name:
        peer = fresh.call(MODULE, "thingsboard", str(Path(name).resolve()), str(place), PEER_EVENTS)
    what = "thingsboard-gateway's sqlite storage (WAL, FULL, packs of 1,000), read and delete"
    found.append(Row(PART, what, peer, "events/s"))
    found += [at_least(PART, f"runs of {size}, to the office / that", rates[size] / peer, "x", 4) for size in rates]
    for size in COUNTS:
        with tempfile.TemporaryDirectory(dir=SCRATCH) as name:
            own = fresh.call(MODULE, "storage", str(Path(name) / "data"), size, PEER_EVENTS)
        found.append(at_least(PART, f"our outbox alone, runs of {size} / that", own / peer, "x", 4))
    return found
