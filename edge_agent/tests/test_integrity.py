"""The tree over the delivered log: what a head covers, kills, pruned rows, an office that forgets."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from edge_agent.identity import verify
from edge_agent.integrity import tree
from edge_agent.integrity.leaves import Head, Leaves, fits, signed_bytes
from edge_agent.integrity.tree import Frontier
from edge_agent.store import outbox
from edge_agent.store import tree as trees
from edge_agent.store.database import Database
from edge_agent.store.events import Row
from edge_agent.tests.device import PtyWire, sync
from edge_agent.tests.harness import Process, Site, until
from edge_agent.tests.office import Office
from gatelink import events

LEAVES = Leaves("s1", "e1")
OLD = Path(__file__).parent / "databases"


@pytest.fixture
def site(tmp_path: Path, office: Office) -> Site:
    """One whose heads go out at once."""
    return Site(tmp_path, office=office.config(head_pause_s=0))


@pytest.fixture
async def wire(site: Site) -> AsyncIterator[PtyWire]:
    made = PtyWire(site.link)
    yield made
    made.close()


def store(site: Site) -> apsw.Connection:
    return apsw.Connection(str(site.folder / "data" / "edge.sqlite"))


def wanted(rows: list[Row], size: int) -> Frontier:
    """The tree over the first rows, computed from the rows alone."""
    frontier = Frontier()
    by_pos = {row.pos: row for row in rows}
    for pos in range(1, size + 1):
        row = by_pos.get(pos)
        frontier.append(LEAVES.hash(row[:9] + row[10:]) if row is not None else LEAVES.gap(pos))
    return frontier


def check(site: Site, rows: list[Row] | None = None) -> trees.State:
    """The tree in the store is that of the rows, node by node; every head is signed and is one of its beginnings."""
    connection = store(site)
    rows = site.rows() if rows is None else rows
    state = trees.state(connection)
    full = wanted(rows, state.size)
    assert (state.first_pos, state.frontier.to_bytes()) == (1, full.to_bytes())
    leaves = [trees.node(connection, 0, index) for index in range(state.size)]

    def node(level: int, index: int) -> bytes:
        part = Frontier()
        for leaf in leaves[index << level : (index + 1) << level]:
            part.append(leaf)
        return part.root()

    stored = dict(connection.execute("SELECT place, hash FROM tree_node"))
    wanted_nodes = [(level, index) for level in (0, 8, 16) for index in range(state.size >> level)]
    assert set(stored) == {trees.place(level, index) for level, index in wanted_nodes}
    assert all(stored[trees.place(level, index)] == node(level, index) for level, index in wanted_nodes)
    for row in (trees.HeadRow(*one) for one in connection.execute("SELECT * FROM head")):
        head = Head("s1", "e1", row.number, row.first_pos, row.size, row.root, row.time_ms)
        assert fits(head, row.public, row.signature)
        assert row.root == wanted(rows, row.size).root()
    connection.close()
    return state


def signed_through(office: Office) -> int:
    """The last row that the office has a head for."""
    return int(office.heads[-1]["first_pos"] + office.heads[-1]["size"] - 1) if office.heads else 0


async def test_heads_follow_what_is_delivered(site: Site, office: Office, wire: PtyWire) -> None:
    device = site.devices[0]
    async with site.agent() as agent:
        assert agent.keeper is not None
        await sync(device, wire)
        for _ in range(30):
            for _ in range(20):
                device.mint()
            device.mint(events.SOS, None)
            await sync(device, wire, batch=random.Random(3).randrange(1, 6))
        await until(lambda: office.heads and office.heads[-1]["size"] >= 60, what=agent.keeper.problem)
        through = outbox.delivered_through(agent.database.writer)
        await until(lambda: office.heads[-1]["size"] >= through)
        assert len(office.heads) >= 2
        assert [head["number"] for head in office.heads] == list(range(1, len(office.heads) + 1))
        found = agent.keeper.describe()
        assert (found["problem"], found["findings"], found["first_pos"]) == ("", [], 1)
        assert found["key"] == agent.identity.fingerprint
    state = check(site)
    assert state.size == trees.prunable_through(store(site)) >= 60


async def test_killed_at_any_moment_the_tree_is_that_of_the_rows(
    site: Site, office: Office, wire: PtyWire
) -> None:
    seed = 11
    print("seed", seed)
    rng = random.Random(seed)
    device = site.devices[0]
    agent = Process(site)
    await agent.start()
    kills = 6
    for _ in range(kills):
        heads, goal = len(office.heads), device.last_seq + rng.randrange(10, 150)
        for _ in range(200):
            device.mint()
        going = asyncio.create_task(sync(device, wire, batch=1))
        await until(lambda h=heads, g=goal: device.acked >= g and len(office.heads) > h, 20)
        await agent.kill()
        check(site)
        await agent.start()
        await going
    await until(lambda: len(office.of(7)) == device.last_seq, 20)
    await until(lambda: office.heads[-1]["size"] >= max(office.rows), 20)
    assert await agent.end() == 0
    check(site)
    numbers = [head["number"] for head in office.heads]
    print(kills, "kills,", len(numbers), "heads")
    assert numbers == list(range(1, len(numbers) + 1))


async def test_proofs_of_pruned_rows(site: Site, office: Office, wire: PtyWire) -> None:
    device = site.devices[0]
    async with site.agent() as agent:
        await sync(device, wire)
        for count in (300, 5):
            for _ in range(count):
                device.mint()
            device.mint(events.SOS, None)  # a row of its own
            await sync(device, wire, batch=1)
            await until(lambda: len(office.of(7)) == device.last_seq)
            await until(lambda: office.heads[-1]["size"] >= max(office.rows))
            if count == 300:
                before = site.rows()
                connection = store(site)
                connection.set_busy_timeout(5_000)
                through = trees.prunable_through(connection)
                connection.execute("DELETE FROM log WHERE pos <= ?", (through,))
        assert agent.keeper is not None
        assert not agent.keeper.problem
    rows = sorted({row.pos: row for row in [*before, *site.rows()]}.values())
    state = check(site, rows)
    assert state.size > through
    root = state.frontier.root()

    def node(level: int, index: int) -> bytes:
        return trees.node(connection, level, index)

    for row in rows[: state.size]:
        proof = tree.inclusion_proof(row.pos - 1, state.size, node)
        leaf = LEAVES.hash(row[:9] + row[10:])
        assert tree.included(leaf, row.pos - 1, state.size, proof, root)
    for size in range(1, state.size):
        proof = tree.consistency_proof(size, state.size, node)
        assert tree.consistent(size, state.size, wanted(rows, size).root(), root, proof)


async def test_a_row_taken_from_the_log_leaves_a_gap_that_is_stated(
    site: Site, office: Office, wire: PtyWire
) -> None:
    site.write()  # no office yet
    device = site.devices[0]
    async with site.agent():
        await sync(device, wire)
        for _ in range(9):
            device.mint()
        await sync(device, wire, batch=1)
    gone = site.rows()[1]
    with store(site) as connection:
        connection.execute("DELETE FROM log WHERE pos = ?", (gone.pos,))
    site.write(office=office.config(head_pause_s=0))
    async with site.agent() as agent:
        await until(
            lambda: office.heads
        )  # its tree has the leaf that says "no such row": the office checked that
        assert agent.keeper is not None
        assert trees.node(agent.database.writer, 0, gone.pos - 1) == LEAVES.gap(gone.pos)
    assert gone.pos not in office.rows


async def test_an_office_that_does_not_take_heads_stops_nothing_else(
    site: Site, office: Office, wire: PtyWire
) -> None:
    office.head_status = 404
    device = site.devices[0]
    async with site.agent() as agent:
        assert agent.keeper is not None
        await sync(device, wire)
        for _ in range(20):
            device.mint()
            await sync(device, wire)
        await until(lambda: agent.keeper.problem)
        await until(lambda: len(office.of(7)) == 20)
        assert "404" in agent.keeper.describe()["problem"]
        assert agent.keeper.describe()["delivered_rows"] == 0
        office.head_status = 0
        await until(lambda: office.heads, 20)
        await until(lambda: not agent.keeper.problem)
    check(site)


@pytest.mark.parametrize(
    "answer",
    [
        b'{"v":1,"state":"prove","number":1,"size":1e999,"findings":[]}',
        b'{"v":1,"state":"prove","number":1,"size":%d,"findings":[]}' % (1 << 64),
        b'{"v":1,"state":"prove","number":-1,"size":1,"findings":[]}',
        b"[" * 100_000,
    ],
    ids=lambda answer: answer[-30:].decode(),
)
async def test_an_answer_to_a_head_that_makes_no_sense_ends_nothing(
    site: Site, office: Office, wire: PtyWire, answer: bytes
) -> None:
    office.wrong_head = answer
    async with site.agent() as agent:
        keeper = agent.keeper
        assert keeper is not None
        await sync(site.devices[0], wire)
        await until(lambda: "can't be read" in keeper.problem)
        office.wrong_head = b""
        await until(lambda: office.heads, 20)
        await until(lambda: not keeper.problem)


async def test_an_office_that_lost_heads_is_named_and_gets_its_proof(
    site: Site, office: Office, wire: PtyWire
) -> None:
    device = site.devices[0]
    async with site.agent() as agent:
        await sync(device, wire)
        for _ in range(3):
            heads = len(office.heads)
            device.mint(events.SOS, None)
            await sync(device, wire)
            await until(lambda h=heads: len(office.heads) > h)
        await until(lambda: office.heads[-1]["size"] >= max(office.rows))
        acknowledged = office.heads.pop()["size"]
        device.mint(events.SOS, None)
        await sync(device, wire)
        await until(lambda: office.heads[-1]["size"] > acknowledged)
        assert agent.keeper is not None
        await until(lambda: agent.keeper.findings)
        assert agent.keeper.findings == ["office_lost"]


async def test_a_restored_store_goes_on_with_a_new_tree(site: Site, office: Office, wire: PtyWire) -> None:
    device = site.devices[0]
    async with site.agent() as agent:
        await sync(device, wire)
        for _ in range(300):
            device.mint()
        await sync(device, wire, batch=1)
        await until(lambda: office.heads and office.heads[-1]["size"] >= max(office.rows))
        assert agent.keeper is not None
        keeper = agent.keeper  # a head that it sends again would be of the tree before
        await until(lambda: keeper.describe()["delivered_rows"] == keeper.describe()["rows"])
    far = 1_800_000_000 << 20
    with store(site) as connection:
        state = trees.state(connection)
        connection.execute("UPDATE log SET pos = pos + ? WHERE pos > ?", (far, state.last_pos))
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('next_pos', ?)", (far + 1_000,))
    office.heads.clear()
    async with site.agent():
        device.mint(events.SOS, None)
        await sync(device, wire)
        await until(lambda: office.heads and office.heads[-1]["first_pos"] > far)
        await until(lambda: signed_through(office) >= max(office.rows))


async def test_a_damaged_tree_stops_no_event(site: Site, office: Office, wire: PtyWire) -> None:
    device = site.devices[0]
    for damage in ("UPDATE tree SET frontier = x'00'", "DELETE FROM tree", "UPDATE tree SET size = 77"):
        async with site.agent():
            device.mint(events.SOS, None)
            await sync(device, wire)
            await until(lambda: device.last_seq in office.of(7))
            await until(lambda: signed_through(office) >= max(office.rows))
        with store(site) as connection:
            connection.execute(damage)
        before = max(office.rows)
        office.heads.clear()
        async with site.agent():
            device.mint(events.SOS, None)
            await sync(device, wire)
            await until(lambda: signed_through(office) >= max(office.rows))
            assert office.heads[0]["first_pos"] == before + 1
        office.heads.clear()
        with store(site) as connection:  # what it goes on from is not this office's business here
            connection.execute("DELETE FROM head")


async def test_a_tree_that_has_lost_hashes_begins_anew(site: Site, office: Office, wire: PtyWire) -> None:
    device = site.devices[0]
    async with site.agent() as agent:
        device.mint(events.SOS, None)
        await sync(device, wire)
        assert agent.keeper is not None
        keeper = agent.keeper
        await until(lambda: keeper.describe()["delivered_rows"] >= 2)
    with store(site) as connection:
        connection.execute("DELETE FROM tree_node")
        before = trees.state(connection)
    office.heads.clear()
    async with site.agent() as agent:
        assert agent.keeper is not None
        keeper = agent.keeper
        device.mint(events.SOS, None)
        await sync(device, wire)
        await until(lambda: office.heads, 30)
        assert office.heads[0]["first_pos"] > before.last_pos
        device.mint(events.SOS, None)
        await sync(device, wire)
        await until(lambda: device.last_seq in office.of(7))
        await until(lambda: signed_through(office) >= max(office.rows))
        await until(lambda: not keeper.problem)


async def test_a_read_error_that_passes_leaves_no_problem_behind(
    site: Site, office: Office, wire: PtyWire
) -> None:
    async with site.agent() as agent:
        assert agent.keeper is not None
        keeper = agent.keeper
        await until(lambda: keeper.describe()["delivered_rows"])
        await until(lambda: keeper.describe()["delivered_rows"] == keeper.describe()["rows"])

        def fail(*_: object) -> bool:
            raise apsw.IOError("disk I/O error")

        assert keeper._reader.connection is not None
        keeper._reader.connection.exec_trace = fail
        keeper.delivered()
        await until(lambda: "disk I/O error" in keeper.problem)
        keeper._reader.connection.exec_trace = None
        await until(lambda: not keeper.problem)


def test_an_old_store_begins_behind_what_it_has_delivered(tmp_path: Path) -> None:
    shutil.copy(OLD / "v4.sqlite", tmp_path / "edge.sqlite")
    old = apsw.Connection(str(tmp_path / "edge.sqlite"))
    cursor = old.execute("SELECT max(cursor) FROM lane").get
    old.close()
    database = Database(tmp_path)
    state = trees.state(database.writer)
    assert cursor > 0
    assert (state.first_pos, state.size) == (cursor + 1, 0)
    database.close()


def test_a_signature_is_for_one_head_only(tmp_path: Path) -> None:
    from edge_agent import identity

    mine = identity.load_or_make(tmp_path)
    head = Head("s1", "e1", 4, 1, 900, bytes(32), 1_760_000_000_000)
    signature = mine.sign(signed_bytes(head))
    assert fits(head, mine.public, signature)
    assert not verify(mine.public, signature, signed_bytes(head)[20:])
    for other in (
        head._replace(site="s2"),
        head._replace(edge="e2"),
        head._replace(number=5),
        head._replace(first_pos=2),
        head._replace(size=901),
        head._replace(root=b"\x01" + bytes(31)),
        head._replace(time_ms=1_760_000_000_001),
        head._replace(root=b""),
    ):
        assert not fits(other, mine.public, signature)
