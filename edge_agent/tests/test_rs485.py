"""The RS-485 port on a real PTY, in real time: devices of the real code behind it, the port coming and going."""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import termios
import tty
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from edge_agent.tests.bus import Device, key
from edge_agent.tests.harness import OWN, Site, until
from edge_agent.transports import polling
from edge_agent.transports.port import Listener
from edge_agent.transports.rs485 import Rs485Port
from gatelink import cbor, cose


class PtyBus:
    """Devices on one line behind a PTY; what one says the others hear."""

    seed = 1

    def __init__(self, link: Path, numbers: list[int]) -> None:
        self.link = link
        self.rng = random.Random(1)
        self.devices = [Device(self, number) for number in numbers]  # type: ignore[arg-type]
        self.master = self.slave = -1

    @property
    def now_us(self) -> int:
        return int(asyncio.get_running_loop().time() * 1_000_000)

    def plug(self) -> None:
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        self.link.symlink_to(os.ttyname(self.slave))
        fcntl.fcntl(self.master, fcntl.F_SETFL, os.O_NONBLOCK)
        asyncio.get_running_loop().add_reader(self.master, self._readable)

    def unplug(self) -> None:
        if self.master >= 0:
            self.link.unlink()
            asyncio.get_running_loop().remove_reader(self.master)
            os.close(self.slave)
            os.close(self.master)
            self.master = -1

    def after(self, delay_us: int, what: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(delay_us / 1_000_000, what)

    def talk(self, data: bytes, who: object) -> None:
        if self.master < 0:
            return
        os.write(self.master, data)
        self._heard(data, who)

    def _readable(self) -> None:
        self._heard(os.read(self.master, 65_536), None)

    def _heard(self, data: bytes, who: object) -> None:
        for device in self.devices:
            if device.plugged and device is not who:
                device.heard(data)


def write(site: Site, numbers: list[int], more: str = "") -> None:
    site.write(ports=f'[[port]]\nkind = "rs485"\nname = "B"\npath = "ttyA"\ndevices = {numbers}\n{more}')
    keys = site.folder / "devices.toml"
    keys.write_text(
        "".join(
            f'[[device]]\nid = {n}\nrole = "barrier"\nlink_key = "{key(n).hex()}"\nepoch = 1\n' for n in numbers
        )
    )


async def test_a_bus_on_a_pty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "OFFLINE_US", 1_000_000)
    site = Site(tmp_path)
    numbers = [7, 8, 9, 10]
    write(site, numbers)
    bus = PtyBus(site.link, numbers)
    for device in bus.devices:
        for _ in range(60):
            device.record()
    bus.plug()
    async with site.agent() as agent:
        sessions = agent.switchboard.sessions
        await until(lambda: all(sessions[n].acked_seq == 60 for n in numbers))
        # a command finds its way while others talk
        result = await sessions[9].command(1, None, 2_000)
        assert result.code == 0
        assert [action for action, _ in bus.devices[2].commands] == [1]
        # one leaves and comes back, the others stay
        bus.devices[1].plugged = False
        bus.devices[1].record()
        await until(lambda: not sessions[8].online)
        assert all(sessions[n].online for n in (7, 9, 10))
        bus.devices[1].plugged = True
        await until(lambda: sessions[8].online and sessions[8].acked_seq == 61)
        # the adapter is pulled and put in again
        bus.unplug()
        await until(lambda: not any(session.online for session in sessions.values()))
        for device in bus.devices:
            device.record()
        bus.plug()
        await until(lambda: all(sessions[d.device].acked_seq == len(d.truth) for d in bus.devices))
        async with aiohttp.ClientSession() as http:
            answer = await http.get(f"http://127.0.0.1:{agent.status.port}/status")
            port = (await answer.json())["ports"][0]
    bus.unplug()
    assert (port["kind"], port["up"], port["losses"]) == ("rs485", True, 1)
    assert [each["device"] for each in port["bus"]] == numbers
    assert all(each["answers"] and each["grants"] >= 3 for each in port["bus"])
    for device in bus.devices:
        assert site.events(device.device) == device.truth
    own = [cbor.loads(payload) for _, _, payload in site.events(OWN).values()]
    of_8 = [state for kind, *fields in own if kind == 69 and fields[0] == 8 for state in fields[1:]]
    assert of_8 == [1, 0, 1, 0, 1]
    assert [fields[1] for kind, *fields in own if kind == 67] == [0, 1]


async def test_a_driver_that_switches_no_line_is_named_once(tmp_path: Path) -> None:
    said: list[str] = []
    listener = Listener(lambda *_: None, lambda *_: None, lambda *_: said.append("up"), lambda _, w: said.append(w))

    class Counting(Rs485Port):
        tries = 0

        def _open(self) -> None:
            self.tries += 1
            super()._open()

    bus = PtyBus(tmp_path / "ttyA", [7])
    bus.plug()
    port = Counting("B", str(bus.link), 115_200, 0.02, listener, [7], "kernel")
    await port.start()
    await until(lambda: port.tries > 5)
    assert not port.up
    await port.stop()
    bus.unplug()
    assert len(said) == 1
    assert 'direction = "adapter"' in said[0]


def on(bus: PtyBus, said: list[str]) -> Rs485Port:
    listener = Listener(lambda *_: None, lambda *_: None, lambda *_: said.append("up"), lambda _, w: said.append(w))
    return Rs485Port("B", str(bus.link), 115_200, 0.02, listener, [7])


async def test_an_adapter_that_hangs_is_a_line_that_is_lost(tmp_path: Path) -> None:
    said: list[str] = []
    bus = PtyBus(tmp_path / "ttyA", [7])
    bus.devices[0].plugged = False
    bus.plug()
    port = on(bus, said)
    await port.start()
    await until(lambda: said == ["up"])
    termios.tcflow(bus.slave, termios.TCOOFF)  # it is there, and takes nothing any more
    await until(lambda: len(said) > 1)
    assert said[1] == "the line takes nothing"
    assert port.losses == 1
    termios.tcflow(bus.slave, termios.TCOON)
    bus.devices[0].plugged = True
    bus.devices[0].record()
    await until(lambda: port.frames_in > 0)
    await port.stop()
    bus.unplug()
    assert said[-1] == "up"


async def test_what_never_left_is_counted_as_dropped(tmp_path: Path) -> None:
    said: list[str] = []
    bus = PtyBus(tmp_path / "ttyA", [7])
    bus.devices[0].plugged = False
    port = on(bus, said)
    chunk, command = (cose.seal(cose.derive(key(7), 7, 1), cose.DOWN, n, bytes(n * 300), bytes(8)) for n in (1, 0))
    port.send(None, chunk)
    assert (port.frames_out, port.dropped_out) == (0, 1)  # the line is not there yet
    bus.plug()
    await port.start()
    await until(lambda: said == ["up"])
    # a turn is open, so what is sent now waits: a command overtakes a chunk, and the line goes away under the rest
    port.send(None, chunk)
    assert (port.frames_out, port.dropped_out) == (1, 1)
    port.send(None, command, urgent=True)
    assert (port.frames_out, port.dropped_out) == (2, 2)
    port.send(None, chunk)
    bus.unplug()
    await until(lambda: port.losses == 1)
    bus.plug()
    await until(lambda: said[-1] == "up" and len(said) == 3)
    assert (port.frames_out, port.dropped_out) == (3, 4)
    # and one too many
    for _ in range(100):
        port.send(None, chunk)
    assert port.frames_out < 100
    assert port.frames_out - 3 + port.dropped_out - 4 == 100
    await port.stop()
    bus.unplug()
