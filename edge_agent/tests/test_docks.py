"""Docks: device files that come and go under a running agent, on real PTYs; tags in them are read out and released."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from edge_agent.daemon import Agent
from edge_agent.tests.device import Device, PtyWire, sync
from edge_agent.tests.harness import OWN, Site, until
from edge_agent.transports import docks as docks_module
from edge_agent.transports.docks import Docks
from gatelink import cbor, framing, messages


@pytest.fixture(autouse=True)
def _quick_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docks_module, "SCAN_S", 0.02)


def docks_site(folder: Path, devices: int = 2) -> Site:
    site = Site(folder, devices)
    (folder / "dev" / "by-id").mkdir(parents=True)
    match = [f"{folder}/dev/by-id/*", f"{folder}/dev/ttyACM*"]
    quoted = ", ".join(f'"{pattern}"' for pattern in match)
    site.write(ports=f'[[port]]\nkind = "dock"\nmatch = [{quoted}]\nreconnect_max_ms = 100\n')
    return site


def at(site: Site, name: str) -> PtyWire:
    """A tag is put in: a device file turns up."""
    return PtyWire(site.folder / "dev" / "by-id" / name)


def docks_of(agent: Agent) -> Docks:
    (port,) = agent.ports
    assert isinstance(port, Docks)
    return port


def shown(agent: Agent, name: str) -> dict[str, Any]:
    found = [dock for dock in docks_of(agent).describe()["docks"] if dock["dock"] == name]
    assert len(found) <= 1
    return found[0] if found else {"state": None}


async def state(agent: Agent, name: str, wanted: str) -> dict[str, Any]:
    await until(lambda: shown(agent, name)["state"] == wanted, what=f"{name} is not {wanted}: {shown(agent, name)}")
    return shown(agent, name)


def docked(site: Site) -> list[list[Any]]:
    own = [cbor.loads(payload) for _, _, payload in site.events(OWN).values()]
    return [fields for kind, *fields in own if kind == 79]


async def finish(device: Device, wire: PtyWire) -> None:
    """All events, then the STATUS with the anchor, as a tag does it."""
    await sync(device, wire)
    wire.send(device.status([device.uptime_ms, round(time.time() * 1000), 20]))


async def test_eight_docks_at_once(tmp_path: Path) -> None:
    site = docks_site(tmp_path, 8)
    counts = [50 + 37 * n for n in range(8)]
    for device, count in zip(site.devices, counts, strict=True):
        for _ in range(count):
            device.mint()
    async with site.agent() as agent:
        wires = [at(site, f"usb-Dock_{n}") for n in range(8)]
        begun = time.monotonic()
        await asyncio.gather(*map(finish, site.devices, wires))
        for n, device in enumerate(site.devices):
            found = await state(agent, f"Dock_{n}", "released")
            assert (found["device"], found["to_go"]) == (device.device, 0)
            assert found["words"]["en"] == f"T{device.device}: done, take it"
        took_s = time.monotonic() - begun
        # new events, then it may be taken again; told once
        site.devices[0].mint()
        await finish(site.devices[0], wires[0])
        await state(agent, "Dock_0", "released")
        for n, wire in enumerate(wires):
            wire.close()
            await state(agent, f"Dock_{n}", "empty")
        assert not docks_of(agent).docks
    for device in site.devices:
        site.check(device)
    assert sorted(docked(site)) == [[7 + n, f"Dock_{n}", count] for n, count in enumerate(counts)]
    print(f"8 tags with {sum(counts)} events found, read out and released in {took_s:.2f} s")


async def test_pulled_in_mid_sync_and_put_in_elsewhere(tmp_path: Path) -> None:
    site = docks_site(tmp_path)
    device = site.devices[0]
    for _ in range(600):
        device.mint()
    async with site.agent() as agent:
        session = agent.switchboard.sessions[device.device]
        wire = at(site, "one")
        syncing = asyncio.create_task(sync(device, wire))
        await until(lambda: session.acked_seq > 100)
        found = shown(agent, "one")
        wire.unplug()
        syncing.cancel()
        await asyncio.wait([syncing])
        if session.acked_seq < 600:  # on a quick machine it was through by then
            assert found["state"] == "syncing"
            assert found["to_go"] > 0
        await state(agent, "one", "empty")
        held = session.acked_seq
        wire = at(site, "two")
        device.welcomed = False
        await finish(device, wire)
        await state(agent, "two", "released")
        wire.close()
    site.check(device)
    # what was read in dock one, but committed only after it was pulled, is not new in dock two
    assert held <= session.port_since_seq <= 600
    assert docked(site) == [[device.device, "two", 600 - session.port_since_seq]]


async def test_another_tag_and_a_stranger_in_the_same_dock(tmp_path: Path) -> None:
    site = docks_site(tmp_path)
    first, second = site.devices
    stranger = Device(99, bytes(range(32)))
    for device in (first, second, stranger):
        for _ in range(30):
            device.mint()
    async with site.agent() as agent:
        # an adapter of its own: the file stays, the tags change
        wire = at(site, "usb-Adapter")
        await state(agent, "Adapter", "waiting")
        await finish(first, wire)
        assert (await state(agent, "Adapter", "released"))["device"] == first.device
        await finish(second, wire)
        await until(lambda: shown(agent, "Adapter")["device"] == second.device)
        await state(agent, "Adapter", "released")
        wire.close()
        await state(agent, "Adapter", "empty")
        wire = at(site, "usb-Adapter")
        await until(lambda: [dock.up for dock in docks_of(agent).docks.values()] == [True])
        wire.send(stranger.hello())
        found = await state(agent, "Adapter", "stranger")
        assert (found["device"], found["words"]["zh"]) == (99, "设备 99 未登记，不读取")
        assert agent.rejects.by_port["Adapter"]["unknown_device"] == 1
        assert dict(agent.rejects.strangers) == {99: 1}
        status = await agent.reporter.snapshot()
        (port,) = status["ports"]
        assert port["docks"][0]["rejects"] == {"unknown_device": 1}
        await until(lambda: docks_of(agent).frames_in >= 2 + 2 * 2 + 1)
        wire.close()
    assert docked(site) == [[first.device, "Adapter", 30], [second.device, "Adapter", 30]]


async def test_without_anchor_or_with_a_gap_it_is_not_released(tmp_path: Path) -> None:
    site = docks_site(tmp_path)
    device = site.devices[0]
    for _ in range(20):
        device.mint()
    async with site.agent() as agent:
        wire = at(site, "one")
        await sync(device, wire)
        assert (await state(agent, "one", "syncing"))["to_go"] == 0
        wire.send(device.status())
        await asyncio.sleep(0.2)
        assert shown(agent, "one")["state"] == "syncing"
        # a STATUS that names events which have not come
        for _ in range(5):
            device.mint()
        wire.send(device.status([device.uptime_ms, round(time.time() * 1000), 20]))
        await until(lambda: shown(agent, "one").get("to_go") == 5)
        assert docked(site) == []
        await finish(device, wire)
        await state(agent, "one", "released")
        wire.close()
    assert docked(site) == [[device.device, "one", 25]]


async def test_by_id_is_preferred_and_other_ports_are_left_alone(tmp_path: Path) -> None:
    site = docks_site(tmp_path)
    more = site.config_path.read_text()
    site.config_path.write_text(more + f'[[port]]\nkind = "serial"\npath = "{tmp_path}/dev/ttyACM9"\n')
    own = PtyWire(tmp_path / "dev" / "ttyACM9")
    async with site.agent() as agent:
        docks = next(port for port in agent.ports if isinstance(port, Docks))
        wire = PtyWire(tmp_path / "dev" / "ttyACM0")
        await until(lambda: [dock.label for dock in docks.docks.values()] == ["ttyACM0"])
        # udev makes the second name a moment later: the same device, under the better name
        other = tmp_path / "dev" / "by-id" / "usb-Maker_0042"
        other.symlink_to(os.ttyname(wire.slave))
        await until(lambda: [dock.label for dock in docks.docks.values()] == ["Maker_0042"])
        await until(lambda: agent.ports[1].up)
        other.unlink()
        wire.close()
        own.close()


async def test_what_is_no_serial_port_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    site = docks_site(tmp_path)
    (tmp_path / "dev" / "by-id" / "a-file").write_text("not a port")
    (tmp_path / "dev" / "ttyACM1").mkdir()
    async with site.agent() as agent:
        found = await state(agent, "a-file", "problem")
        assert found["words"]["en"] == "can't be used: not a serial port"
        await state(agent, "ttyACM1", "problem")
        async with aiohttp.ClientSession() as http:
            for language, words in (("zh", "坞站无法使用：a-file, ttyACM1"), ("en", "t be used: a-file, ttyACM1")):
                page = await http.get(f"http://127.0.0.1:{agent.status.port}/?lang={language}")
                assert words in await page.text()
        tries = 0
        (dock,) = [dock for dock in docks_of(agent).docks.values() if dock.label == "a-file"]
        before: Callable[[], None] = dock._open

        def counted() -> None:
            nonlocal tries
            tries += 1
            before()

        dock._open = counted  # type: ignore[method-assign]
        await asyncio.sleep(0.5)
        assert 1 <= tries <= 12  # pauses of 50 to 100 ms here, 5 s by default
        # a tag beside it is read all the same
        device = site.devices[0]
        device.mint()
        wire = at(site, "good")
        await finish(device, wire)
        await state(agent, "good", "released")
        wire.close()
    assert docked(site) == [[device.device, "good", 1]]
    said = [record.data for record in caplog.records if record.getMessage() == "dock not to be used"]  # type: ignore[attr-defined]
    assert sorted(each["dock"] for each in said) == ["a-file", "ttyACM1"]


async def test_more_files_than_docks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docks_module, "MAX_DOCKS", 2)
    site = docks_site(tmp_path)
    wires = [at(site, f"d{n}") for n in range(4)]
    async with site.agent() as agent:
        await until(lambda: docks_of(agent).describe()["ignored"] == 2)
        wires[0].close()
        await until(lambda: docks_of(agent).describe()["ignored"] == 1)
        assert len(docks_of(agent).docks) == 2
    for wire in wires[1:]:
        wire.close()


async def test_a_command_reaches_a_docked_tag(tmp_path: Path) -> None:
    site = docks_site(tmp_path)
    device = site.devices[0]
    device.mint()
    async with site.agent() as agent:
        wire = at(site, "one")
        await finish(device, wire)
        await state(agent, "one", "released")
        asked: Awaitable[Any] = asyncio.ensure_future(agent.switchboard.sessions[7].command(4, None, 2_000))
        await until(lambda: any(isinstance(m, messages.Command) for m in _taken(device, wire)))
        command = next(m for m in device.taken if isinstance(m, messages.Command))
        wire.send(device.send(messages.Result(command.cmd_id, 0, "")))
        assert (await asked).code == 0
        wire.close()


def _taken(device: Device, wire: PtyWire) -> list[Any]:
    while not wire.inbox.empty():
        device.take(wire.inbox.get_nowait())
    return device.taken


@pytest.mark.parametrize("left", ["nothing", "a file"])
def test_a_folder_that_goes_in_the_middle_of_a_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    links, other = tmp_path / "by-id", tmp_path / "ttyACM0"
    links.mkdir()
    other.touch()
    scandir = os.scandir

    def late(folder: str) -> Any:
        if Path(folder) == links:
            links.rmdir()
            if left == "a file":
                links.touch()
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", late)
    assert docks_module.files([f"{links}/*", f"{tmp_path}/ttyACM*"], []) == {str(other): str(other)}
    assert not links.is_dir()


def test_a_link_into_a_folder_that_may_not_be_entered_is_not_there() -> None:
    """By a process that is not root, in a folder of its own."""
    program = (
        "import os, tempfile\nfrom pathlib import Path\nfrom edge_agent.transports import docks\n"
        "if not os.getuid():\n    os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "with tempfile.TemporaryDirectory() as name:\n"
        "    folder, closed = Path(name), Path(name) / 'closed'\n"
        "    closed.mkdir()\n    (closed / 'x').touch()\n"
        "    (folder / 'tty-a').symlink_to(closed / 'x')\n    (folder / 'tty-b').touch()\n"
        "    closed.chmod(0)\n"
        "    print(*(Path(path).name for path in docks.files([f'{folder}/tty-*'], []).values()))\n"
        "    closed.chmod(0o700)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "tty-b\n"), done.stderr


async def test_a_tag_that_is_pulled_is_no_problem(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    site = docks_site(tmp_path)
    device = site.devices[0]
    async with site.agent() as agent:
        for _ in range(10):
            device.mint()
            device.welcomed = False
            wire = at(site, "one")
            await finish(device, wire)
            await state(agent, "one", "released")
            wire.close()
            seen = set()
            await until(lambda seen=seen: seen.add(shown(agent, "one")["state"]) or "empty" in seen)
            assert "problem" not in seen
        assert docks_of(agent).losses  # the port was lost before a look found the file gone
    assert "dock not to be used" not in [record.getMessage() for record in caplog.records]
    assert len(docked(site)) == 10


def replaced(device: Device, events: int) -> Device:
    """The same device with another journal, in a later boot, with so many events in it."""
    made = Device(device.device, bytes([device.device]) * 32, seed=2)
    made.boot = device.boot
    made.restart()
    for _ in range(events):
        made.mint()
    return made


async def test_a_journal_that_was_replaced_begins_anew(tmp_path: Path) -> None:
    site = docks_site(tmp_path)
    device = site.devices[0]
    for _ in range(30):
        device.mint()
    async with site.agent() as agent:
        wire = at(site, "one")
        await finish(device, wire)
        await state(agent, "one", "released")
        wire.close()
        await state(agent, "one", "empty")
        again = replaced(device, 5)
        wire = at(site, "one")
        await finish(again, wire)
        await state(agent, "one", "released")
        wire.close()
        await state(agent, "one", "empty")
    assert docked(site) == [[device.device, "one", 30], [device.device, "one", 5]]


async def test_a_journal_that_lost_its_end_takes_no_events_back(tmp_path: Path) -> None:
    site = docks_site(tmp_path)
    device = site.devices[0]
    for _ in range(40):
        device.mint()
    async with site.agent() as agent:
        session = agent.switchboard.sessions[device.device]
        wire = at(site, "one")
        await until(lambda: [dock.up for dock in docks_of(agent).docks.values()] == [True])
        wire.send(device.hello())
        wire.send(device.batch(1, 30))
        wire.send(device.batch(35, 6))
        await until(lambda: session.acked_seq == 30 and session.gaps)
        wire.close()
        await state(agent, "one", "empty")
        again = replaced(device, 10)
        again.acked = 10
        wire = at(site, "two")
        await until(lambda: [dock.up for dock in docks_of(agent).docks.values()] == [True])
        # at once: when the store knows that the numbers begin anew, nothing more is heard
        status = again.status([again.uptime_ms, round(time.time() * 1000), 20])
        wire.raw(framing.encode(again.hello()) + framing.encode(status))
        await state(agent, "two", "released")
        assert session.acked_seq == 10
        wire.close()
    assert docked(site) == [[device.device, "two", 0]]
