"""What one device does, broken or in a stranger's hands, is not felt by the others; nor by those that come after it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edge_agent import own_events
from edge_agent.store import outbox
from edge_agent.tests.backlog import uploader_of
from edge_agent.tests.device import Device
from edge_agent.tests.harness import Site, until
from edge_agent.tests.office import Office
from edge_agent.tests.pump import Line, Pump, pump
from edge_agent.transports.port import Listener
from edge_agent.transports.rs485 import Rs485Port
from edge_agent.transports.udp import WAITING_OUT, UdpPort
from gatelink import cbor, events, framing
from gatelink.messages import Events, Hello, Status
from tools.office import batch

BAD, GOOD = 7, 8
KEYS = {BAD: (bytes(range(32)), 0), GOOD: (bytes(range(1, 33)), 0)}
TOP_SEQ, TOP_CS = (1 << 32) - 1, (1 << 40) - 1
TWO = events.join([0, 1], [events.encode(events.SOS, None)] * 2)


def pair() -> tuple[Device, Device]:
    return Device(BAD, KEYS[BAD][0]), Device(GOOD, KEYS[GOOD][0])


def hello(device: Device, seq: int) -> bytes:
    """One of a device that holds nothing and goes on at `seq`."""
    return device.send(Hello(1, device.boot, device.nonce, device.uptime_ms, 1, "x", seq, seq))


NEW_KEY = bytes(range(2, 34))


@contextmanager
def provisioned_anew(folder: Path, device: Device) -> Iterator[Pump]:
    """An edge that has the first three events of `device`, whose number then got a new key."""
    with pump(folder, KEYS) as edge:
        edge.take(device.hello())
        edge.take(device.batch(1, 3))
        edge.write_devices({**KEYS, BAD: (NEW_KEY, 1)})
        edge.restart()
        yield edge


def recorded(edge: Pump, kind: int) -> list[list[Any]]:
    """Payloads of the edge's own events of a kind."""
    own = [cbor.loads(row.items) for row in edge.rows() if row.device == 1]
    return [payload for payload in own if payload[0] == kind]


def taken_by_the_office(edge: Pump) -> None:
    for row in edge.rows():
        batch._run([*row[:9], *row[10:]], 0, 1)


async def test_a_number_beyond_the_last_one_breaks_nobodys_answers(tmp_path: Path) -> None:
    bad, good = pair()
    for _ in range(5):
        good.mint()
    with pump(tmp_path, KEYS) as edge:
        edge.take(good.hello())
        edge.take(hello(bad, TOP_SEQ))
        edge.take(bad.send(Events(TOP_SEQ, bad.boot, 100, TWO, None, 0, None)))
        assert len(recorded(edge, own_events.HELD_RAW)) == 1
        assert edge.session(BAD).acked_seq == TOP_SEQ
        # One commit, the broken one first.
        assert len(edge.take(hello(bad, TOP_SEQ), good.batch(1, 5))) == 2
        assert edge.session(GOOD).acked_seq == 5
        edge.take(hello(bad, TOP_SEQ), hello(good, 100))
        assert recorded(edge, own_events.NEVER_SEEN)[-1] == [own_events.NEVER_SEEN, GOOD, 6, 99]
        assert len(edge.take(bad.status(), good.status())) == 2
        edge.restart()
        assert len(edge.take(hello(bad, TOP_SEQ), good.hello())) == 2
        taken_by_the_office(edge)


async def test_times_beyond_the_last_one_are_kept_raw_and_none_goes_to_the_office(tmp_path: Path) -> None:
    bad, _ = pair()
    with pump(tmp_path, KEYS) as edge:
        edge.take(bad.hello())
        assert edge.take(bad.send(Events(1, bad.boot, TOP_CS, TWO, None, 0, None)))
        assert edge.session(BAD).acked_seq == 2
        assert len(recorded(edge, own_events.HELD_RAW)) == 1
        edge.take(bad.send(Status((1 << 48) - 1, None, 3_700, 0, (0, 0, 0), 2, bytes(8))))
        assert not [row for row in edge.rows() if row.device == BAD]
        edge.take(bad.send(Events(3, bad.boot, TOP_CS - 1, TWO, None, 0, None)))
        assert [row.first_seq for row in edge.rows() if row.device == BAD] == [3]
        taken_by_the_office(edge)


async def test_a_watermark_of_an_older_version_beyond_the_last_number_is_mended(tmp_path: Path) -> None:
    bad, _ = pair()
    with pump(tmp_path, KEYS) as edge:
        edge.take(bad.hello())
        edge.agent.database.writer.execute("UPDATE device SET upto = ? WHERE device = ?", (TOP_SEQ + 1, BAD))
        edge.restart()
        assert len(edge.take(hello(bad, TOP_SEQ))) == 1


async def test_refused_rows_of_one_device_do_not_hold_up_the_alarms_of_another(
    tmp_path: Path, office: Office
) -> None:
    await office.stop()
    site = Site(tmp_path, ports="", office=office.config())
    bad, good = site.devices
    line = Line()
    async with site.agent() as agent:
        agent.switchboard.frames(line, None, [bad.hello(), good.hello()])
        for _ in range(80):
            bad.mint(events.SOS, None)
        for seq in range(1, 81):
            agent.switchboard.frames(line, None, [bad.batch(seq, 1)])
        good.mint(events.SOS, None)
        await until(lambda: agent.switchboard.sessions[BAD].acked_seq == 80)
        agent.switchboard.frames(line, None, [good.batch(1, 1)])
        await until(lambda: agent.switchboard.sessions[GOOD].acked_seq == 1)
        office.refuses = {row.pos for row in site.rows() if row.device == BAD and row.items}
        assert len(office.refuses) == 80
        await office.start()
        await until(lambda: len(office.of(GOOD)) == 1)
        good.mint(events.SOS, None)
        agent.switchboard.frames(line, None, [good.batch(2, 1)])
        await until(lambda: len(office.of(GOOD)) == 2)
        await until(lambda: outbox.refusals(agent.database.writer)[0] == 80)
        assert not uploader_of(agent).lanes["alarm"].error


async def test_what_a_board_that_took_anothers_place_holds_is_taken(tmp_path: Path) -> None:
    old, _ = pair()
    for _ in range(3):
        old.mint()
    with provisioned_anew(tmp_path, old) as edge:
        new = Device(BAD, NEW_KEY, epoch=1, seed=5)
        for _ in range(30):
            new.mint()
        edge.take(new.hello())
        assert edge.session(BAD).acked_seq == 0  # what it is told to forget
        edge.take(new.hello())
        edge.take(new.batch(1, 30))
        assert edge.session(BAD).acked_seq == 30
        rows = [row for row in edge.rows() if row.device == BAD and row.items]
        assert [(row.first_seq, row.last_seq) for row in rows[-1:]] == [(1, 30)]
        assert recorded(edge, own_events.SEQ_RESTARTED) == [[own_events.SEQ_RESTARTED, BAD, 1]]


async def test_a_board_that_keeps_its_journal_goes_on_after_a_new_key(tmp_path: Path) -> None:
    device, _ = pair()
    for _ in range(6):
        device.mint()
    with provisioned_anew(tmp_path, device) as edge:
        again = Device(BAD, NEW_KEY, epoch=1)
        again.journal, again.chain = device.journal, device.chain
        again.restart()
        edge.take(again.hello(4))
        assert edge.session(BAD).acked_seq == 3
        assert not recorded(edge, own_events.SEQ_RESTARTED)


async def test_who_revokes_again_waits_for_the_disk_too(tmp_path: Path) -> None:
    device, _ = pair()
    with pump(tmp_path, KEYS) as edge:
        edge.take(device.hello())
        orders = [asyncio.create_task(edge.agent.orders.revoke(BAD)) for _ in range(2)]
        for _ in range(5):
            await asyncio.sleep(0)
        assert not any(order.done() for order in orders)
        orders[0].cancel()
        edge.flush()
        await asyncio.wait_for(orders[1], 5)
        edge.restart()
        assert edge.agent.switchboard.revoked == {BAD}


@pytest.mark.parametrize("set_ms", [0, -400 * 86_400_000])
async def test_a_rotation_waits_no_longer_because_the_clock_is_set_back(tmp_path: Path, set_ms: int) -> None:
    device, _ = pair()
    with pump(tmp_path, KEYS) as edge:
        edge.take(device.hello())
        edge.session(BAD).rotation._retry_ms = 1
        order = asyncio.create_task(edge.agent.orders.rotate(BAD, 100))
        await asyncio.sleep(0)
        edge.set_ms = set_ms
        edge.now_ms += 1_000
        edge.flush()
        assert await asyncio.wait_for(order, 5) == (1, False, "")


async def test_no_port_is_read_again_while_the_agent_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, _ = pair()
    said: list[str] = []
    with pump(tmp_path, KEYS, "[commit]\nqueue_frames = 16\n") as edge:
        monkeypatch.setattr(edge.line, "pause", lambda: said.append("pause"))
        monkeypatch.setattr(edge.line, "resume", lambda: said.append("resume"))
        edge.agent.ports.append(edge.line)
        edge.take(device.hello())
        for seq in range(1, 30):
            device.mint()
            edge.agent.switchboard.frames(edge.line, None, [device.batch(seq, 1)])
        assert said == ["pause"]
        stopping = asyncio.create_task(edge.agent.stop())
        await until(lambda: len(said) == 2)
        edge.flush()
        assert said == ["pause", "pause"]
        stopping.cancel()


async def test_a_bus_that_is_paused_lets_nobody_in(tmp_path: Path) -> None:
    device, _ = pair()
    frames, refused = [], []
    listener = Listener(
        lambda _, __, found: frames.extend(found),
        lambda _, reason, count: refused.append((reason, count)),
        lambda *_: None,
        lambda *_: None,
    )
    port = Rs485Port("bus", str(tmp_path / "none"), 115_200, 1.0, listener, [BAD])
    port.pause()
    port.feed(framing.encode(device.status()))
    assert (frames, ("queue_full", 1) in refused) == ([], True)
    port.resume()
    port.feed(framing.encode(device.status()))
    assert len(frames) == 1


async def test_a_socket_that_takes_nothing_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener(*[lambda *_: None] * 4)
    port = UdpPort("udp", ("127.0.0.1", 0), listener)
    await port.start()
    transport: Any = port._transport
    real = transport._sock

    class Full:
        """A socket whose buffer stays full."""

        def sendto(self, *_: object) -> int:
            raise BlockingIOError

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

    monkeypatch.setattr(transport, "_sock", Full())
    for _ in range(3_000):
        port.send(("127.0.0.1", 9), bytes(60))
    assert port.dropped_out > 1_000
    assert transport.get_write_buffer_size() <= WAITING_OUT + 100
    monkeypatch.setattr(transport, "_sock", real)
    transport.abort()
