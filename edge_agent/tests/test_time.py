"""Time end to end on the real agent: an edge without time, its clock being set, later statements in log and outbox."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_agent import own_events
from edge_agent.clock import Clock
from edge_agent.discipline import KERNEL, MOST_ERROR_MS, SYSTEM, Discipline
from edge_agent.store import loose
from edge_agent.store.events import Row
from edge_agent.tests.device import Device, PtyWire, sync
from edge_agent.tests.harness import OWN, Site, until
from edge_agent.tests.office import Office
from edge_agent.timing import UNKNOWN_MS
from gatelink import cbor
from gatelink.messages import Ack, Welcome

T0 = 1_790_000_000_000


class World:
    """Time that passes when told to."""

    def __init__(self, *, synced: bool = True) -> None:
        self.true_ms = T0
        self.wrong_ms = 0
        self.synced = synced

    def clock(self) -> Clock:
        return Clock(
            wall=lambda: self.true_ms + self.wrong_ms,
            steady=lambda: self.true_ms - T0,
            synced=lambda: self.synced,
        )


def taken(device: Device, wire: PtyWire, kind: type) -> list[Any]:
    while not wire.inbox.empty():
        device.take(wire.inbox.get_nowait())
    return [message for message in device.taken if isinstance(message, kind)]


async def answered(device: Device, wire: PtyWire, anchor: Any = None) -> Ack:
    """A STATUS and its answer."""
    uptime_ms = device.uptime_ms
    wire.send(device.status(anchor))
    await until(lambda: any(a.clock and a.clock[0] == uptime_ms for a in taken(device, wire, Ack)))
    found: Ack = next(a for a in device.taken if isinstance(a, Ack) and a.clock and a.clock[0] == uptime_ms)
    return found


def restated(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row.device == 7 and not row.items and row.mac8 is None]


async def test_an_edge_that_learns_the_time_later(tmp_path: Path) -> None:
    office = Office()
    await office.start()
    site = Site(tmp_path, office=office.config(), more='[time]\nsource = "kernel"\n')
    device, wire = site.devices[0], PtyWire(site.link)
    world = World(synced=False)
    world.wrong_ms = -400 * 86_400_000
    async with site.agent(world.clock()) as agent:
        for _ in range(5):
            device.mint()
        await sync(device, wire)
        assert [w.edge_ms for w in taken(device, wire, Welcome)] == [None]
        assert (await answered(device, wire)).clock[1:] == [None, 0]
        await until(lambda: agent.ingest.waiting == 0)
        (first,) = [row for row in site.rows() if row.device == 7 and row.items]
        assert (first.t_lo_ms, first.t_hi_ms) == (0, UNKNOWN_MS)
        assert next((r.t_lo_ms, r.t_hi_ms) for r in site.rows() if r.device == OWN) == (0, UNKNOWN_MS)
    # also after a restart of the agent the run is remembered
    async with site.agent(world.clock()) as agent:
        wire.send(device.hello())
        await until(lambda: agent.switchboard.sessions[7].frames == 1)
        world.synced, world.wrong_ms = True, 0
        world.true_ms += 10_000
        device.uptime_ms += 10_000
        at = device.uptime_ms
        clock = (await answered(device, wire)).clock
        assert abs(clock[1] - world.true_ms) <= 1
        world.true_ms += 100
        device.uptime_ms += 100
        await answered(device, wire, (at, clock[1], clock[2] + 5))
        await until(lambda: any(row.t_lo_ms for row in restated(site.rows())))
        bound, row = restated(site.rows())  # over by the first contact at a known time; then both ends
        assert (bound.t_lo_ms, bound.skipped) == (0, 5)
        assert (row.first_seq, row.last_seq, row.skipped, row.uptime_cs) == (1, 0, 5, first.uptime_cs)
        true_ms = T0 + 10_000 - at + first.uptime_cs * 10
        assert row.t_lo_ms <= true_ms <= row.t_hi_ms <= row.t_lo_ms + 200
        # what was said first stays, and nothing is left to tighten
        assert next(r for r in site.rows() if r.pos == first.pos) == first
        assert loose.load(agent.database.writer) == {}
        await until(lambda: len(office.restated) == 2)
        assert office.restated[1] == (7, 1, 1, 5, first.uptime_cs, row.t_lo_ms, row.t_hi_ms)
        own = [cbor.loads(r.items) for r in site.rows() if r.device == OWN]
        assert [own_events.CLOCK_STEP, 400 * 86_400_000, 1] in own
    await office.stop()
    wire.close()


async def test_a_set_clock_is_an_event_and_widens_what_was_said_before(tmp_path: Path) -> None:
    site = Site(tmp_path)
    device, wire = site.devices[0], PtyWire(site.link)
    world = World()
    async with site.agent(world.clock()) as agent:
        await sync(device, wire)
        clock = (await answered(device, wire)).clock
        anchor = (device.uptime_ms, clock[1], clock[2])
        assert clock[2] <= 52
        for by_ms in (3_600_000, -7_200_000):
            world.wrong_ms += by_ms
            agent.switchboard.check_silence(60_000)
            await until(
                lambda by_ms=by_ms: (
                    [own_events.CLOCK_STEP, by_ms, 1]
                    in [cbor.loads(r.items) for r in site.rows() if r.device == OWN]
                )
            )
        assert agent.switchboard.sessions[7].online  # silence is not measured by the clock that was set
        device.uptime_ms += 1_000
        world.true_ms += 1_000
        clock = (await answered(device, wire, anchor)).clock
        # one of +1 h, 0 and -1 h was right
        assert 7_200_000 <= clock[2] <= 7_200_060
        device.mint()
        truth = world.true_ms + device.uptime_ms - anchor[0] - 1_000
        await sync(device, wire)
        row = next(r for r in site.rows() if r.device == 7 and r.items)
        assert row.t_lo_ms <= truth <= row.t_hi_ms
        assert row.t_hi_ms - row.t_lo_ms > 3_600_000
    wire.close()


def test_discipline_steps_and_sources() -> None:
    vouched = Discipline(50, SYSTEM)
    assert vouched.look(T0, 0) == 0
    assert vouched.error_ms == 50
    assert vouched.look(T0 + 1_000 + 99, 1_000) == 0  # within twice the error
    assert vouched.look(T0 + 2_000 + 199, 2_000) == 0  # slewed on
    assert vouched.look(T0 + 13_000 + 199, 3_000) == 10_000
    assert vouched.error_ms == 10_050
    assert vouched.look(T0 + 4_000 + 199, 4_000) == -10_000
    assert (vouched.error_ms, vouched.stepped_ms) == (10_050, 20_000)
    kernel = Discipline(50, KERNEL)
    kernel.look(T0, 0, synced=False)
    assert kernel.error_ms is None
    assert kernel.look(T0 + 60_000, 1_000, synced=True) == 59_000
    assert (kernel.error_ms, kernel.stepped_ms) == (50, 0)  # it was not known before
    assert kernel.look(T0, 2_000, synced=False) == -61_000
    assert (kernel.error_ms, kernel.stepped_ms) == (None, 61_000)
    unset = Discipline(50, SYSTEM)
    unset.look(1_000_000, 0)
    assert unset.error_ms is None
    unset.look(T0, 1_000)
    assert unset.error_ms == 50
    lost = Discipline(50, SYSTEM)
    lost.look(T0, 0)
    lost.look(T0 + MOST_ERROR_MS + 1_000, 1_000)
    assert lost.error_ms is None  # what may be off by more tells nothing, and no message has room for it
