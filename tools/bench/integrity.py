"""Part `integrity`: what the tree over the log costs at edge and office, and how fast `gatepost verify` is."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import apsw
import cbor2

from edge_agent import identity
from edge_agent.integrity import keeper as keeping
from edge_agent.integrity import statement, tree
from edge_agent.integrity.leaves import Head, Leaves, signed_bytes
from edge_agent.store import tree as trees
from edge_agent.store.database import Database, transaction
from edge_agent.store.events import Row as LogRow
from edge_agent.store.events import append
from gatelink import cose, events
from tools.bench.rows import Row, at_most
from tools.bench.sample import Sample, barrier
from tools.office.batch import decode
from tools.office.chain import Chain
from tools.office.config import Config, Name, Site
from tools.office.head import decode as decode_head
from tools.office.store.logs import Rows
from tools.office.store.sqlite import SqliteStore
from tools.verify import office
from tools.verify.office import Wanted

EVENTS = 1_000_000 if os.environ.get("GATEPOST_BENCH_FULL") else 100_000
BATCH_ROWS = 500
SITE, EDGE, KEY = "bench", "pi", bytes(range(32))


def run() -> list[Row]:
    """Rows of 20 events, as devices send them, and of one."""
    rows: list[Row] = []
    for size in (20, 1):
        rows += _sized(size)
    return rows


@contextmanager
def _timed(spent: dict[str, float], name: str) -> Iterator[None]:
    begin = time.process_time()
    yield
    spent[name] = spent.get(name, 0.0) + time.process_time() - begin


def _nothing(*_: object, **__: object) -> None:
    """In place of what is left out."""


def _rows(size: int) -> list[LogRow]:
    """Rows of one barrier with `size` events each, with their chain values."""
    chain = bytes(8)
    found: list[LogRow] = []
    run: list[Sample] = []
    for index, one in enumerate(barrier(EVENTS)):
        seq = index + 1
        run.append(one)
        chain = cose.mac8(KEY, chain, events.record(seq, one.boot, one.uptime_cs, one.payload))
        if len(run) < size:
            continue
        items = events.join([each.uptime_cs for each in run], [each.payload for each in run])
        at = 1_760_000_000_000 + run[0].uptime_cs * 10
        first = seq - size + 1
        found.append(
            LogRow(
                len(found) + 1, one.device, one.boot, first, seq, run[0].uptime_cs, at, at + 40, at + 5_000, 1, 0, None,
                items, chain,
            )
        )  # fmt: skip
        run = []
    return found


def _sized(size: int) -> list[Row]:
    found = _rows(size)
    name = f"{size} events a row" if size > 1 else "1 event a row"
    spent: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        heads, grown = _edge(Path(folder) / "edge", found, spent)
        without: dict[str, float] = {}
        with mock.patch.object(Rows, "add", _nothing), mock.patch.object(Rows, "store", _nothing):
            bare = _office(Path(folder) / "bare", found, [], without)
        full = _office(Path(folder) / "office", found, heads, spent)
        begin = time.perf_counter()
        report = office.check(_config(Path(folder) / "office"), Wanted())
        took_s = time.perf_counter() - begin
        assert report.exit_code == 0, report.text("en")
        assert report.events == EVENTS
    rows = len(found)
    return [
        Row("integrity", f"{name}: edge, reading and hashing", spent["hash"] / rows * 1e6, "us/row"),
        Row("integrity", f"{name}: edge, in the writer", spent["write"] / rows * 1e6, "us/row"),
        Row("integrity", f"{name}: edge, both", (spent["hash"] + spent["write"]) / EVENTS * 1e6, "us/event"),
        at_most("integrity", f"{name}: edge, stored for the tree", grown / rows, "bytes/row", 42),
        Row("integrity", f"{name}: edge, stored for the tree", grown / EVENTS, "bytes/event"),
        Row("integrity", f"{name}: a head signed, proven, encoded", spent["head"] / len(heads) * 1e6, "us"),
        Row("integrity", f"{name}: a head on the wire", sum(map(len, heads)) / len(heads), "bytes"),
        Row("integrity", f"{name}: office, rows kept besides events", (full - bare) / rows, "bytes/row"),
        Row("integrity", f"{name}: office, rows kept besides events", (full - bare) / EVENTS, "bytes/event"),
        Row("integrity", f"{name}: office, intake", spent["take"] / EVENTS * 1e6, "us/event"),
        Row(
            "integrity", f"{name}: office, intake, rows not kept", without["take"] / EVENTS * 1e6, "us/event"
        ),
        Row(
            "integrity", f"{name}: office, heads compared with rows", spent["compare"] / rows * 1e6, "us/row"
        ),
        Row("integrity", f"{name}: verify of all", EVENTS / took_s, "events/s"),
    ]


def _edge(folder: Path, found: list[LogRow], spent: dict[str, float]) -> tuple[list[bytes], int]:
    """The keeper's steps; bodies of heads, one after every 4,096 rows; the bytes that the tree takes."""
    database = Database(folder)
    mine = identity.load_or_make(folder)
    db = database.writer
    with transaction(db):
        append(db, found)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = _pages(db)
    leaves = Leaves(SITE, EDGE)
    bodies: list[bytes] = []
    signed = 0
    state = trees.state(db)
    while state.last_pos < len(found):
        with _timed(spent, "hash"):
            rows = trees.rows(db, state.last_pos, len(found), keeping.STEP_ROWS)
            nodes: list[tuple[int, int, bytes]] = []
            grown = trees.State(state.first_pos, state.frontier.copy())
            for row in rows:
                grown.frontier.append(leaves.hash(row[:9] + row[10:]), nodes, trees.STORED_LEVELS)
        with _timed(spent, "write"), transaction(db):
            trees.extend(db, state, grown, nodes)
        state = grown
        if state.size - signed >= 4_096 or state.last_pos == len(found):
            with _timed(spent, "head"):
                bodies.append(_head(db, mine, state, signed, len(bodies) + 1))
            signed = state.size
    size = _pages(db) - before
    database.close()
    return bodies, size


def _head(
    db: apsw.Connection, mine: identity.Identity, state: trees.State, before: int, number: int
) -> bytes:
    def node(level: int, index: int) -> bytes:
        return trees.node(db, level, index)

    head = Head(
        SITE, EDGE, number, state.first_pos, state.size, state.frontier.root(), 1_760_000_000_000 + number
    )
    proof = tree.consistency_proof(before, state.size, node)
    signature = mine.sign(signed_bytes(head))
    return statement.encode(head, mine.public, signature, state.frontier.to_bytes(), before, proof)


def _pages(db: apsw.Connection) -> int:
    return int(db.pragma("page_count")) * int(db.pragma("page_size"))


def _office(folder: Path, found: list[LogRow], heads: list[bytes], spent: dict[str, float]) -> int:
    """All of it taken, and the heads; the size of the database before they came."""
    store = SqliteStore(folder)
    key = store.site_key(SITE)
    for at in range(0, len(found), BATCH_ROWS):
        value = {
            "v": 1, "site": SITE, "edge": EDGE, "lane": "normal",
            "rows": [row[:9] + row[10:] for row in found[at : at + BATCH_ROWS]], "devices": {},
        }  # fmt: skip
        batch = decode(cbor2.dumps(value), SITE, key)
        with _timed(spent, "take"):
            store.take(batch, 1_760_000_000_000)
    store._write.execute("VACUUM")
    size = _pages(store._write)
    for body in heads:
        store.take_head(key, decode_head(body, SITE), 1_760_000_000_000)
    with _timed(spent, "compare"):
        while store.check_heads(0, 2_000):
            pass
    while heads and store.check(key, found[0].device, Chain(KEY), 0, 100_000):
        pass
    store.close()
    return size


def _config(folder: Path) -> Config:
    site = Site(SITE, Name(SITE, SITE), None)
    device = barrier(1)[0].device
    return Config(
        ("127.0.0.1", 0), folder, 480, None, None, {SITE: site}, {(SITE, device): KEY}, {}, {}, "info", None
    )  # fmt: skip
