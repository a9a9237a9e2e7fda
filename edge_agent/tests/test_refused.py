"""Rows that the office refuses for good: set aside, tried again, in nobody's way."""

from __future__ import annotations

from pathlib import Path

from edge_agent.store import outbox
from edge_agent.store.database import Database
from edge_agent.tests.backlog import complete, outage, uploader_of
from edge_agent.tests.device import PtyWire, sync
from edge_agent.tests.harness import Site, until
from edge_agent.tests.office import Office
from gatelink import events


async def test_a_refused_row_is_set_aside_and_taken_later(tmp_path: Path, office: Office) -> None:
    site = Site(tmp_path, office=office.config(batch_rows=50))
    wire = await outage(site, office, 100)
    device = site.devices[0]
    positions = [row.pos for row in site.rows() if row.device == 7 and row.items]
    bad = {positions[3], positions[4], positions[-1]}
    lost = {seq for row in site.rows() if row.pos in bad for seq in range(row.first_seq, row.last_seq + 1)}
    office.refuses = set(bad)
    await office.start()
    async with site.agent() as agent:
        uploader = uploader_of(agent)
        await until(lambda: len(office.of(7)) == 100 - len(lost))
        lane = uploader.lanes["normal"]
        await until(lambda: not lane.under_way)
        status = (await agent.reporter.snapshot())["office"]["refused"]
        assert (status["rows"], status["first"]["pos"]) == (3, min(bad))
        assert "is refused" in status["first"]["reason"]
        device.mint()
        await sync(device, wire)
        await until(lambda: (7, 1, 101) in office.events)  # nothing waits behind them
    async with site.agent() as agent:  # still refused
        await until(lambda: uploader_of(agent).uploads >= 3)
        assert set(range(1, 101)) - set(office.of(7)) == lost
    office.refuses = set()  # mended
    async with site.agent() as agent:
        await until(lambda: complete(office, device))
        await until(lambda: outbox.refusals(agent.database.writer)[0] == 0)
    database = Database(tmp_path / "data")
    lane_row = outbox.lanes(database.writer)["normal"]
    assert lane_row.appended - lane_row.delivered <= 1  # its own STOPPED
    database.close()
    wire.close()


async def test_fresh_rows_do_not_wait_behind_refused_ones_that_are_tried_again(
    tmp_path: Path, office: Office
) -> None:
    site = Site(tmp_path, office=office.config())
    wire = await outage(site, office, 120)
    device = site.devices[0]
    office.refuses = {row.pos for row in site.rows() if row.device == 7 and row.items}
    assert len(office.refuses) == 60
    await office.start()
    async with site.agent() as agent:
        await until(lambda: outbox.refusals(agent.database.writer)[0] == 60)
    office.refuses = set()
    office.delay_s = 0.1
    async with site.agent() as agent:
        await until(lambda: office.of(7))
        device.mint()
        await sync(device, wire)
        await until(lambda: (7, 1, 121) in office.events)
        assert len(office.of(7)) < 100, "the refused ones were tried first"
        office.delay_s = 0
        await until(lambda: complete(office, device))
    wire.close()


async def test_a_lane_that_has_nothing_to_send_is_well_again_when_the_trouble_is_over(
    tmp_path: Path, office: Office
) -> None:
    """Its only row is one that the office goes on refusing."""
    site = Site(tmp_path, office=office.config())
    device, wire = site.devices[0], PtyWire(site.link)
    office.refuses = set(range(1, 10_000))
    async with site.agent() as agent:
        device.mint(events.SOS, None)
        await sync(device, wire)
        await until(lambda: outbox.refused(agent.database.writer, "alarm", outbox.LAST_POS, 1))
    await office.stop()
    async with site.agent() as agent:
        lane = uploader_of(agent).lanes["alarm"]
        await until(lambda: lane.failures >= 2)
        assert lane.error
        await office.start()
        await until(lambda: not lane.error, what=lane.error)
        assert lane.failures == 0
    assert not office.of(7)
    wire.close()


async def test_an_office_that_refuses_every_row_stops_the_lane_and_sets_little_aside(
    tmp_path: Path, office: Office
) -> None:
    site = Site(tmp_path, office=office.config(batch_rows=100))
    wire = await outage(site, office, 400)
    office.refuses = set(range(1, 10_000))
    await office.start()
    async with site.agent() as agent:
        await until(lambda: "is refused" in uploader_of(agent).lanes["normal"].error)
        assert outbox.refusals(agent.database.writer)[0] <= 64
        office.refuses = set()
        await until(lambda: len(office.of(7)) >= 400 - 2 * 64)
    async with site.agent():
        await until(lambda: complete(office, site.devices[0]))
    wire.close()
