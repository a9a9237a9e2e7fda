"""Bad frames: counted by reason per port and device, visible in the status, never a crash, never an effect."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import aiohttp
import apsw

from edge_agent.daemon import Agent
from edge_agent.tests.device import Device, PtyWire, UdpWire, sync
from edge_agent.tests.harness import OWN, Site, until
from gatelink import cbor, events, framing
from gatelink.messages import Events


async def status(agent: Agent) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{agent.status.port}/status") as answer,
    ):
        assert answer.status == 200
        return dict(await answer.json())


async def test_every_kind_of_bad_frame_is_counted_and_has_no_effect(tmp_path: Path) -> None:
    site = Site(tmp_path)
    device = site.devices[0]
    wire = PtyWire(site.link)
    async with site.agent() as agent:
        await sync(device, wire)
        before = len(site.rows())
        device.mint()
        good = device.batch(1, 1)
        wrong_key = Device(7, bytes([99]) * 32)
        wrong_key.mint()
        wrong_key.ctr = 50_000
        stranger = Device(4711, bytes([1]) * 32)
        stranger.mint()
        for frame in (
            wrong_key.batch(1, 1),
            stranger.batch(1, 1),
            good[:-3],
            good[:10],
            good + b"\0",
            b"\x84" + good[1:],
            good[:-1] + bytes([good[-1] ^ 1]),
            device.seal(cbor.dumps([77, 1])),
            device.seal(b"\xff"),
            device.seal(cbor.dumps(["hello"])),
            device.seal(cbor.dumps([2, -1])),
        ):
            wire.send(frame)
        wire.raw(b"\x03\x11" * 2_000 + b"\0")
        wire.raw(b"\x05ab\0")
        wire.raw(framing.encode(good)[:-2] + b"\x07\0")
        await until(lambda: sum(agent.rejects.total.values()) == 14)
        assert dict(agent.rejects.total) == {
            "not_authentic": 2, "unknown_device": 1, "truncated": 2, "trailing": 1, "bad_header": 1,
            "unknown_type": 1, "unsupported": 1, "bad_field": 2, "too_long": 1, "bad_cobs": 1, "bad_crc": 1,
        }  # fmt: skip
        assert len(site.rows()) == before
        seen = await status(agent)
        assert seen["ports"][0]["rejects"] == dict(agent.rejects.total)
        assert seen["devices"][0]["rejects"]["not_authentic"] == 2
        assert seen["unprovisioned"] == [{"device": 4711, "frames": 1}]
        wire.send(good)
        await sync(device, wire)
        assert "replayed" not in agent.rejects.total  # the forged ones did not move the replay window
    site.check(device)
    wire.close()


async def test_thousands_of_mutated_frames_never_crash_and_never_count_as_events(tmp_path: Path) -> None:
    site = Site(tmp_path)
    device = site.devices[0]
    wire = await UdpWire.to(site.udp_port)
    rng = random.Random(5)
    async with site.agent() as agent:
        await sync(device, wire)
        before = len(site.rows())
        device.mint()
        good = device.batch(1, 1)
        sent = 0
        for _ in range(1_500):
            frame = bytearray(good)
            match rng.randrange(4):
                case 0:
                    frame[rng.randrange(len(frame))] ^= 1 << rng.randrange(8)
                case 1:
                    del frame[rng.randrange(len(frame)) :]
                case 2:
                    frame += rng.randbytes(rng.randrange(1, 30))
                case _:
                    frame = bytearray(rng.randbytes(rng.randrange(1, 1_400)))
            if frame and bytes(frame) != good:
                sent += 1
                wire.send(bytes(frame))
                await until(lambda n=sent: sum(agent.rejects.total.values()) == n)
        wire.send(good)
        await until(lambda: agent.switchboard.sessions[7].acked_seq == 1)
        assert sum(agent.rejects.total.values()) == sent
        assert len(site.rows()) == before + 1
    site.check(device)
    wire.close()


def events_frame(device: Device, items: bytes, first_seq: int) -> bytes:
    return device.send(Events(first_seq, device.boot, 100, items, None, 0, None))


async def test_events_that_break_the_rules_are_kept_raw_and_do_not_block_the_device(tmp_path: Path) -> None:
    site = Site(tmp_path)
    device = site.devices[0]
    wire = PtyWire(site.link)
    async with site.agent() as agent:
        session = agent.switchboard.sessions[7]
        await sync(device, wire)
        device.mint()
        long = cbor.dumps([16, os.urandom(40)])  # longer than an event may be, but countable
        wire.send(events_frame(device, long + cbor.dumps(5) + long, 1))
        await until(lambda: session.acked_seq == 2)
        wire.send(events_frame(device, b"\x82\x10", 3))  # not countable: kept, not acknowledged
        wire.send(events_frame(device, b"\x82\x10", 3))
        good = events.encode(events.VISIT, bytes(4))
        wire.send(events_frame(device, good, 4))
        await until(lambda: session.gaps == [(3, 3)])
        wire.send(device.seal(cbor.dumps([1, 5, "boot"])))
        await until(lambda: agent.rejects.total["bad_field"] == 1 and not agent.ingest.waiting)
        seen = await status(agent)
        assert seen["store"]["held_raw"] == 3
        wire.send(events_frame(device, good, 3))  # a mended device closes the gap
        await until(lambda: session.acked_seq == 4)
    held = [payload for _, _, payload in site.events(OWN).values() if payload[1:3] == b"\x18\x46"]
    assert held == [cbor.dumps([70, 7, 1]), cbor.dumps([70, 7, 3]), cbor.dumps([70, 7, 5])]
    connection = apsw.Connection(str(tmp_path / "data" / "edge.sqlite"))
    rows = list(connection.execute("SELECT device, reason, first_seq, last_seq FROM quarantine ORDER BY id"))
    assert rows == [(7, "too_long", 1, 2), (7, "truncated", 3, None), (7, "bad_field", 5, None)]
    wire.close()


async def test_younger_kinds_of_events_pass(tmp_path: Path) -> None:
    site = Site(tmp_path)
    device = site.devices[0]
    wire = PtyWire(site.link)
    async with site.agent() as agent:
        await sync(device, wire)
        wire.send(events_frame(device, cbor.dumps([94, "new"]), 1))
        await until(lambda: agent.switchboard.sessions[7].acked_seq == 1)
    row = next(row for row in site.rows() if row.device == 7)
    assert (row.items, row.priority) == (cbor.dumps([94, "new"]), 2)
    wire.close()


async def test_a_hello_of_an_earlier_boot_changes_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path)
    device = site.devices[0]
    wire = PtyWire(site.link)
    async with site.agent() as agent:
        device.boot = 3
        late = device.hello()
        await sync(device, wire)
        device.restart()
        await sync(device, wire)
        wire.send(late)
        await until(lambda: agent.rejects.total["replayed"] == 1)
        assert agent.switchboard.sessions[7].boot == 4
        while not wire.inbox.empty():
            assert device.take(wire.inbox.get_nowait()) is not None
    wire.close()


async def test_down_frames_are_bound_to_the_boot(tmp_path: Path) -> None:
    site = Site(tmp_path)
    device = site.devices[0]
    device.mint()
    wire = PtyWire(site.link)
    kept: list[bytes] = []
    wire.drop_down = lambda frame: bool(kept.append(frame))
    async with site.agent():
        await sync(device, wire)
    device.restart()
    for frame in kept:
        assert device.take(frame) is None
    wire.close()
