"""Events from devices over a real PTY and over UDP into the store; faults of the way."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from edge_agent.tests.device import PtyWire, UdpWire, sync
from edge_agent.tests.harness import OWN, Site, until
from gatelink import events, messages


async def test_serial_to_store(tmp_path: Path) -> None:
    site = Site(tmp_path)
    device = site.devices[0]
    for _ in range(500):
        device.mint()
    wire = PtyWire(site.link)
    async with site.agent() as agent:
        await sync(device, wire)
        assert agent.switchboard.sessions[7].acked_seq == 500
    site.check(device)
    assert (
        next(e[2] for e in site.events(OWN).values())[:3] == events.encode(events.BOOT, 0, "edge 0.1.0")[:3]
    )
    wire.close()


async def test_two_devices_at_once_on_udp_with_loss_duplicates_and_disorder(tmp_path: Path) -> None:
    site = Site(tmp_path)
    async with site.agent() as agent:
        wires = []
        for device in site.devices:
            for _ in range(300):
                device.mint()
            wire = await UdpWire.to(site.udp_port)
            rng = random.Random(device.device)
            held: list[bytes] = []

            def fault(frame: bytes, rng: random.Random = rng, held: list[bytes] = held) -> list[bytes]:
                if rng.random() < 0.3:
                    return []
                out = [frame, frame] if rng.random() < 0.2 else [frame]
                if rng.random() < 0.3:
                    held.extend(out)
                    return []
                out += held
                held.clear()
                return out

            wire.fault = fault
            wire.drop_down = lambda _, rng=rng: rng.random() < 0.3
            wires.append(wire)
        await asyncio.gather(*(sync(d, w, batch=7) for d, w in zip(site.devices, wires, strict=True)))
        assert agent.rejects.by_device[7]["replayed"] > 0
    for device, wire in zip(site.devices, wires, strict=True):
        site.check(device)
        wire.close()


async def test_one_byte_at_a_time_between_noise(tmp_path: Path) -> None:
    site = Site(tmp_path)
    device = site.devices[0]
    device.mint()
    wire = PtyWire(site.link)
    async with site.agent() as agent:
        await until(lambda: agent.ports[0].up)
        wire.raw(b"\xff\x01boot messages of some chip\r\n\x00")
        whole = []
        wire_send = wire.raw
        for frame in (device.hello(), device.batch(1, 1)):
            whole.append(frame)
        from gatelink import framing

        for frame in whole:
            for byte in framing.encode(frame):
                wire_send(bytes([byte]))
        await until(lambda: agent.switchboard.sessions[7].acked_seq == 1)
        assert sum(agent.rejects.by_port["A"].values()) == 1
    site.check(device)
    wire.close()


async def test_port_vanishes_and_returns(tmp_path: Path) -> None:
    site = Site(tmp_path)
    device = site.devices[0]
    wire = PtyWire(site.link)
    async with site.agent() as agent:
        port = agent.ports[0]
        for losses in range(1, 4):
            for _ in range(50):
                device.mint()
            await until(lambda: port.up)
            wire.send(device.batch(device.acked + 1, 10)) if device.welcomed else None
            wire.unplug()
            await until(lambda n=losses: port.losses == n and not port.up)
            wire.plug()
            await until(lambda: port.up)
            await sync(device, wire)
    site.check(device)
    own = [payload for _, _, payload in site.events(OWN).values()]
    assert sum(1 for payload in own if payload[:3] == b"\x83\x18\x43") == 6  # three times lost and back
    wire.close()


async def test_port_that_is_not_there_at_the_start(tmp_path: Path) -> None:
    site = Site(tmp_path)
    device = site.devices[0]
    device.mint()
    async with site.agent():
        wire = PtyWire(site.link)
        await sync(device, wire)
    site.check(device)
    wire.close()


async def test_lost_acks_are_answered_again(tmp_path: Path) -> None:
    site = Site(tmp_path)
    device = site.devices[0]
    for _ in range(40):
        device.mint()
    wire = PtyWire(site.link)
    lost = []

    def drop(frame: bytes) -> bool:
        lost.append(frame)
        return len(lost) % 4 != 0

    wire.drop_down = drop
    async with site.agent() as agent:
        await sync(device, wire, batch=5, rto_s=0.03)
        assert agent.ingest.duplicates > 0
    site.check(device)
    wire.close()


async def test_exact_retransmission_is_a_replay_and_is_acknowledged_again(tmp_path: Path) -> None:
    site = Site(tmp_path)
    device = site.devices[0]
    device.mint()
    wire = PtyWire(site.link)
    async with site.agent() as agent:
        await sync(device, wire)
        device.mint()
        frame = device.batch(2, 1)
        wire.send(frame)
        await until(lambda: device.take(wire.inbox.get_nowait()) if not wire.inbox.empty() else False)
        taken = len(device.taken)
        wire.send(frame)
        await until(lambda: device.take(wire.inbox.get_nowait()) if not wire.inbox.empty() else False)
        assert isinstance(device.taken[taken], messages.Ack)
        assert device.taken[taken].acked_seq == 2
        assert agent.rejects.by_device[7]["replayed"] == 1
    site.check(device)
    wire.close()


async def test_alarm_ahead_of_the_backlog_and_gaps_in_the_ack(tmp_path: Path) -> None:
    site = Site(tmp_path)
    device = site.devices[0]
    wire = PtyWire(site.link)
    async with site.agent() as agent:
        await sync(device, wire)
        for _ in range(30):
            device.mint()
        alarm = device.mint(events.SOS, None)
        for _ in range(9):
            device.mint()
        wire.send(device.batch(alarm, 1))
        await until(lambda: not wire.inbox.empty())
        ack = device.take(wire.inbox.get_nowait())
        assert (ack.acked_seq, [list(gap) for gap in ack.gaps]) == (0, [[1, 30]])
        await sync(device, wire, batch=40)
        assert agent.ingest.duplicates == 1
    site.check(device)
    alarms = [row for row in site.rows() if row.device == 7 and row.priority == 2]
    assert [(row.first_seq, row.last_seq) for row in alarms] == [(alarm, alarm)]
    last = next(row for row in site.rows() if row.last_seq == 40 and row.items)
    assert last.mac8 == device.chain
    wire.close()
