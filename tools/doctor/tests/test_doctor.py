"""The whole command on a real site: a real agent, real files and ports, and the office as far as it is there."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
import time
from pathlib import Path

import apsw
import pytest

from edge_agent import config as configuration
from edge_agent import own_events
from edge_agent.config import PortConfig
from edge_agent.tests.device import PtyWire
from edge_agent.tests.harness import Process, Site, until
from tools import cli, restore
from tools.doctor import gather_machine, gather_site
from tools.doctor.tests.answering import answering, to
from tools.doctor.tests.asking import doctor, findings
from tools.simulate.processes import free_port


def leave(wire: PtyWire) -> None:
    """This process holds the line's other end only."""
    os.close(wire.slave)
    wire.slave = os.open(os.devnull, os.O_RDONLY)


async def test_a_healthy_site_with_its_agent_at_work(tmp_path: Path) -> None:
    with answering() as port:
        site = Site(tmp_path, office=to(f"http://127.0.0.1:{port}"))
        wire = PtyWire(site.link)
        agent = Process(site)
        await agent.start()
        await agent.running()
        leave(wire)
        found = await asyncio.to_thread(findings, site)
        wire.close()
        assert await agent.end() == 0
    assert found["agent"]["text"]["en"] == f"the agent runs (process {agent.process.pid})"
    for check in (
        "config",
        "sqlite",
        "python",
        "memory",
        "file system",
        "files",
        "store",
        "port A",
        "office clock",
    ):
        assert found[check]["level"] == "ok", found[check]
    assert found["office"]["key"] == "office_plain"
    assert not [path for path in (tmp_path / "data").iterdir() if path.name.startswith(".doctor")]


async def test_what_the_agent_says_itself(tmp_path: Path) -> None:
    port = free_port()
    site = Site(tmp_path, office=to("http://127.0.0.1:9"))
    site.config_path.write_text(site.config_path.read_text().replace('"127.0.0.1:0"', f'"127.0.0.1:{port}"'))
    wire = PtyWire(site.link)
    config = configuration.load(site.config_path)
    async with site.agent() as agent:
        agent.record(own_events.own(own_events.CLOCK_STEP, -7_200_000, 1))
        assert agent.uploader is not None
        lanes = agent.uploader.lanes.values()
        await until(lambda: any(lane.error for lane in lanes) and not agent.ingest.waiting)
        seen = await asyncio.to_thread(gather_site.says, config, gather_site.agent(config.data_dir))
        store = await asyncio.to_thread(gather_site.store, config.data_dir, 1, agent.clock.now_ms())
        answered = seen._replace(says=())
        assert (answered.pid, answered.error) == (os.getpid(), "")
        assert any("The office is not reached" in english for _, _, english, _ in seen.says)
        assert any("连不上办公室" in chinese for _, chinese, _, _ in seen.says)
        assert store.steps_ms == (-7_200_000,)
        await agent.status.stop()
        silent = await asyncio.to_thread(gather_site.says, config, answered)
        assert "refused" in silent.error
    wire.close()


def test_in_both_languages_and_by_the_locale(tmp_path: Path) -> None:
    site = Site(tmp_path)
    code, english = doctor(site)
    assert code == 2  # the port is not there
    assert f"[FAULT] {site.link} is not there\n    → check cable and power; ls /dev/serial/by-id" in english
    assert english.endswith("something is broken\n")
    _, chinese = doctor(site, "--lang", "zh")
    assert f"[故障] {site.link} 不存在\n    → 检查线缆和供电" in chinese
    assert doctor(site, lang="zh_CN.UTF-8")[1].splitlines()[-1] == chinese.splitlines()[-1]


def test_a_mistake_in_a_file_does_not_end_the_rest(tmp_path: Path) -> None:
    site = Site(tmp_path, more="[comit]\n")
    (tmp_path / "data").mkdir(mode=0o700)
    found = findings(site)
    assert found["config"]["level"] == "fault"
    assert 'did you mean "commit"?' in found["config"]["text"]["en"]
    assert {"sqlite", "memory", "clock", "file system", "room", "disk speed", "store", "agent"} <= set(found)
    (tmp_path / "devices.toml").unlink()
    missing = findings(site)["files"]
    assert missing["text"]["en"] == f"{tmp_path}/devices.toml, the file of the devices, is missing"
    assert missing["remedy"]["en"].startswith("gatepost provision")
    site.config_path.unlink()
    found = findings(site)
    assert "can't be read" in found["config"]["text"]["en"]
    assert {"sqlite", "memory", "clock"} <= set(found)


async def test_the_store_and_its_files(tmp_path: Path) -> None:
    site = Site(tmp_path)
    wire = PtyWire(site.link)
    async with site.agent():
        pass
    assert findings(site)["store"]["key"] == "store"
    store = tmp_path / "data" / "edge.sqlite"
    (tmp_path / "devices.toml").chmod(0o644)
    assert findings(site)["files"]["remedy"]["en"] == f"sudo chmod 600 {tmp_path / 'devices.toml'}"
    (tmp_path / "devices.toml").chmod(0o600)
    connection = apsw.Connection(str(store))
    connection.pragma("user_version", 999)
    connection.close()
    assert findings(site)["store"]["key"] == "store_newer"
    content = bytearray(store.read_bytes())
    content[4096 * 3 : 4096 * 6] = os.urandom(4096 * 3)
    content[60:64] = (7).to_bytes(4, "big")
    store.write_bytes(content)
    before = store.read_bytes()
    assert findings(site)["store"]["key"] == "store_damaged"
    assert store.read_bytes() == before
    store.unlink()
    store.mkdir(mode=0o700)  # it is in the way: there is one, so to say, and not none yet
    assert findings(site)["store"]["key"] == "store_unread"
    wire.close()


async def test_a_store_that_is_locked_is_not_called_damaged(tmp_path: Path) -> None:
    site = Site(tmp_path)
    wire = PtyWire(site.link)
    async with site.agent():
        pass
    connection = apsw.Connection(str(tmp_path / "data" / "edge.sqlite"))
    connection.pragma("locking_mode", "exclusive")
    connection.execute("BEGIN IMMEDIATE; UPDATE meta SET value = value; COMMIT")
    found = await asyncio.to_thread(findings, site)
    assert found["store"]["key"] == "store_unread"
    assert found["store"]["text"]["en"] == "the store can't be read just now: database is locked"
    connection.close()
    assert findings(site)["store"]["key"] == "store"
    wire.close()


async def test_what_a_restore_left_is_told_until_it_is_gone(tmp_path: Path) -> None:
    site = Site(tmp_path)
    wire = PtyWire(site.link)
    async with site.agent():
        pass
    assert "kept aside" not in findings(site)
    now_ms = int(time.time() * 1_000)
    aside = restore.downgrade(tmp_path / "data", 3, now_ms)
    assert aside is not None
    with (aside / "edge.sqlite").open("ab") as file:
        file.truncate(5_300_000)
    found = findings(site)["kept aside"]
    assert (found["level"], found["key"]) == ("warning", "store_aside")
    assert found["text"]["en"].endswith(f" 1 (5 MB): {aside}")
    shutil.rmtree(aside)
    assert "kept aside" not in findings(site)
    wire.close()


def test_every_file_that_the_configuration_names(tmp_path: Path) -> None:
    site = Site(tmp_path)
    (tmp_path / "data").mkdir(mode=0o700)
    site.config_path.write_text(
        site.config_path.read_text().replace(
            "[status]\n", '[status]\ntls_cert = "status.pem"\ntls_key = "status-key.pem"\n'
        )
    )
    key = tmp_path / "status-key.pem"
    key.write_text("a key")
    key.chmod(0o640)
    _, said = doctor(site, "--lang", "en")
    assert f"[FAULT] {tmp_path / 'status.pem'} is missing" in said
    assert f"[FAULT] {key} is open to others (mode 640)" in said
    key.chmod(0o600)
    (tmp_path / "status.pem").write_text("a certificate, which is everybody's")
    assert findings(site)["files"]["level"] == "ok"


async def test_ports_that_somebody_else_has(tmp_path: Path) -> None:
    site = Site(tmp_path)
    wire = PtyWire(site.link)
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "import sys; f = open(sys.argv[1], 'rb', 0); print('open', flush=True); sys.stdin.read()",
        str(site.link), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert other.stdout is not None
    assert await other.stdout.readline() == b"open\n"
    leave(wire)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", site.udp_port))
        found = await asyncio.to_thread(findings, site)
    assert found["port A"]["key"] == "port_busy"
    assert f"(process {other.pid})" in found["port A"]["text"]["en"]
    assert found["port U"]["key"] == "address_taken"
    assert "already in use" in found["port U"]["text"]["en"]
    other.kill()
    await other.wait()
    wire.close()
    site.link.write_text("")
    assert findings(site)["port A"]["key"] == "port_no_device"


async def test_what_is_plugged_into_a_dock(tmp_path: Path) -> None:
    wires = [PtyWire(tmp_path / name) for name in ("usb-1", "usb-2", "other")]
    (tmp_path / "usb-same").symlink_to((tmp_path / "usb-1").readlink())
    config = PortConfig(
        "dock", "d", "", 115_200, ("", 0), 50, match=(f"{tmp_path}/usb-*",), elsewhere=(str(wires[1].link),)
    )
    (port,) = gather_machine.ports([config], None)
    assert (port.name, port.is_device, port.allowed) == ("d", True, True)
    assert port.path in (f"{tmp_path}/usb-1", f"{tmp_path}/usb-same")
    assert gather_machine.ports([config._replace(match=(f"{tmp_path}/none*",))], None) == []
    for wire in wires:
        wire.close()


def test_a_raspberry_pi_with_a_tired_card(tmp_path: Path) -> None:
    """The files of a Pi's kernel, as its drivers write them."""
    for name, content in (
        ("proc/meminfo", "MemTotal:  948304 kB\nMemFree: 1 kB\nMemAvailable:  40000 kB\n"),
        (
            "proc/self/mountinfo",
            f"24 1 179:2 / {tmp_path} rw,noatime shared:1 - ext4 /dev/mmcblk0p2 rw,nobarrier\n",
        ),
        ("proc/cmdline", "console=serial0,115200 console=tty1 root=PARTUUID=1 rw\n"),
        ("sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n"),
        ("sys/dev/block/179:2/device/life_time", "0x01 0x0a\n"),
        ("sys/dev/block/179:2/device/pre_eol_info", "0x02\n"),
        ("run/chrony/chronyd.pid", "1\n"),
        ("sys/class/rtc/rtc0/name", "ds3231\n"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    machine = gather_machine.machine(tmp_path)
    assert (machine.memory, machine.available, machine.throttled) == (948304 * 1024, 40000 * 1024, 0x50005)
    (tmp_path / "data").mkdir()
    disk = gather_machine.disk(tmp_path / "data", tmp_path)
    assert (disk.kind, disk.worn, disk.end_of_life, disk.wal) == ("ext4", 10, 2, "wal")
    assert "nobarrier" in disk.options
    assert len(disk.syncs_ms) >= 1
    clock = gather_machine.clock("kernel", tmp_path)
    assert (clock.service, clock.has_chip, clock.source) == ("chrony", True, "kernel")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/ttyAMA0").touch()
    (tmp_path / "dev/serial0").symlink_to("ttyAMA0")
    assert gather_machine._consoles(tmp_path) == {"ttyAMA0"}


def test_a_folder_that_takes_nothing(tmp_path: Path) -> None:
    before = gather_machine.disk(tmp_path / "not" / "yet")
    assert (before.syncs_ms, before.error) == ((), "")
    assert before.free > 0
    assert gather_site.store(tmp_path, 1, 0).version == 0
    assert gather_site.agent(tmp_path).pid is None


def test_it_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["doctor", "--help"])
    assert "--lang" in capsys.readouterr().out
