"""What an office noted as it came: still there and named by verify; taken out of the notes, that is named, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cbor2
import pytest

from edge_agent.integrity.leaves import Leaves
from gatelink import events
from tools.office import config as office_config
from tools.office.batch import decode
from tools.office.chain import Chain
from tools.office.config import Config
from tools.office.head import decode as head
from tools.office.store.sqlite import SqliteStore
from tools.office.tests.makers import T0, Device, Log, Row, Signed
from tools.office.tests.process import configure
from tools.verify import office
from tools.verify.faults import Report
from tools.verify.office import Wanted
from tools.verify.tests.scene import named


class Filled:
    """An office with one device's rows from one edge, filled through its store."""

    def __init__(self, folder: Path) -> None:
        self.device = Device(101)
        self.device.work(1_000)
        self.config: Config = office_config.load(configure(folder, [self.device]))
        self.store = SqliteStore(self.config.data_dir)
        self.log = Log()

    def send(self, rows: list[Row], *, signed: bool = True) -> None:
        key = self.store.site_key("lakeside")
        value = {"v": 1, "site": "lakeside", "edge": "pi-1", "lane": "normal", "rows": rows, "devices": {}}
        self.store.take(decode(cbor2.dumps(value), "lakeside", key), T0)
        if signed:
            self.sign()
        while self.store.check(key, 101, Chain(self.device.key), T0, 2_000):
            pass

    def sign(self, **other: int) -> None:
        self.store.take_head(self.store.site_key("lakeside"), head(self.log.head(**other), "lakeside"), T0)
        while self.store.check_heads(T0, 2_000):
            pass

    def check(self) -> Report:
        return office.check(self.config, Wanted())


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Filled]:
    made = Filled(tmp_path)
    made.send(made.log.add(made.device.rows(1, 200)))
    assert made.check().faults == []
    yield made
    made.store.close()


def forked(filled: Filled) -> None:
    filled.log.leaves[4] = bytes(32)
    filled.send(filled.log.add(filled.device.rows(201, 300)))


def shrunken(filled: Filled) -> None:
    filled.log.leaves, filled.log.pos, filled.log.number = filled.log.leaves[:5], 5, 0
    filled.send(filled.log.add(filled.device.rows(201, 240)))


def restarted(filled: Filled) -> None:
    filled.log.leaves, filled.log.pos = [], 10_000_000
    filled.send(filled.log.add(filled.device.rows(201, 300)), signed=False)
    filled.sign(first_pos=10_000_001)


@pytest.mark.parametrize(
    ("happens", "codes"),
    [
        (forked, {"head_forked", "row_unlike"}),
        (shrunken, {"head_shrunken", "row_again"}),
        (restarted, {"head_restarted"}),
    ],
)
def test_contradictions_stay_named(
    filled: Filled, happens: Callable[[Filled], None], codes: set[str]
) -> None:
    happens(filled)
    assert named(filled.check()) - {"head_dropped"} == codes
    filled.send(filled.log.add(filled.device.rows(301, 400)), signed=happens is not restarted)
    if happens is restarted:
        filled.sign(first_pos=10_000_001)
    assert named(filled.check()) - {"head_dropped"} == codes  # what follows is proven by itself
    filled.store._write.execute("DELETE FROM log_finding")
    assert named(filled.check()) - {"head_dropped"} == codes | {"finding_dropped"}


def test_a_position_that_the_edge_says_is_empty(filled: Filled) -> None:
    rows = filled.log.add(filled.device.rows(201, 300))
    filled.log.leaves[12] = Leaves("lakeside", "pi-1").gap(13)
    filled.send([row for row in rows if row[0] != 13])
    found = filled.check()
    assert [(one.code, one.pos) for one in found.faults] == [("row_gap", 13)]
    assert "missing 241..260" in found.text("en")


def test_an_event_that_came_with_two_contents(filled: Filled) -> None:
    stored = filled.device.journal[249]
    filled.send(filled.log.add(filled.device.rows(201, 300)))
    filled.device.journal[249] = Signed(
        stored.seq, stored.boot, stored.uptime_cs, events.encode(events.HEARTBEAT, 1), stored.mac8
    )
    filled.send(filled.log.add([filled.device.row(246, 260, mac8=None)]))
    found = filled.check()
    assert [(one.code, one.first) for one in found.faults] == [("conflict", 250)]
    filled.store._write.execute("DELETE FROM conflict")
    assert named(filled.check()) == {"row_changed"}


def test_rows_that_came_twice_with_other_times(filled: Filled) -> None:
    """As after a restore: sent again, with other times said; the first word stays, and all of it fits."""
    again = filled.device.row(150, 190, t_lo_ms=T0 + 7, t_hi_ms=T0 + 9_000_000_000, received_ms=T0 + 10**10)
    filled.send(filled.log.add([again, filled.device.row(195, 220)]))
    assert filled.check().faults == []
    filled.store._write.execute("UPDATE event SET received_ms = ? WHERE seq = 160", (T0 + 10**10,))
    assert named(filled.check()) == {"event_times_changed"}


def test_events_from_before_rows_were_kept(filled: Filled) -> None:
    """Only the chain speaks for them, and that is said."""
    db = filled.store._write
    db.execute("INSERT INTO before_log VALUES (1, 101, 1, 200)")
    db.execute("DELETE FROM log_row")
    db.execute("DELETE FROM log_head")
    db.execute("DELETE FROM edge_log")
    found = filled.check()
    assert found.faults == []
    assert "200 events are from before rows were kept" in found.text("en")
    db.execute("UPDATE event SET uptime_cs = uptime_cs + 1 WHERE seq = 77")
    assert [(one.code, one.first, one.last) for one in filled.check().faults] == [("chain_misfit", 61, 80)]
