"""The newest store goes back to an older version, as a rollback of the package does, and forward again."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from edge_agent.integrity.leaves import Leaves
from edge_agent.integrity.tree import Frontier, consistency_proof, consistent
from edge_agent.store import copies, devices, outbox
from edge_agent.store import tree as trees
from edge_agent.store.database import FILE_NAME, Database, migrate, schema_steps, transaction
from edge_agent.tests.device import PtyWire, UdpWire, Wire
from edge_agent.tests.harness import Site
from tools.tests.stored import all_of, gatepost, mint_and_sync, running, small_site

LEAVES = 300


async def full_site(folder: Path) -> tuple[Site, int]:
    """A site with a tree of two stored levels, and live events that had overtaken others -> how many these are."""
    site = await small_site(folder)
    connection = apsw.Connection(str(folder / "data" / FILE_NAME))
    with transaction(connection):
        # As if all that was before had been delivered and pruned: its leaves stay.
        connection.execute("UPDATE log SET pos = pos + ?", (LEAVES * 2,))
        connection.execute("UPDATE log SET pos = pos - ?", (LEAVES,))
        for lane in outbox.LANES:
            outbox.delivered(connection, lane, 1, LEAVES, 0, {})
        tree, nodes = tree_of(LEAVES)
        trees.extend(connection, trees.state(connection), trees.State(1, tree), nodes)
        found = outbox.read(connection, "normal", LEAVES + 1, outbox.LAST_POS, 3, 1 << 20)
        live = found._replace(first=found.rows[1].pos, rows=found.rows[1:])
        assert live.events
        outbox.delivered(connection, "normal", live.first, live.through, live.events, {})
    connection.close()
    return site, live.events


def tree_of(size: int) -> tuple[Frontier, list[tuple[int, int, bytes]]]:
    """The tree over so many leaves, and (level, index, hash) of what is stored of it."""
    nodes: list[tuple[int, int, bytes]] = []
    tree, leaves = Frontier(), Leaves("s1", "e1")
    for pos in range(1, size + 1):
        tree.append(leaves.hash((pos, 7)), nodes, trees.STORED_LEVELS)
    return tree, nodes


@pytest.mark.parametrize("version", range(1, len(schema_steps())))
async def test_the_newest_store_goes_back_to_any_version_and_forward_again(
    tmp_path: Path, version: int
) -> None:
    """What a rollback does: nothing is lost, and an agent of that version and of this one go on with it."""
    site, live = await full_site(tmp_path)
    store = tmp_path / "data" / FILE_NAME
    contents = copies.check(store)
    assert contents.schema == len(schema_steps())
    before = all_of(store)
    with apsw.Connection(str(store)) as connection:
        lanes = outbox.lanes(connection)
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
    wanted = dict(before)
    if version < 6:  # it knows nothing of rows ahead: they wait again
        wanted["lane"] = [
            (name, lane.cursor, lane.appended, lane.delivered - (live if name == "normal" else 0))
            for name, lane in lanes.items()
        ]
    if version < 8:
        wanted["tree_node"] = sorted(
            (level << 48 | index, hashed) for level, index, hashed in tree_of(LEAVES)[1]
        )
    assert copies.check(store).waiting == contents.waiting + (live if version < 6 else 0)
    for table, rows in after.items():
        width = len(rows[0]) if rows else 0  # later versions have further columns
        assert rows == [row[:width] for row in wanted[table]], table
    with apsw.Connection(str(store)) as connection:
        assert connection.pragma("auto_vacuum") == 2
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
    if version >= 5:
        check_tree(store)


def check_tree(store: Path) -> None:
    """Every proof can be made of what is stored."""
    tree, _ = tree_of(LEAVES)
    with apsw.Connection(str(store)) as connection:
        assert trees.state(connection).frontier.to_bytes() == tree.to_bytes()
        for size in (1, 200, 256, 299):
            proof = consistency_proof(size, LEAVES, lambda level, index: trees.node(connection, level, index))
            assert consistent(size, LEAVES, tree_of(size)[0].root(), tree.root(), proof)


async def test_refused_rows_are_never_taken_for_delivered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = await small_site(tmp_path)
    store = tmp_path / "data" / FILE_NAME
    with apsw.Connection(str(store)) as connection:
        part = outbox.read(connection, "normal", 1, outbox.LAST_POS, 1, 1)
        refused = outbox.Refused(part.rows[0].pos, "normal", 5, 5, "no")
        outbox.set_aside(connection, 1, part.through, refused)
    before = all_of(store)
    arguments = ["downgrade", "--config", str(site.config_path), "--schema"]
    for version in ("1", "5"):
        assert gatepost(*arguments, version) == 2
        assert (
            f"version {version} has no place for rows that the office refuses (1 here)"
            in capsys.readouterr().err
        )
    assert all_of(store) == before
    assert gatepost(*arguments, "6") == 0
    assert all_of(store)["refused"] == [tuple(refused)]


async def test_a_store_of_a_newer_program_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = await small_site(tmp_path)
    store = tmp_path / "data" / FILE_NAME
    newest = len(schema_steps())
    with apsw.Connection(str(store)) as connection:
        connection.pragma("user_version", newest + 1)
    before = all_of(store)
    assert gatepost("downgrade", "--config", str(site.config_path), "--schema", str(newest)) == 2
    assert f"version {newest + 1}" in capsys.readouterr().err
    assert all_of(store) == before


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
