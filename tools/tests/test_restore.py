"""Restore of a backup: the real agent, the real office, and what an old backup can and can't bring back."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from edge_agent import own_events
from edge_agent.down_piv import DownCounter
from edge_agent.identity import load_or_make
from edge_agent.store import copies, devices, outbox
from edge_agent.store import events as store_events
from edge_agent.store.database import FILE_NAME, Database, transaction
from edge_agent.tests.device import PtyWire, UdpWire, Wire, sync
from edge_agent.tests.harness import OWN, Site, until
from gatelink import events
from tools import backup, restore
from tools.errors import ToolError
from tools.office.tests.process import Server, configure, sha
from tools.tests.stored import (
    TOKEN,
    at_office,
    back_up,
    gatepost,
    heads,
    leftovers,
    mint_and_sync,
    of_office,
    running,
    said_of_the_log,
    small_site,
    to,
    waiting,
)

OLD = Path(__file__).parents[2] / "edge_agent" / "tests" / "databases"


async def test_a_store_that_can_not_be_read_just_now_is_not_taken_for_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may hold what the office lacks: only one that is surely damaged is replaced without --abandon."""
    site = await small_site(tmp_path)
    file = back_up(site)
    in_the_way = tmp_path / "data" / f"{FILE_NAME}-wal"
    if in_the_way.exists():  # what reading it for the backup left
        assert in_the_way.stat().st_size == 0
        in_the_way.unlink()
    in_the_way.mkdir(mode=0o700)  # SQLite can't open the file as long as it is there
    arguments = ("restore", "--config", str(site.config_path), "--from", str(file), "--replace")
    assert gatepost(*arguments) == 2
    assert "can't be read just now" in capsys.readouterr().err
    in_the_way.rmdir()
    assert gatepost(*arguments) == 2
    assert "events that the office lacks" in capsys.readouterr().err
    assert not list((tmp_path / "data").glob("replaced-*"))


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Server]:
    sites = f'[[site]]\nid = "s1"\nname_zh = "一"\ntoken_sha256 = "{sha(TOKEN)}"\n'
    server = Server(configure(tmp_path / "office", sites=sites))
    yield server
    if server.process.poll() is None:
        server.stop()


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
        await until(lambda: all(device.acked > 150 for device in site.devices), 20)
        taken = asyncio.to_thread(gatepost, "backup", "--config", config, "--to", str(file), "--config-files")
        assert await taken == 0
        # What a device has been told lags behind what is committed.
        after_backup = (await asyncio.to_thread(copies.check, tmp_path / "data" / FILE_NAME)).upto
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
    for device in site.devices:
        assert 150 < held[device.device] <= after_backup[device.device] <= device.last_seq
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


def test_rows_that_were_delivered_ahead_are_delivered_again_where_they_are_now(tmp_path: Path) -> None:
    database = Database(tmp_path / "d")
    row = (7, 1, 1, 1, 0, 0, 0, 0, 1, 0, None, b"x", None)
    with transaction(database.writer):
        store_events.append(database.writer, [(pos, *row) for pos in range(1, 11)])
        outbox.appended(database.writer, "normal", 10)
        outbox.delivered(database.writer, "normal", 1, 2, 2, {})
        outbox.delivered(database.writer, "normal", 5, 7, 3, {})  # live rows overtook
        outbox.set_aside(database.writer, 8, 8, outbox.Refused(8, "normal", 1, 1, "no"))
    database.close()
    copies.make_fit(tmp_path / "d" / FILE_NAME, 10_000, 20_000, None)
    database = Database(tmp_path / "d")
    lane = outbox.lanes(database.writer)["normal"]
    assert (lane.cursor, lane.ahead, lane.appended, lane.delivered) == (2, [], 10, 2)
    base = (20 << 20) + 1
    waits = [pos for (pos,) in database.writer.execute("SELECT pos FROM log WHERE pos > 2")]
    assert waits == list(range(base, base + 8))
    # The refused one is one of them: asked for twice, it would count twice.
    assert outbox.refusals(database.writer) == (0, None)
    with transaction(database.writer):
        outbox.delivered(database.writer, "normal", 3, base + 7, 8, {})
    assert outbox.lanes(database.writer)["normal"].delivered == 10
    database.close()
