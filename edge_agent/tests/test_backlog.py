"""Outages and what follows them: live rows ahead of a backlog, refused rows, links that are slow, silent or back."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import pytest

from edge_agent.coverage import Coverage
from edge_agent.errors import OfficeDeniedError, OfficeRefusedError, OfficeUnreachableError
from edge_agent.store import outbox
from edge_agent.store.database import Database
from edge_agent.store.events import Row
from edge_agent.store.outbox import LAST_POS, Part
from edge_agent.sync import columns
from edge_agent.sync.probe import Probe
from edge_agent.sync.refusals import cut, of_rows
from edge_agent.sync.sizing import FIRST_BYTES, LEAST_BYTES, SLOW_S, Sizing
from edge_agent.sync.spans import MAX_AHEAD, Spans
from edge_agent.tests.backlog import complete, outage, uploader_of
from edge_agent.tests.device import PtyWire, sync
from edge_agent.tests.harness import Process, Site, until
from edge_agent.tests.office import Office
from edge_agent.tests.proxy import Proxy
from edge_agent.timing import UNKNOWN_MS


async def test_a_live_event_overtakes_the_backlog_and_nothing_is_sent_twice(
    tmp_path: Path, office: Office
) -> None:
    site = Site(tmp_path, office=office.config(batch_rows=2, in_flight=2))
    wire = await outage(site, office, 400)
    device = site.devices[0]
    office.delay_s = 0.02
    await office.start()
    async with site.agent() as agent:
        lane = uploader_of(agent).lanes["normal"]
        await until(lambda: lane.spans.live_from)
        live = device.mint()
        began = time.monotonic()
        await sync(device, wire)
        await until(lambda: (7, 1, live) in office.events)
        took_s = time.monotonic() - began
        assert len(office.of(7)) < 300, "the backlog was drained first"
        await until(lambda: lane.spans.covered.islands, what="nothing was delivered ahead")
        office.delay_s = 0
        await until(lambda: complete(office, device))
        await until(lambda: lane.spans.covered.islands == [])
    print(f"live event at the office after {took_s * 1000:.0f} ms, beside a backlog of 400")
    assert office.doubled == 0
    assert took_s < 2
    wire.close()


async def test_a_kill_in_a_drain_with_rows_ahead_loses_and_doubles_nothing(tmp_path: Path, office: Office) -> None:
    site = Site(tmp_path, office=office.config(batch_rows=2, in_flight=3))
    wire = await outage(site, office, 200)
    device = site.devices[0]
    office.delay_s = 0.01
    await office.start()
    for _ in range(4):
        agent = Process(site)
        await agent.start()
        before = len(office.events)
        await until(lambda before=before: len(office.events) > before)
        device.mint()
        await sync(device, wire)
        await agent.kill()
    office.delay_s = 0
    async with site.agent() as last:
        lane = uploader_of(last).lanes["normal"]
        await until(lambda: complete(office, device))
        await until(lambda: not lane.spans.covered.islands and not lane.under_way)
    database = Database(tmp_path / "data")
    lanes = outbox.lanes(database.writer)
    assert lanes["normal"].appended - lanes["normal"].delivered <= 1  # its own STOPPED
    database.close()
    wire.close()


async def test_an_office_that_lets_this_edge_not_in_is_not_knocked_at(tmp_path: Path, office: Office) -> None:
    site = Site(tmp_path, office=office.config(probe_s=0.1))
    async with site.agent() as agent:
        uploader = uploader_of(agent)
        await until(lambda: uploader.lanes["normal"].delivered)
        before = uploader.probe.tries
        await uploader._pause(0.3, OfficeDeniedError("revoked", "enrol again"))
        assert uploader.probe.tries == before
        uploader._reached.clear()
        await asyncio.gather(*(uploader._pause(0.3, OfficeUnreachableError("HTTP 503")) for _ in range(2)))
        assert uploader.probe.tries > before


async def test_uploads_are_compressed_and_an_older_office_gets_them_as_it_knows_them(
    tmp_path: Path, office: Office
) -> None:
    site = Site(tmp_path, office=office.config())
    office.old = True
    wire = await outage(site, office, 50)
    await office.start()
    async with site.agent() as agent:
        await until(lambda: complete(office, site.devices[0]))
        assert office.coded == 1
        await office.stop()
        office.old = False  # renewed
        site.devices[0].mint()
        await sync(site.devices[0], wire)
        await until(lambda: uploader_of(agent).lanes["normal"].error)
        await office.start()
        await until(lambda: complete(office, site.devices[0]))
        assert office.coded > 1
    assert office.doubled == 0
    wire.close()


@pytest.mark.parametrize("takes_connections", [False, True])
async def test_a_link_that_returns_is_used_at_once(
    tmp_path: Path, office: Office, *, takes_connections: bool
) -> None:
    """Nobody listens; or something on the way takes connections and resets them."""
    proxy = Proxy(office.port)
    await proxy.start()
    if takes_connections:
        proxy.cut()
    else:
        await proxy.stop()
    site = Site(
        tmp_path,
        office=office.config(
            url=f"http://127.0.0.1:{proxy.port}", backoff_min_ms=600_000, backoff_max_ms=600_000, probe_s=0.1
        ),
    )
    async with site.agent() as agent:
        uploader = uploader_of(agent)
        await until(lambda: uploader.probe.tries >= 3)
        assert uploader.lanes["normal"].error
        assert uploader.uploads == 1, "the upload itself was tried again while the link was away"
        if takes_connections:
            proxy.mend()
        else:
            await proxy.start()
        began = time.monotonic()
        await until(lambda: uploader.lanes["normal"].delivered)
        print(f"used {time.monotonic() - began:.2f} s after it came back, in a pause of up to 600 s")
    await proxy.stop()


async def test_an_office_that_is_up_and_refuses_is_not_hammered(tmp_path: Path, office: Office) -> None:
    site = Site(
        tmp_path, office=office.config(backoff_min_ms=600_000, backoff_max_ms=600_000, probe_s=0.1)
    )
    office.status = 503
    async with site.agent() as agent:
        uploader = uploader_of(agent)
        await until(lambda: uploader.probe.tries >= 10)
        assert office.arrived == 1


async def test_a_half_open_link_is_noticed_by_silence_and_used_when_it_is_back(
    tmp_path: Path, office: Office
) -> None:
    proxy = Proxy(office.port)
    await proxy.start()
    site = Site(
        tmp_path,
        office=office.config(url=f"http://127.0.0.1:{proxy.port}", timeout_s=0.3, probe_s=0.1),
    )
    device, wire = site.devices[0], PtyWire(site.link)
    async with site.agent() as agent:
        uploader = uploader_of(agent)
        await until(lambda: uploader.lanes["normal"].delivered)
        proxy.hold()
        for _ in range(50):
            device.mint()
        await sync(device, wire)
        await until(lambda: "no answer within" in uploader.lanes["normal"].error)
        budget = uploader.lanes["normal"].sizing.budget
        assert budget < FIRST_BYTES
        proxy.release()
        await until(lambda: complete(office, device))
    await proxy.stop()
    wire.close()


async def test_a_slow_link_carries_backlog_and_live_events_without_giving_up(tmp_path: Path, office: Office) -> None:
    """As over 9,600 baud (960 bytes a second), four times faster so that it ends."""
    proxy = Proxy(office.port, bytes_a_second=4 * 960)
    await proxy.start()
    url = f"http://127.0.0.1:{proxy.port}"
    site = Site(tmp_path, office=office.config(url=url, timeout_s=6))
    wire = await outage(site, office, 1_200)
    await office.start()
    device = site.devices[0]
    async with site.agent() as agent:
        lane = uploader_of(agent).lanes["normal"]
        await until(lambda: lane.spans.live_from)
        live = device.mint()
        began = time.monotonic()
        await sync(device, wire)
        await until(lambda: (7, 1, live) in office.events)
        took_s = time.monotonic() - began
        assert len(office.of(7)) < 1_200
        await until(lambda: complete(office, device), 60)
        await until(lambda: not lane.under_way, 30)
        assert lane.sizing.in_flight <= 2
    print(f"live event at the office after {took_s:.2f} s over {4 * 960} bytes/s beside a backlog of 1,200")
    assert office.doubled == 0, "an upload that was on its way was given up"
    await proxy.stop()
    wire.close()


# Pure parts.


def test_size_follows_the_link() -> None:
    lan = Sizing(262_144, 16)
    assert (lan.budget, lan.in_flight) == (8_192, 2)
    for _ in range(60):  # an office that takes 40 uploads a second behind a way of 0.2 s: 8 are on it
        under_way = lan.in_flight
        lan.succeeded(lan.budget, full=True, took_s=max(0.2, under_way / 40), under_way=under_way)
    assert lan.budget == 262_144
    assert 8 <= lan.in_flight <= 12
    lan.succeeded(100, full=False, took_s=0.02, under_way=1)
    assert lan.budget == 262_144
    near = Sizing(262_144, 16)
    for _ in range(60):  # the same office next door: more than a few would only wait there
        under_way = near.in_flight
        near.succeeded(near.budget, full=True, took_s=max(0.005, under_way / 40), under_way=under_way)
    assert near.in_flight <= 5
    far = Sizing(262_144, 16)
    for _ in range(60):  # one that is never busy: as many as are allowed
        far.succeeded(far.budget, full=True, took_s=0.2, under_way=far.in_flight)
    assert far.in_flight == 16
    slow = Sizing(262_144, 16)
    for _ in range(20):  # as over 9,600 baud, compressed to a third
        size = slow.budget
        slow.succeeded(size, full=True, took_s=size / 3 / 960 * slow.in_flight, under_way=slow.in_flight)
    assert slow.in_flight == 1
    assert slow.budget / 3 / 960 <= SLOW_S + 0.01
    for _ in range(10):
        slow.failed()
    assert slow.budget == LEAST_BYTES
    tight = Sizing(1_024, 1)
    tight.failed()
    tight.succeeded(1_024, full=True, took_s=0.0, under_way=1)
    assert (tight.budget, tight.in_flight) == (1_024, 1)


def row(pos: int, rng: random.Random) -> Row:
    first, count = rng.randrange(1, 10**6), rng.randrange(0, 65)
    low = rng.choice([0, rng.randrange(1, 1 << 47)])
    high = rng.choice([UNKNOWN_MS, low + rng.randrange(0, 1 << 40)])
    mac = rng.choice([None, rng.randbytes(8)])
    return Row(
        pos, rng.choice([7, 8, 0xFFFFFFFF]), rng.randrange(1 << 24), first, first + count - 1, rng.randrange(1 << 40),
        low, high, rng.randrange(1 << 48), rng.randrange(2), rng.randrange(5), mac,
        rng.randbytes(rng.randrange(40)), mac,
    )  # fmt: skip


def test_columns_give_the_rows_back() -> None:
    for seed in range(200):
        rng = random.Random(seed)
        rows = [row(pos, rng) for pos in sorted(rng.sample(range(1, 10**6), rng.randrange(0, 30)))]
        assert columns.unpack(columns.pack(rows)) == [[*each[:9], *each[10:]] for each in rows], f"seed {seed}"


def part(first: int, through: int, positions: list[int], *, full: bool, head: int) -> Part:
    rng = random.Random(1)
    return Part(first, through, [row(pos, rng) for pos in positions], full, head)


@pytest.mark.parametrize("seed", range(60))
def test_spans_send_every_position_once_live_ones_ahead_and_stay_bounded(seed: int) -> None:
    """Positions come in, uploads of random size end in random order or fail; every position is delivered once."""
    rng = random.Random(seed)
    spans = Spans(Coverage())
    head, delivered = rng.choice([0, 5, 3_000]), set[int]()
    under_way: list[Part] = []
    for step in range(40_000):
        if step >= 1_500 and spans.covered.upto == head:
            break
        if step < 1_500:
            head += rng.choice([0, 0, 1, 3, 40 if seed % 2 else 1])
        live = rng.random() < 0.5
        span = spans.next_live() if live else spans.next()
        if span is not None and len(under_way) < 5:
            first, last = span
            through = min(last, head, first + rng.randrange(1, 20) - 1)
            if through >= first:
                full = through < min(last, head)
                found = part(first, through, list(range(first, through + 1)), full=full, head=head)
                spans.read(found, live=live, behind_rows=30)
                under_way.append(found)
        if under_way and rng.random() < 0.6:
            ended = under_way.pop(rng.randrange(len(under_way)))
            if rng.random() < 0.9:
                positions = {each.pos for each in ended.rows}
                assert not positions & delivered
                delivered |= positions
                spans.done(ended.first, ended.through)
            spans.ended(ended)
        assert len(spans.covered.islands) <= MAX_AHEAD + 6
    assert delivered == set(range(1, head + 1)), f"seed {seed}"
    assert spans.covered.upto == head
    assert spans.next() == (head + 1, LAST_POS)


async def test_a_probe_counts_a_change_only() -> None:
    up = True

    async def reached() -> bool:
        return up

    probe = Probe(reached, 0.01, random.Random(1))
    waiting = asyncio.create_task(probe.back(away=False))
    await until(lambda: probe.tries > 5)
    assert not waiting.done()
    up = False
    tries = probe.tries
    await until(lambda: probe.tries > tries + 1)
    assert not waiting.done()
    up = True
    async with asyncio.timeout(5):
        await waiting
        await probe.back(away=True)


def test_a_refusal_is_cut_down_to_the_row_that_it_names() -> None:
    whole = part(90, 130, [100, 105, 110, 120], full=True, head=500)

    def bounds(field: str, status: int = 422) -> list[tuple[int, int, list[int]]]:
        error = OfficeRefusedError(status, field, "")
        assert of_rows(error)
        return [(p.first, p.through, [r.pos for r in p.rows]) for p in cut(whole, error)]

    assert bounds("rows[1].items") == [(90, 100, [100]), (101, 105, [105]), (106, 130, [110, 120])]
    assert bounds("rows[0]") == [(90, 100, [100]), (101, 130, [105, 110, 120])]
    assert bounds("rows[3].mac8") == [(90, 110, [100, 105, 110]), (111, 130, [120])]
    halves = [(90, 105, [100, 105]), (106, 130, [110, 120])]
    assert bounds("rows[9]") == bounds("body", 413) == halves
    assert not cut(whole._replace(rows=whole.rows[:1]), OfficeRefusedError(422, "rows[0]", ""))
    for status, field in ((401, ""), (422, "edge"), (422, "rows"), (400, "rows[1]")):
        assert not of_rows(OfficeRefusedError(status, field, ""))
