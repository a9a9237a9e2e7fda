"""Backup and restore of a store in use: the real agent, the real office, and what an old backup can and can't do."""

from __future__ import annotations

import asyncio
import io
import json
import os
import stat
import tarfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from edge_agent import own_events
from edge_agent.down_piv import DownCounter
from edge_agent.identity import load_or_make
from edge_agent.store import copies, devices, outbox
from edge_agent.store import events as store_events
from edge_agent.store.database import FILE_NAME, Database, migrate, schema_steps, transaction
from edge_agent.tests.device import PtyWire, UdpWire, Wire, sync
from edge_agent.tests.harness import OWN, Process, Site, until
from gatelink import events
from tools import backup, cli, restore
from tools.errors import ToolError
from tools.office.store.base import LOG_REASONS
from tools.office.tests.process import Server, configure, sha

TOKEN = "token-of-s1-for-tests"
OLD = Path(__file__).parents[2] / "edge_agent" / "tests" / "databases"


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Server]:
    sites = f'[[site]]\nid = "s1"\nname_zh = "一"\ntoken_sha256 = "{sha(TOKEN)}"\n'
    server = Server(configure(tmp_path / "office", sites=sites))
    yield server
    if server.process.poll() is None:
        server.stop()


def at_office(server: Server, device: int) -> dict[int, list[str]]:
    """seq -> payloads under every boot."""
    found: dict[int, list[str]] = {}
    for seq, _, _, payload in server.history(device, "s1"):
        found.setdefault(seq, []).append(payload)
    return found


def to(server: Server) -> str:
    return (
        f'[office]\nurl = "http://127.0.0.1:{server.port}"\ntoken = "{TOKEN}"\n'
        "backoff_min_ms = 20\nbackoff_max_ms = 100\nhead_pause_s = 0.1\n"
    )


def of_office(folder: Path, query: str) -> list[tuple[Any, ...]]:
    connection = apsw.Connection(
        str(folder / "office" / "data" / "office.db"), flags=apsw.SQLITE_OPEN_READONLY
    )
    connection.set_busy_timeout(5_000)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def heads(folder: Path) -> list[tuple[int, int]]:
    return of_office(folder, "SELECT first_pos, size FROM log_head")


def said_of_the_log(folder: Path) -> set[str]:
    return {LOG_REASONS[reason] for (reason,) in of_office(folder, "SELECT reason FROM log_finding")}


def waiting(site: Site) -> int:
    connection = apsw.Connection(str(site.folder / "data" / FILE_NAME), flags=apsw.SQLITE_OPEN_READONLY)
    connection.set_busy_timeout(5_000)
    try:
        return copies.contents(connection).waiting
    except apsw.Error:
        return -1
    finally:
        connection.close()


@asynccontextmanager
async def running(site: Site) -> AsyncIterator[Process]:
    agent = Process(site)
    await agent.start()
    try:
        yield agent
    finally:
        if agent.process.returncode is None:
            assert await agent.end() == 0


def gatepost(*arguments: str) -> int:
    return cli.main(["edge", *arguments])


async def mint_and_sync(site: Site, wires: list[Wire], count: int) -> None:
    for device in site.devices:
        for _ in range(count):
            device.mint()
    await asyncio.gather(*(sync(d, w) for d, w in zip(site.devices, wires, strict=True)))


async def test_an_old_backup_restored_loses_only_what_nobody_else_has_and_says_so(
    tmp_path: Path, office: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    site = Site(tmp_path, office=to(office))
    wires: list[Wire] = [PtyWire(site.link), await UdpWire.to(site.udp_port)]
    config, file = str(site.config_path), tmp_path / "backup.tar"
    async with running(site) as agent:
        await mint_and_sync(site, wires, 100)
        await until(lambda: waiting(site) == 0, 20)
        # The backup is taken in the middle of a load.
        for device in site.devices:
            for _ in range(1_500):
                device.mint()
        load = [asyncio.create_task(sync(d, w, batch=4)) for d, w in zip(site.devices, wires, strict=True)]
        await until(lambda: site.devices[0].acked > 150, 20)
        taken = asyncio.to_thread(gatepost, "backup", "--config", config, "--to", str(file), "--config-files")
        assert await taken == 0
        acked_after_backup = [device.acked for device in site.devices]
        await asyncio.gather(*load)
        await mint_and_sync(site, wires, 50)
        await until(lambda: waiting(site) == 0, 30)
        delivered = [device.last_seq for device in site.devices]
        # The office is away: these are acknowledged to the devices, which trim them, and nobody else has them.
        office.kill()
        await mint_and_sync(site, wires, 30)
        lost = [device.last_seq for device in site.devices]
        # These a device still holds.
        for device in site.devices:
            device.mint(events.SOS, None)
        assert gatepost("restore", "--config", config, "--from", str(file)) == 2
        assert f"process {agent.process.pid}" in capsys.readouterr().err
    assert gatepost("restore", "--config", config, "--from", str(file)) == 2
    assert "--replace" in capsys.readouterr().err
    assert gatepost("restore", "--config", config, "--from", str(file), "--replace") == 2
    assert "that the office lacks" in capsys.readouterr().err
    assert gatepost("restore", "--config", config, "--from", str(file), "--replace", "--abandon") == 0
    held = copies.check(tmp_path / "data" / FILE_NAME).upto
    for device, acked in zip(site.devices, acked_after_backup, strict=True):
        assert 100 < held[device.device] <= acked
    (aside,) = (tmp_path / "data").glob("replaced-*")
    assert copies.check(aside / FILE_NAME).waiting > 60

    again = Server(tmp_path / "office" / "office.toml")
    site.write(office=to(again))
    try:
        async with running(site):
            await mint_and_sync(site, wires, 40)
            await until(lambda: waiting(site) == 0, 30)
            await until(lambda: any(first > 1 << 40 for first, _ in heads(tmp_path)), 30)
        # The edge's log goes on elsewhere, and it had been longer: the office says this of it, and nothing else.
        assert "restarted" in said_of_the_log(tmp_path) <= {"restarted", "shrunken"}
        for device, through, gone in zip(site.devices, delivered, lost, strict=True):
            found = at_office(again, device.device)
            assert all(len(payloads) == 1 for payloads in found.values()), "doubled at the office"
            expected = set(range(1, device.last_seq + 1)) - set(range(through + 1, gone + 1))
            assert set(found) == expected, "lost more than what nobody else had"
            for seq, (payload,) in found.items():
                assert bytes.fromhex(payload) == device.journal[seq][2]
            # What is missing is named, by number.
            about = again.get(f"/api/v1/sites/s1/devices/{device.device}")
            assert about["missing"] == [[through + 1, gone]]
            told = [payload for _, _, payload in site.events(OWN).values()]
            never = own_events.own(own_events.NEVER_SEEN, device.device, held[device.device] + 1, gone)
            assert never in told, "the range that the store never had is an alarm"
        assert of_office(tmp_path, "SELECT * FROM conflict") == []
        starts = [payload[2] for _, _, payload in site.events(OWN).values() if payload[:2] == b"\x83\x01"]
        assert starts == [0, 2]
    finally:
        again.stop()
    for wire in wires:
        wire.close()


async def small_site(folder: Path, count: int = 20) -> Site:
    """A site that has collected something, its agent stopped."""
    site = Site(folder)
    wires: list[Wire] = [PtyWire(site.link), await UdpWire.to(site.udp_port)]
    async with running(site):
        await mint_and_sync(site, wires, count)
    for wire in wires:
        wire.close()
    return site


def back_up(site: Site, name: str = "b.tar") -> Path:
    assert gatepost("backup", "--config", str(site.config_path), "--to", str(site.folder / name)) == 0
    return site.folder / name


def leftovers(folder: Path) -> list[Path]:
    return list(folder.glob(".backup-*"))


def everything(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != "agent.lock"
    }


async def test_into_an_empty_folder_as_on_a_new_card(tmp_path: Path) -> None:
    site = await small_site(tmp_path)
    identity = load_or_make(tmp_path / "data")
    file = back_up(site)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not leftovers(tmp_path)
    before = site.rows()
    (tmp_path / "data").rename(tmp_path / "lost")
    assert gatepost("restore", "--config", str(site.config_path), "--from", str(file)) == 0
    assert load_or_make(tmp_path / "data").public == identity.public
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    for path in (tmp_path / "data" / FILE_NAME, tmp_path / "data" / "identity.key"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    assert [row[1:] for row in site.rows()] == [row[1:] for row in before]
    wires: list[Wire] = [PtyWire(site.link), await UdpWire.to(site.udp_port)]
    async with running(site):
        await mint_and_sync(site, wires, 10)
    for device, wire in zip(site.devices, wires, strict=True):
        site.check(device)
        wire.close()


async def test_the_copy_is_one_moment_while_the_writer_never_rests(tmp_path: Path) -> None:
    """Rows, counters and watermarks of one transaction: the copy never shows half of one, nor begins again for ever."""
    site = Site(tmp_path)
    stop = asyncio.Event()
    async with site.agent() as agent:

        async def write() -> None:
            while not stop.is_set():
                for n in range(20 if agent.ingest.waiting < 1_000 else 0):
                    agent.record(own_events.own(own_events.PORT, "x" * 20, n % 2))
                await asyncio.sleep(0)

        def look(done: int, pages: int) -> None:
            """Between two steps of the copy something is always committed."""
            at, end_s = agent.ingest.commits, time.monotonic() + 20
            while agent.ingest.commits == at and time.monotonic() < end_s:
                time.sleep(0.001)  # asks again; nothing is right only because of it
            steps.append((done, pages, agent.ingest.commits - at))

        going = asyncio.create_task(write())
        await until(lambda: agent.ingest.events > 2_000, 60)
        for n in range(5):
            steps: list[tuple[int, int, int]] = []
            await asyncio.to_thread(
                copies.copy, tmp_path / "data" / FILE_NAME, tmp_path / f"{n}.sqlite", look
            )
            assert steps == sorted(steps)
            assert steps[-1][0] == steps[-1][1]
            assert all(commits for _, _, commits in steps)
        stop.set()
        await going
    for n in range(5):
        found = copies.check(tmp_path / f"{n}.sqlite")
        with apsw.Connection(str(tmp_path / f"{n}.sqlite")) as connection:
            rows = connection.execute("SELECT count(*) FROM log").get
        assert rows == found.events == found.upto[OWN]


def files_of(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]


def repack(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def change_manifest(files: dict[str, bytes], **changes: object) -> dict[str, bytes]:
    about = {**json.loads(files["manifest.json"]), **changes}
    return {**files, "manifest.json": json.dumps(about).encode()}


async def test_what_is_no_whole_backup_is_refused_and_nothing_is_touched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = await small_site(tmp_path)
    good = back_up(site)
    files = files_of(good)
    store = f"data/{FILE_NAME}"
    parts = json.loads(files["manifest.json"])["parts"]
    flipped = bytearray(good.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    evil = [{"name": "data/../../edge.toml", "size": 1, "sha256": "0" * 64}]
    cases: list[tuple[bytes | dict[str, bytes], str]] = [
        (b"", "can't be read"),
        (b"something else" * 999, "can't be read"),
        (bytes(flipped), "damaged"),
        (good.read_bytes()[: good.stat().st_size // 2], "b.tar"),
        ({store: files[store]}, "does not begin with manifest.json"),
        ({k: v for k, v in files.items() if k != store}, "is missing"),
        ({**files, "data/more": b"x"}, "does not belong there"),
        ({**files, "manifest.json": b"{"}, "manifest can't be read"),
        (change_manifest(files, v=2), "is of format 2"),
        (change_manifest(files, site="other"), "is of site 'other'"),
        (change_manifest(files, schema=999), "install the newer program first"),
        (change_manifest(files, parts=parts + evil), "is no name that a backup holds"),
        (change_manifest(files, parts=[]), "holds no store"),
        (change_manifest(files, made_ms=int(time.time() * 1000) + 10**9), "clock is before"),
    ]
    before = everything(tmp_path / "data")
    for content, words in cases:
        bad = tmp_path / "bad" / "b.tar"
        bad.parent.mkdir(exist_ok=True)
        if isinstance(content, bytes):
            bad.write_bytes(content)
        else:
            repack(bad, content)
        capsys.readouterr()
        done = gatepost(
            "restore", "--config", str(site.config_path), "--from", str(bad), "--replace", "--abandon"
        )
        told = capsys.readouterr().err
        assert done == 2, words
        assert words in told, told
        assert len(told.splitlines()) == 1
        assert everything(tmp_path / "data") == before, words


async def test_a_backup_never_overwrites_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = await small_site(tmp_path)
    file = back_up(site)
    was = file.read_bytes()
    arguments = ("backup", "--config", str(site.config_path), "--to", str(file))
    assert gatepost(*arguments) == 2
    assert "--force" in capsys.readouterr().err
    assert file.read_bytes() == was
    assert gatepost(*arguments, "--force", "--config-files") == 0
    assert {"config/edge.toml", "config/devices.toml"} <= set(files_of(file))
    assert gatepost("backup", "--config", str(site.config_path), "--to", str(tmp_path / "no" / "b.tar")) == 2
    assert "is no folder" in capsys.readouterr().err
    # A store that is damaged makes no backup, and leaves the last one.
    store = tmp_path / "data" / FILE_NAME
    content = bytearray(store.read_bytes())
    content[5 * 4096 : 5 * 4096 + 2_000] = os.urandom(2_000)
    store.write_bytes(content)
    was = file.read_bytes()
    assert gatepost(*arguments, "--force") == 2
    assert file.read_bytes() == was
    assert not leftovers(tmp_path)


async def test_a_restore_that_ends_anywhere_leaves_the_old_store_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = await small_site(tmp_path)
    file = back_up(site)
    wires: list[Wire] = [PtyWire(site.link), await UdpWire.to(site.udp_port)]
    async with running(site):
        await mint_and_sync(site, wires, 5)
    old, new = copies.check(tmp_path / "data" / FILE_NAME), backup.read(file, None)
    assert old.events > new.events
    calls = [0]
    stop_at = [0]

    class Gone(BaseException):
        """The process is killed here."""

    def cut(real: object) -> object:
        def call(*arguments: object, **more: object) -> object:
            calls[0] += 1
            if calls[0] == stop_at[0]:
                raise Gone
            return real(*arguments, **more)  # type: ignore[operator]

        return call

    (tmp_path / "data").rename(tmp_path / "kept")
    import shutil

    ends = []
    for step in range(1, 40):
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        shutil.copytree(tmp_path / "kept", tmp_path / "data")
        calls[0], stop_at[0] = 0, step
        with monkeypatch.context() as patched:
            for owner, name in (
                (Path, "rename"),
                (Path, "replace"),
                (Path, "mkdir"),
                (os, "link"),
                (os, "fsync"),
                (os, "chown"),
            ):
                patched.setattr(owner, name, cut(getattr(owner, name)))
            try:
                restore.restore(
                    tmp_path / "data", file, site="s1", edge="e1", now_ms=time.time_ns() // 1_000_000,
                    replace=True, abandon=True,
                )  # fmt: skip
            except Gone:
                ended = False
            else:
                ended = True
        found = copies.check(tmp_path / "data" / FILE_NAME)
        assert found.events in (old.events, new.events)
        ends.append(found.events)
        if ended:
            break
    else:
        raise AssertionError("it never came to its end")
    print(f"cut at {len(ends) - 1} places")
    assert ends == sorted(ends, reverse=True)
    assert {old.events, new.events} == set(ends)
    for wire in wires:
        wire.close()


@pytest.mark.parametrize("rate_per_s", [0, 5, 250, 10_000])
@pytest.mark.parametrize("days", [0, 1, 30])
def test_counters_to_devices_never_repeat_after_a_restore(tmp_path: Path, rate_per_s: int, days: int) -> None:
    begin_s = 1_790_000_000
    database = Database(tmp_path / "d")
    with transaction(database.writer):
        DownCounter.open(database.writer, begin_s)
    database.close()
    used = (
        max(begin_s << 8, 0) + rate_per_s * 86_400 * days + 300 + days * (1 << 16)
    )  # and a block for each start
    copies.make_fit(
        tmp_path / "d" / FILE_NAME, begin_s * 1000, (begin_s + 86_400 * days) * 1000 + 60_000, None
    )
    database = Database(tmp_path / "d")
    with transaction(database.writer):
        first = DownCounter.open(database.writer, begin_s).next()  # the clock is not even set
    assert first is not None
    assert first > used
    database.close()


def test_what_the_replaced_store_gave_out_counts_too(tmp_path: Path) -> None:
    database = Database(tmp_path / "d")
    database.close()
    store = tmp_path / "d" / FILE_NAME
    copies.make_fit(store, 1_000, 2_000, copies.Marks(70_000, 1 << 39, 1 << 50))
    connection = apsw.Connection(str(store))
    assert copies.marks(connection) == (70_000, (1 << 39) + copies.DOWN_PER_S, 1 << 50)
    assert devices.meta(connection, devices.NEXT_POS) == (1 << 50) + 1
    connection.close()


@pytest.mark.parametrize("old", sorted(OLD.glob("v*.sqlite")), ids=lambda path: path.stem)
def test_old_stores_are_backed_up_restored_and_gone_on_with(tmp_path: Path, old: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data" / FILE_NAME).write_bytes(old.read_bytes())
    (tmp_path / "data" / FILE_NAME).chmod(0o600)
    site = Site(tmp_path)
    file = back_up(site)
    made = backup.read(file, None)
    assert made.schema == int(old.stem[1:])
    (tmp_path / "data").rename(tmp_path / "away")
    with pytest.raises(ToolError, match="is of site"):
        restore.restore(tmp_path / "data", file, site="s1", edge="e2", now_ms=made.made_ms)
    restore.restore(tmp_path / "data", file, site="s1", edge="e1", now_ms=made.made_ms)
    database = Database(tmp_path / "data")
    ledgers = devices.load(database.writer)
    assert (ledgers[7].coverage.upto, ledgers[7].coverage.islands) == (40, [(45, 45)])
    # What waits for the office waits behind new positions, in its order; the rest stayed.
    lanes = {name: cursor for name, cursor, *_ in database.writer.execute("SELECT * FROM lane")}
    moved = [pos for (pos,) in database.writer.execute("SELECT pos FROM log") if pos > max(lanes.values())]
    assert min(moved) == made.made_ms // 1000 * (1 << 20) + 1
    assert devices.meta(database.writer, devices.NEXT_POS) == max(moved) + 1
    assert devices.load_sessions(database.writer) == {}
    database.close()


def all_of(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY) as connection:
        tables = [
            str(name)
            for (name,) in connection.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
            )
        ]
        return {name: connection.execute(f'SELECT * FROM "{name}"').fetchall() for name in tables}


@pytest.mark.parametrize("version", range(1, len(schema_steps())))
async def test_the_newest_store_goes_back_to_any_version_and_forward_again(
    tmp_path: Path, version: int
) -> None:
    """What a rollback does: nothing is lost, and an agent of that version and of this one go on with it."""
    site = await small_site(tmp_path)
    store = tmp_path / "data" / FILE_NAME
    assert copies.check(store).schema == len(schema_steps())
    before = all_of(store)
    old = tmp_path / "old" / FILE_NAME
    old.parent.mkdir()
    connection = apsw.Connection(str(old))
    migrate(connection, schema_steps()[:version])
    connection.close()
    arguments = ("downgrade", "--config", str(site.config_path), "--schema", str(version))
    assert gatepost(*arguments) == 0
    after = all_of(store)
    assert after.keys() == all_of(old).keys()
    assert len(after["log"]) > 2
    for table, rows in after.items():
        width = len(rows[0]) if rows else 0  # later versions only ever add columns
        assert rows == [row[:width] for row in before[table]], table
    aside = list((tmp_path / "data").glob("replaced-*"))
    assert [all_of(path / FILE_NAME) for path in aside] == [before]
    assert gatepost(*arguments) == 0  # again: there is nothing to do
    Database(tmp_path / "data", steps=schema_steps()[:version]).close()
    wires: list[Wire] = [PtyWire(site.link), await UdpWire.to(site.udp_port)]
    async with running(site):
        await mint_and_sync(site, wires, 10)
    for device, wire in zip(site.devices, wires, strict=True):
        site.check(device)
        wire.close()


async def test_a_store_that_somebody_reads_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = await small_site(tmp_path)
    store = tmp_path / "data" / FILE_NAME
    reader = apsw.Connection(str(store), flags=apsw.SQLITE_OPEN_READONLY)
    reader.execute("BEGIN; SELECT count(*) FROM log")
    writer = apsw.Connection(str(store))
    writer.execute("INSERT INTO meta VALUES ('after the reader began', 1)")
    arguments = ("downgrade", "--config", str(site.config_path), "--schema", "3")
    assert gatepost(*arguments) == 2
    assert "another program reads it" in capsys.readouterr().err
    assert devices.meta(writer, "after the reader began") == 1
    reader.close()
    writer.close()
    assert gatepost(*arguments) == 0
    assert ("after the reader began", 1) in all_of(store)["meta"]


async def test_a_store_that_an_older_version_has_no_place_for_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = await small_site(tmp_path)
    store = tmp_path / "data" / FILE_NAME
    with apsw.Connection(str(store)) as connection:
        connection.execute("ALTER TABLE log RENAME COLUMN uptime_cs TO uptime")
    before = all_of(store)
    arguments = ["downgrade", "--config", str(site.config_path), "--schema"]
    assert gatepost(*arguments, "3") == 2
    assert "restore the backup that was made before the upgrade" in capsys.readouterr().err
    assert gatepost(*arguments, "0") == 2
    assert "there is no store of version 0" in capsys.readouterr().err
    assert all_of(store) == before
    assert not [path for path in (tmp_path / "data").iterdir() if path.is_dir()]


def test_rows_that_were_delivered_ahead_are_delivered_again_where_they_are_now(tmp_path: Path) -> None:
    database = Database(tmp_path / "d")
    row = (7, 1, 1, 1, 0, 0, 0, 0, 1, 0, None, b"x", None)
    with transaction(database.writer):
        store_events.append(database.writer, [(pos, *row) for pos in range(1, 11)])
        outbox.appended(database.writer, "normal", 10)
        outbox.delivered(database.writer, "normal", 1, 2, 2, {})
        outbox.delivered(database.writer, "normal", 5, 7, 3, {})  # live rows overtook
    database.close()
    copies.make_fit(tmp_path / "d" / FILE_NAME, 10_000, 20_000, None)
    database = Database(tmp_path / "d")
    lane = outbox.lanes(database.writer)["normal"]
    assert (lane.cursor, lane.ahead, lane.appended, lane.delivered) == (2, [], 10, 2)
    base = (20 << 20) + 1
    waits = [pos for (pos,) in database.writer.execute("SELECT pos FROM log WHERE pos > 2")]
    assert waits == list(range(base, base + 8))
    database.close()
