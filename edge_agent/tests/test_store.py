"""The store: old schemas, one owner, a full disk, a queue that fills, counters that never repeat."""

from __future__ import annotations

import os
import resource
import shutil
from pathlib import Path

import apsw
import pytest

from edge_agent.down_piv import BLOCK, FIRST, DownCounter
from edge_agent.entries import Job
from edge_agent.errors import ConfigError, StoreError
from edge_agent.store import devices, outbox, retention, wal
from edge_agent.store.database import Database, migrate, schema_steps, transaction
from edge_agent.tests.device import PtyWire, UdpWire, sync
from edge_agent.tests.harness import OWN, Process, Site, until
from gatelink import events

OLD = Path(__file__).parent / "databases"


def test_every_schema_has_its_fixture() -> None:
    assert [path.name for path in sorted(OLD.glob("*.sqlite"))] == [
        f"v{n + 1}.sqlite" for n in range(len(schema_steps()))
    ]


@pytest.mark.parametrize("version", range(1, len(schema_steps()) + 1))
def test_old_stores_migrate_and_keep_everything(tmp_path: Path, version: int) -> None:
    shutil.copy(OLD / f"v{version}.sqlite", tmp_path / "edge.sqlite")
    database = Database(tmp_path)
    assert database.found_version == version
    ledgers = devices.load(database.writer)
    assert (ledgers[7].coverage.upto, ledgers[7].coverage.islands) == (40, [(45, 45)])
    assert ledgers[7].piv_mask.bit_length() == 64
    assert devices.load_sessions(database.writer)[7].firmware == "sim 1"
    assert len(outbox.read(database.writer, "alarm", 1, outbox.LAST_POS, 9, 10**6).rows) == 1
    lanes = outbox.lanes(database.writer)
    assert lanes["normal"].appended - lanes["normal"].delivered == 21
    assert lanes["normal"].ahead == []
    rows = outbox.read(database.writer, "normal", lanes["normal"].cursor + 1, outbox.LAST_POS, 9, 10**6).rows
    assert sum(row.last_seq - row.first_seq + 1 for row in rows) == 21
    database.close()


def test_migration_runs_step_by_step_and_undoes_a_failed_step(tmp_path: Path) -> None:
    shutil.copy(OLD / "v1.sqlite", tmp_path / "a.sqlite")
    connection = apsw.Connection(str(tmp_path / "a.sqlite"))
    steps = [*schema_steps()[:1], "CREATE TABLE more (a INTEGER) STRICT; INSERT INTO more VALUES (1);"]
    with pytest.raises(apsw.SQLError):
        migrate(
            connection, [*steps, "CREATE TABLE third (a INTEGER) STRICT; INSERT INTO nothing VALUES (1);"]
        )
    assert connection.pragma("user_version") == 2
    assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'third'").get == 0
    assert migrate(connection, steps) == 2
    with pytest.raises(StoreError, match="newer program"):
        migrate(connection, steps[:1])


def test_what_is_no_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "edge.sqlite").write_bytes(b"something else entirely" * 100)
    with pytest.raises(StoreError, match="no SQLite file"):
        Database(tmp_path)


async def test_a_second_agent_on_one_store_refuses_and_names_the_first(tmp_path: Path) -> None:
    site = Site(tmp_path)
    first = Process(site)
    await first.start()
    await until(
        lambda: (tmp_path / "data" / "agent.lock").exists() and (tmp_path / "data" / "agent.lock").read_text()
    )
    with pytest.raises(StoreError, match=f"process {first.process.pid}"):
        Database(tmp_path / "data")
    second = Process(site)
    await second.start()
    assert await second.process.wait() == 1
    assert f"process {first.process.pid}" in second.log.read_text()
    assert await first.end() == 0


async def test_a_full_disk_stops_the_acks_and_loses_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path)
    device, wire = site.devices[0], await UdpWire.to(site.udp_port)
    async with site.agent() as agent:
        await sync(device, wire)
        limit: list[int] = []

        def fill(connection: apsw.Connection) -> None:
            limit.append(int(connection.pragma("page_count")))
            connection.pragma("max_page_count", limit[0])

        agent.ingest.submit(Job(fill, lambda: None))
        await until(lambda: limit)
        for _ in range(2_000):
            device.mint()
        for first in range(1, 2_000, 20):
            wire.send(device.batch(first, 20))
        await until(lambda: agent.ingest.stalled, what="the full disk was not noticed")
        acked = agent.switchboard.sessions[7].acked_seq
        assert acked < 2_000
        assert "full" in agent.ingest.stalled
        # Space is back. (A pragma holds for the connection; the writer is waiting between two tries.)
        agent.database.writer.pragma("max_page_count", 1_000_000)
        await until(lambda: not agent.ingest.stalled)
        await sync(device, wire)
    site.check(device)
    assert any(payload[1:3] == b"\x18\x4e" for _, _, payload in site.events(OWN).values())
    wire.close()


async def test_a_full_queue_pauses_the_ports_and_loses_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path, more="[commit]\nqueue_frames = 16\nmax_events = 4\n")
    pty, udp = PtyWire(site.link), await UdpWire.to(site.udp_port)
    async with site.agent() as agent:
        paused = []
        agent.ingest.on_full = lambda full=agent.ingest.on_full: paused.append(full())
        for device, wire in zip(site.devices, (pty, udp), strict=True):
            await sync(device, wire)
            for _ in range(300):
                device.mint()
        pty.send(site.devices[0].hello())
        for first in range(1, 200):
            pty.send(site.devices[0].batch(first, 1))
        for device, wire in zip(site.devices, (pty, udp), strict=True):
            await sync(device, wire, batch=1)
        assert paused
    for device, wire in zip(site.devices, (pty, udp), strict=True):
        site.check(device)
        wire.close()


def test_down_counters_never_repeat_across_restarts(tmp_path: Path) -> None:
    database = Database(tmp_path)
    used: list[int] = []
    for restart in range(4):
        with transaction(database.writer):
            counter = DownCounter.open(
                database.writer, 1_000_000 if restart != 2 else 5
            )  # once, the clock is wrong
        jobs: list[Job] = []
        counter.submit = jobs.append
        drawn = [counter.next() for _ in range(FIRST * 2)]
        assert drawn.index(None) == FIRST  # the disk did not grant more yet
        assert len(jobs) == 1
        used += [value for value in drawn if value is not None]
        if restart == 1:
            with transaction(database.writer):
                jobs[0].apply(database.writer)
            jobs[0].done()
            used += [value for value in (counter.next() for _ in range(BLOCK)) if value is not None]
    assert used == sorted(set(used))
    assert used[0] == 1_000_000 << 8
    database.close()


def test_a_start_takes_fewer_down_counters_than_time_brings(tmp_path: Path) -> None:
    """Started again every 10 s for a day: a store that is lost then is followed by one that begins above it."""
    database = Database(tmp_path)
    unix_s = 1_700_000_000
    for _ in range(8_640):
        DownCounter.open(database.writer, unix_s)
        unix_s += 10
    new = Database(tmp_path / "new")
    value = DownCounter.open(new.writer, unix_s).next()
    assert value is not None
    assert value > devices.meta(database.writer, devices.DOWN_PIV)
    database.close()
    new.close()


async def test_rotated_key_keeps_the_events_and_an_older_one_is_refused(tmp_path: Path) -> None:
    site = Site(tmp_path)
    device, wire = site.devices[0], PtyWire(site.link)
    device.mint()
    async with site.agent():
        await sync(device, wire)
    from gatelink import cose

    device.keys = cose.derive(bytes([7]) * 32, 7, 1)
    device.boot, device.down_high = 0, -1
    device.restart()
    device.mint()
    site.write()
    async with site.agent():
        await sync(device, wire)
    site.check(device)
    device.keys = cose.derive(bytes([7]) * 32, 7, 0)
    site.write()
    with pytest.raises(ConfigError, match="0 is older than 1"):
        async with site.agent():
            pass
    wire.close()


async def test_a_device_that_numbers_from_the_start_again_is_not_taken_for_a_duplicate(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path)
    device, wire = site.devices[0], PtyWire(site.link)
    for _ in range(30):
        device.mint()
    async with site.agent() as agent:
        await sync(device, wire)
        device.journal, device.acked, device.chain = {}, 0, bytes(8)
        device.restart()
        for _ in range(10):
            device.mint(events.BATTERY, 3_700, 0)
        await sync(device, wire)
        assert agent.switchboard.sessions[7].acked_seq == 10
    rows = [row for row in site.rows() if row.device == 7 and row.items]
    assert sum(row.last_seq - row.first_seq + 1 for row in rows) == 40
    assert any(payload[1:3] == b"\x18\x42" for _, _, payload in site.events(OWN).values())
    wire.close()


async def test_events_that_only_an_earlier_edge_had_do_not_block(tmp_path: Path) -> None:
    site = Site(tmp_path)
    device, wire = site.devices[0], PtyWire(site.link)
    for _ in range(30):
        device.mint()
    device.acked = 20
    async with site.agent() as agent:
        await sync(device, wire)
        assert agent.switchboard.sessions[7].acked_seq == 30
    assert sorted(site.events(7)) == list(range(21, 31))
    assert any(payload == b"\x84\x18\x4a\x07\x01\x14" for _, _, payload in site.events(OWN).values())
    wire.close()


async def test_a_writer_that_cannot_go_on_ends_the_agent_and_is_no_clean_stop(tmp_path: Path) -> None:
    site = Site(tmp_path)
    async with site.agent() as agent:
        writer = next(task for task in agent.tasks() if task in agent.ingest.tasks)
        await until(lambda: agent.ingest.commits)  # its start is on disk
        agent.ingest.submit(Job(lambda connection: connection.execute("NONSENSE") and None, lambda: None))
        await until(writer.done)
        assert isinstance(writer.exception(), apsw.SQLError)
    async with site.agent():
        pass
    starts = [payload[2] for _, _, payload in site.events(OWN).values() if payload[:2] == b"\x83\x01"]
    assert starts == [0, 1]


def test_what_a_killed_agent_left_in_the_wal_is_written_again_and_stays_the_same(tmp_path: Path) -> None:
    database = Database(tmp_path / "data")
    with transaction(database.writer):
        devices.set_meta(database.writer, "before the kill", 17)
    killed = tmp_path / "killed"
    killed.mkdir(mode=0o700)
    for name in ("edge.sqlite", "edge.sqlite-wal"):
        shutil.copyfile(tmp_path / "data" / name, killed / name)
        (killed / name).chmod(0o600)
    with (killed / "edge.sqlite-wal").open("ab") as file:
        file.write(bytes(5_000))  # frames of nobody
    left = (killed / "edge.sqlite-wal").read_bytes()
    connection = apsw.Connection(str(killed / "edge.sqlite"))
    assert wal.write_again(connection) == len(left) - 5_000
    assert (killed / "edge.sqlite-wal").read_bytes() == left
    assert devices.meta(connection, "before the kill") == 17
    connection.close()
    assert wal.write_again(apsw.Connection(str(killed / "edge.sqlite"))) == 0  # closed cleanly: nothing is left
    database.close()


def test_the_store_is_its_owners_from_its_first_moment(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        seen: list[int] = []
        path = tmp_path / "data" / "edge.sqlite"
        real = apsw.Connection

        def watched(name: str, *arguments: object, **more: object) -> apsw.Connection:
            seen.append(path.stat().st_mode & 0o777)
            return real(name, *arguments, **more)  # type: ignore[arg-type]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(apsw, "Connection", watched)
            Database(tmp_path / "data").close()
        assert seen == [0o600]
    finally:
        os.umask(before)


def test_new_stores_give_space_back_and_old_ones_are_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(tmp_path / "new")
    assert database.writer.pragma("auto_vacuum") == 2
    database.close()
    for name in ("large", "old"):
        (tmp_path / name).mkdir()
        shutil.copy(OLD / "v4.sqlite", tmp_path / name / "edge.sqlite")
    monkeypatch.setattr("edge_agent.store.database.CONVERT_BYTES", 1_000)
    database = Database(tmp_path / "large")
    assert database.writer.pragma("auto_vacuum") == 0
    assert retention.spare_pages(database.writer) == 0
    database.close()
    monkeypatch.undo()
    database = Database(tmp_path / "old")
    assert database.writer.pragma("auto_vacuum") == 2
    assert database.writer.pragma("integrity_check") == "ok"
    assert outbox.lanes(database.writer)["normal"].appended == 43
    database.close()


def test_a_conversion_that_the_disk_does_not_take_is_left_for_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(OLD / "v4.sqlite", tmp_path / "edge.sqlite")
    monkeypatch.setattr("edge_agent.store.database.CONVERT_BYTES", 1_000)
    Database(tmp_path).close()  # the newest schema, not converted
    monkeypatch.undo()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The kernel refuses every write beyond: a VACUUM writes the whole file into the WAL.
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "edge.sqlite").stat().st_size // 2, limits[1]))
    try:
        database = Database(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert database.writer.pragma("auto_vacuum") == 0
    assert database.writer.pragma("integrity_check") == "ok"
    with transaction(database.writer):
        devices.set_meta(database.writer, "after", 1)
    database.close()
    database = Database(tmp_path)
    assert database.writer.pragma("auto_vacuum") == 2
    assert devices.meta(database.writer, "after") == 1
    database.close()
