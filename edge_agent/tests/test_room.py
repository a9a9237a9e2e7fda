"""Room on the disk: delivered rows go after their time, space is given back, a full disk stops intake, loses nothing.

The disk is a tmpfs of a few MiB where mounting is allowed (it says so if not, and skips).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from edge_agent import room as room_keeper
from edge_agent.clock import Clock, real_ms
from edge_agent.entries import Job
from edge_agent.fullness import DAY_MS, MIB, Plan, Room, days_left, plan
from edge_agent.room import Limits
from edge_agent.store import devices, outbox, retention, tree
from edge_agent.store.database import Database, transaction
from edge_agent.store.disk import BALLAST, Disk
from edge_agent.store.retention import Mark, Usage
from edge_agent.tests.device import PtyWire, sync
from edge_agent.tests.harness import OWN, Site, until
from edge_agent.tests.office import Office
from gatelink import cbor

DISK_KIND = 86
LIMITS = "[disk]\nreserve_mb = 2\nballast_mb = 1\n"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=12m,mode=700", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if not done or done.returncode:
        pytest.skip("NOT TRIED: a really full disk, nothing can be mounted here")  # mounting takes root
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def take_room(place: Path, leave: int) -> Path:
    """Fills the disk until only so many bytes are free."""
    filler = place / "filler"
    found = os.statvfs(place)
    size = found.f_bavail * found.f_frsize - leave
    handle = os.open(filler, os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(handle, 0, size)
    os.close(handle)
    return filler


def disk_events(site: Site) -> list[int]:
    """The states in DISK events, in order."""
    found = [cbor.loads(payload) for _, _, payload in site.events(OWN).values()]
    return [value[1] for value in found if value[0] == DISK_KIND]


async def test_below_the_reserve_events_stay_with_the_device_and_come_when_there_is_room(
    small_disk: Path,
) -> None:
    site = Site(small_disk, more=LIMITS)
    device, wire = site.devices[0], PtyWire(site.link)
    async with site.agent() as agent:
        for _ in range(200):
            device.mint()
        await sync(device, wire)
        await until(lambda: agent.room.describe()["ballast_bytes"] == MIB)
        filler = take_room(small_disk, MIB + MIB // 2)
        await until(lambda: agent.room.full)
        for _ in range(100):
            device.mint()
        wire.send(device.batch(201, 20))
        await until(lambda: agent.rejects.total.get("disk_full"))
        session = agent.switchboard.sessions[7]
        assert session.acked_seq == 200
        assert session.online
        status = await agent.reporter.snapshot()
        assert status["disk"]["state"] == "full"
        await until(lambda: disk_events(site) == [0])
        filler.unlink()
        await until(lambda: not agent.room.full)
        await sync(device, wire)
        assert session.acked_seq == 300
        await until(lambda: disk_events(site) == [0, 1])
    site.check(device)
    wire.close()


async def test_a_really_full_disk_costs_the_ballast_and_nothing_else(small_disk: Path) -> None:
    site = Site(small_disk, more=LIMITS)
    device, wire = site.devices[0], PtyWire(site.link)
    async with site.agent() as agent:
        for _ in range(100):
            device.mint()
        await sync(device, wire)
        await until(lambda: agent.room.describe()["ballast_bytes"] == MIB)
        filler = take_room(small_disk, 0)
        for _ in range(2_000):
            device.mint()
        for first in range(101, 2_100, 20):
            wire.send(device.batch(first, 20))
        await until(lambda: agent.room.full)
        # The alarm is on the disk, which had not a byte left but the ballast.
        await until(lambda: disk_events(site) == [0])
        assert agent.room.describe()["ballast_bytes"] == 0
        acked = agent.switchboard.sessions[7].acked_seq
        await until(lambda: not agent.ingest.stalled)
    assert acked < 2_100
    assert len(site.events(7)) >= acked
    # Closed, opened again, closed again while it is full.
    async with site.agent() as agent:
        await until(lambda: agent.room.full)
        filler.unlink()
        await until(lambda: not agent.room.full)
        await until(lambda: agent.room.describe()["ballast_bytes"] == MIB)
        await sync(device, wire)
        assert agent.switchboard.sessions[7].acked_seq == 2_100
    site.check(device)
    assert disk_events(site) == [0, 0, 1]
    starts = [cbor.loads(p)[1] for _, _, p in site.events(OWN).values() if cbor.loads(p)[0] == 1]
    assert starts == [0, 0], "a stop on a full disk was no clean one"
    wire.close()


async def test_short_of_room_delivered_rows_go_before_their_time_and_waiting_ones_stay(
    small_disk: Path, office: Office
) -> None:
    site = Site(small_disk, more=LIMITS, office=office.config(head_pause_s=0))
    device, wire = site.devices[0], PtyWire(site.link)
    async with site.agent() as agent:
        store = agent.database.reader()
        for _ in range(4_000):
            device.mint()
        await sync(device, wire, batch=3)
        await until(lambda: len(office.of(7)) == 4_000, 60)
        await until(lambda: tree.prunable_through(store) > 1_150, 60)
        await office.stop()
        for _ in range(60):
            device.mint()
        await sync(device, wire, batch=20)
        waiting = [row for row in site.rows() if row.device == 7 and row.first_seq > 4_000]
        agent.database.checkpoint(truncate=False)
        size = agent.database.path.stat().st_size
        before = len(site.rows())
        filler = take_room(small_disk, 3 * MIB)
        await until(lambda: agent.room.pressed_rows > 150, 60)
        assert not agent.room.full
        rows = site.rows()
        assert len(rows) <= before - 150
        assert [row for row in rows if row.device == 7 and row.first_seq > 4_000] == waiting
        await until(lambda: agent.database.path.stat().st_size < size, 60, "no space was given back")
        filler.unlink()
        await office.start()
        await until(lambda: len(office.of(7)) == 4_060, 60)
    assert office.doubled == 0
    assert device.acked == 4_060
    wire.close()


async def test_short_of_room_few_delivered_rows_stay_until_the_disk_is_full(tmp_path: Path) -> None:
    database = Database(tmp_path)
    connection = database.writer
    with transaction(connection):
        for pos in range(1, 1_501):
            connection.execute(
                "INSERT INTO log VALUES (?,7,1,?,?,0,0,9,9,1,0,NULL,x'811000',NULL)", (pos, pos, pos)
            )
        outbox.delivered(connection, "normal", 1, 1_500, 1_500, {})
        connection.execute("UPDATE tree SET size = 1500, frontier = zeroblob(?)", (32 * (1_500).bit_count(),))

    class Small(Disk):
        """Has as much as it is told."""

        left = 150 * MIB

        def free(self) -> int:
            return self.left

    def submit(job: Job) -> None:
        with transaction(connection):
            job.apply(connection)
        job.done()

    disk = Small(tmp_path)
    limits = Limits(keep_days=30, reserve=100 * MIB, ballast=0)
    room = room_keeper.Room(
        limits, disk, database, submit, lambda: "", lambda: 10**12, lambda: True, lambda _: None
    )
    await room._look()
    assert room.pressed_rows == 1_000
    await room._look()
    assert room.pressed_rows == 1_000
    disk.left = 50 * MIB
    await room._look()
    assert room.full
    assert room.pressed_rows == 1_500
    await room.stop()
    database.close()


async def test_rows_go_keep_days_after_the_receipt_and_no_sooner(
    tmp_path: Path, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.room.KEPT_PAGES", 0)
    site = Site(tmp_path, office=office.config(head_pause_s=0), more="[retention]\nkeep_days = 30\n")
    device, wire = site.devices[0], PtyWire(site.link)
    async with site.agent() as agent:
        store = agent.database.reader()
        for _ in range(6_000):
            device.mint()
        await sync(device, wire, batch=20)
        await until(lambda: tree.prunable_through(store) > 290, 60)
        store.close()
    rows = len(site.rows())

    def passed(days: int) -> None:
        """As if the marks had been made so much earlier."""
        connection = apsw.Connection(str(tmp_path / "data" / "edge.sqlite"))
        with transaction(connection):
            retention.mark(connection, max(row.received_ms for row in site.rows()), 0)
            connection.execute("DELETE FROM mark WHERE at_ms < (SELECT max(at_ms) FROM mark)")
            connection.execute("UPDATE mark SET at_ms = at_ms - ?", (days * DAY_MS,))
        connection.close()

    passed(29)
    async with site.agent() as agent:
        await until(lambda: agent.room._marked_ms is not None)
        await until(lambda: agent.ingest.commits > 1)
        assert len(site.rows()) >= rows
    passed(31)
    size = (tmp_path / "data" / "edge.sqlite").stat().st_size
    async with site.agent() as agent:
        await until(lambda: agent.room.pruned_rows > 290)
        await until(lambda: agent.database.path.stat().st_size < size, what="no space was given back")
        device.mint()
        await sync(device, wire)
        await until(lambda: len(office.of(7)) == 6_001)
        assert agent.keeper is not None
        assert not agent.keeper.findings
    assert office.heads[-1]["size"] > 290
    wire.close()


def test_refused_and_undelivered_rows_are_never_prunable(tmp_path: Path) -> None:
    database = Database(tmp_path)
    connection = database.writer
    with transaction(connection):
        for pos in range(1, 11):
            connection.execute(
                "INSERT INTO log VALUES (?,7,1,?,?,0,0,9,9,1,0,NULL,x'811000',NULL)", (pos, pos, pos)
            )
        connection.execute("UPDATE tree SET size = 10, frontier = zeroblob(64)")
        outbox.appended(connection, "normal", 10)
    assert retention.prunable(connection, None) == 0
    with transaction(connection):
        outbox.delivered(connection, "normal", 1, 4, 4, {})
        outbox.delivered(connection, "normal", 6, 8, 3, {})
    assert retention.prunable(connection, None) == 4
    with transaction(connection):
        outbox.set_aside(connection, 5, 5, outbox.Refused(5, "normal", 1, 1, "no"))
    assert retention.prunable(connection, None) == 4
    assert retention.prunable(connection, 10**9) == 0  # delivered, but since when?
    with transaction(connection):
        retention.mark(connection, 1_000, 0)
        assert retention.prune(connection, retention.prunable(connection, 1_000), 3) == 3
    assert [pos for (pos,) in connection.execute("SELECT pos FROM log")] == list(range(4, 11))
    assert devices.meta(connection, retention.PRUNED_EVENTS) == 3
    with transaction(connection):
        outbox.taken_after_all(connection, outbox.Refused(5, "normal", 1, 1, "no"), 1, {})
    assert retention.prunable(connection, None) == 8
    assert retention.prunable(connection, 1_000) == 4
    usage = retention.usage(connection)
    assert (usage.held, usage.appended) == (7, 10)
    database.close()


def test_marks_follow_a_clock_that_is_set(tmp_path: Path) -> None:
    database = Database(tmp_path)
    connection = database.writer
    with transaction(connection):
        for at_ms in (100, 1_000, 2_000):
            retention.mark(connection, at_ms, 0)
        retention.shift_marks(connection, 1_000, 1_000)
    assert [at for (at,) in connection.execute("SELECT at_ms FROM mark ORDER BY at_ms")] == [
        100,
        2_000,
        3_000,
    ]
    with transaction(connection):
        retention.shift_marks(connection, 2_000, -1_950)
    assert [at for (at,) in connection.execute("SELECT at_ms FROM mark ORDER BY at_ms")] == [50, 100, 1_050]
    database.close()


async def test_a_clock_that_is_wrong_at_first_deletes_nothing_too_early(
    tmp_path: Path, office: Office
) -> None:
    """A machine without a clock of its own starts years back; what it delivers then is not years old afterwards."""
    by_ms = [-700 * DAY_MS]
    clock = Clock(wall=lambda: real_ms() + by_ms[0])
    site = Site(tmp_path, office=office.config(head_pause_s=0))
    device, wire = site.devices[0], PtyWire(site.link)
    async with site.agent(clock) as agent:
        store = agent.database.reader()
        for _ in range(200):
            device.mint()
        await sync(device, wire)
        await until(lambda: tree.prunable_through(store) >= 10)
        await until(lambda: agent.room._marked_ms is not None)
        marked = retention.last_mark(store)
        assert marked is not None
        by_ms[0] = 0
        clock.look()
        right_ms = marked.at_ms + 600 * DAY_MS
        await until(lambda: (retention.last_mark(store) or marked).at_ms > right_ms)
        mark = retention.last_mark(store)
        assert mark is not None
        assert abs(mark.at_ms - clock.now_ms()) < 60_000
        assert retention.prunable(store, clock.now_ms() - 30 * DAY_MS) == 0
    wire.close()


def test_what_is_done_about_the_room() -> None:
    reserve, ballast = 64 * MIB, 16 * MIB

    def at(free_mib: float, kept_mib: int, *, full: bool = False, stalled: bool = False) -> Plan:
        return plan(full, Room(int(free_mib * MIB), kept_mib * MIB, stalled), reserve, ballast)

    assert at(500, 16) == Plan(full=False, press=False, release=False, remake=False)
    assert at(127, 16) == Plan(full=False, press=True, release=False, remake=False)
    assert at(63.9, 16) == Plan(full=True, press=True, release=False, remake=False)
    assert at(0, 16, stalled=True) == Plan(full=True, press=True, release=True, remake=False)
    assert at(12, 0, full=True) == Plan(full=True, press=True, release=False, remake=False)
    assert at(79, 16, full=True).full
    assert at(80, 16, full=True) == Plan(full=False, press=True, release=False, remake=False)
    assert at(95, 0, full=True) == Plan(full=True, press=True, release=False, remake=False)
    assert at(96, 0, full=True) == Plan(full=False, press=True, release=False, remake=True)
    assert at(500, 0) == Plan(full=False, press=False, release=False, remake=True)
    assert at(10_000, 16, stalled=True).full  # a quota that statvfs does not tell of


def test_how_long_the_disk_will_do() -> None:
    usage = Usage(used=100 * MIB, spare=MIB, held=1_000_000, appended=1_200_000)
    week = Mark(0, 0, 500_000)
    free = 64 * MIB + 41 * 10 * MIB - MIB + MIB // 2
    assert days_left(free, usage, week, 7 * DAY_MS, 64 * MIB) == 41  # 700,000 events in 7 days: 10 MiB a day
    assert days_left(0, usage, week, 7 * DAY_MS, 64 * MIB) == 0
    assert days_left(free, usage, None, 7 * DAY_MS, 0) is None
    assert days_left(free, usage, week, 1_000, 0) is None
    assert days_left(free, usage, Mark(0, 0, 1_200_000), 7 * DAY_MS, 0) is None


def test_a_ballast_takes_the_room_that_it_says(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    assert disk.ballast() == 0
    assert disk.make_ballast(3 * MIB)
    assert disk.ballast() == 3 * MIB
    assert (tmp_path / BALLAST).stat().st_blocks * 512 >= 3 * MIB
    assert (tmp_path / BALLAST).stat().st_mode & 0o777 == 0o600
    assert disk.make_ballast(MIB)
    assert disk.ballast() == MIB
    disk.release()
    disk.release()
    assert disk.ballast() == 0
    assert disk.make_ballast(0)
