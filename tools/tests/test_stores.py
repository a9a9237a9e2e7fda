"""The comparison over real database files: a damaged copy is told from the sound one."""

from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

import edge_agent.store
import tools.office.store
from gatelink import events
from tools.device_code import JournalEvent
from tools.simulate import report, stores
from tools.simulate.errors import NightError
from tools.simulate.report import DeviceReport

EVENT = "site, device, seq, boot, kind, uptime_cs, t_lo_ms, t_hi_ms, received_ms, payload"
ADD_EVENT = f"INSERT INTO event ({EVENT}) VALUES (?,?,?,?,?,?,?,?,?,?)"
SITE, DEVICE = "riverside", 101
PAYLOADS = [
    events.encode(events.BOOT, 1, "tag-0.1.0"),
    *(events.encode(events.HEARTBEAT, 4000 + n) for n in range(9)),
]
FLASH = [JournalEvent(seq, 1, 100 * seq, payload, bytes(8)) for seq, payload in enumerate(PAYLOADS, 1)]


def schema(package: object) -> str:
    folder = Path(str(getattr(package, "__file__", ""))).parent
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("schema_v*.sql")))


@pytest.fixture
def office(tmp_path: Path) -> Path:
    path = tmp_path / "office.db"
    db = apsw.Connection(str(path))
    db.execute(schema(tools.office.store))
    db.execute("INSERT INTO site (key, id) VALUES (1, ?)", (SITE,))
    db.execute("INSERT INTO device (site, device, checked_to) VALUES (1, ?, 10)", (DEVICE,))
    for event in FLASH:
        place = (1, DEVICE, event.seq, event.boot, event.payload[1], event.uptime_cs)
        times = (event.seq * 1000, event.seq * 1000 + 20, event.seq * 1000 + 500)
        db.execute(ADD_EVENT, (*place, *times, event.payload))
    db.close()
    return path


@pytest.fixture
def edge(tmp_path: Path) -> Path:
    path = tmp_path / "edge.sqlite"
    db = apsw.Connection(str(path))
    db.execute(schema(edge_agent.store))
    for pos, first, last in ((1, 1, 4), (2, 5, 10), (3, 11, 10)):
        row = (pos, DEVICE, 1, first, last, first * 100, 0, 0, 0, 0, 0, None, b"", None)
        db.execute("INSERT INTO log VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)", row)
    db.close()
    return path


def judged(edge: Path, office: Path) -> DeviceReport:
    return report.compare(
        DEVICE,
        "tag",
        FLASH,
        stores.edge_runs(edge, DEVICE),
        stores.office_rows(office, SITE, DEVICE),
        stores.office_chain(office, SITE, DEVICE),
    )


def test_sound_stores(edge: Path, office: Path) -> None:
    found = judged(edge, office)
    assert (found.minted, found.edge, found.office, found.proved) == (10, 10, 10, 10)
    assert found.good
    assert stores.office_counts(office, SITE) == {DEVICE: 10}


TWICE = EVENT.replace("boot", "2")
DAMAGE: list[tuple[str, str, Callable[[DeviceReport], int]]] = [
    ("office", "DELETE FROM event WHERE seq = 4", lambda found: found.missing),
    ("office", "DELETE FROM event WHERE seq = 10", lambda found: found.missing),
    (
        "office",
        f"INSERT INTO event ({EVENT}) SELECT {TWICE} FROM event WHERE seq = 6",
        lambda found: found.duplicated,
    ),
    ("office", "UPDATE event SET uptime_cs = 50 WHERE seq = 5", lambda found: found.out_of_order),
    ("office", "UPDATE event SET t_lo_ms = 1, t_hi_ms = 2 WHERE seq = 5", lambda found: found.out_of_order),
    ("office", "UPDATE event SET payload = x'820005' WHERE seq = 5", lambda found: found.altered),
    ("office", "UPDATE event SET seq = 99 WHERE seq = 5", lambda found: found.invented),
    ("office", "INSERT INTO finding VALUES (1, 101, 3, 4, 0, 0)", lambda found: found.chain_faults),
    ("edge", "UPDATE log SET first_seq = 4 WHERE pos = 2", lambda found: found.duplicated),
    ("edge", "UPDATE log SET last_seq = 12 WHERE pos = 2", lambda found: found.invented),
]


@pytest.mark.parametrize(("where", "sql", "column"), DAMAGE, ids=[sql[:45] for _, sql, _ in DAMAGE])
def test_a_damaged_copy(
    edge: Path, office: Path, where: str, sql: str, column: Callable[[DeviceReport], int]
) -> None:
    db = apsw.Connection(str(edge if where == "edge" else office))
    db.execute(sql)
    db.close()
    found = judged(edge, office)
    assert column(found) > 0
    assert not found.good


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NightError, match="can't be read"):
        stores.edge_runs(tmp_path / "nowhere.sqlite", DEVICE)
