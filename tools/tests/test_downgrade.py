"""The newest store goes back to an older version, as a rollback of the package does, and forward again."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from edge_agent.store import copies, devices
from edge_agent.store.database import FILE_NAME, Database, migrate, schema_steps
from edge_agent.tests.device import PtyWire, UdpWire, Wire
from tools.tests.stored import all_of, gatepost, mint_and_sync, running, small_site


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
