"""Under a service manager: a real notify socket, a real agent; what feeds the watchdog and what does not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import threading
from pathlib import Path

import apsw
import pytest

from edge_agent import kernel_clock
from edge_agent.entries import Job
from edge_agent.service import hang, health
from edge_agent.service.heartbeat import Heartbeat, language
from edge_agent.service.notify import MAX_STATUS, Notifier, status
from edge_agent.tests.device import UdpWire, sync
from edge_agent.tests.harness import Process, Site, until


class Manager:
    """The manager's end of the socket: every assignment, in order."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)
        self.heard: list[str] = []

    def listen(self) -> list[str]:
        while True:
            try:
                self.heard += self.socket.recv(4_096).decode().split("\n")
            except BlockingIOError:
                return self.heard

    def since(self, at: int) -> list[str]:
        return self.listen()[at:]

    def sentence(self) -> str:
        return next((line[7:] for line in reversed(self.listen()) if line.startswith("STATUS=")), "")


def under(manager_path: Path, watchdog_s: float | None) -> dict[str, str]:
    found = {"NOTIFY_SOCKET": str(manager_path), "LANG": "C.UTF-8", "LC_ALL": ""}
    return found if watchdog_s is None else {**found, "WATCHDOG_USEC": str(round(watchdog_s * 1e6))}


def open_sockets() -> set[str]:
    """Of this process."""
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that listed them
            found.add(str(descriptor.readlink()))
    return {target for target in found if target.startswith("socket:")}


@pytest.fixture
def manager(tmp_path: Path) -> Manager:
    return Manager(tmp_path / "notify")


async def test_the_real_process_is_ready_feeds_and_stops(
    tmp_path: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in under(tmp_path / "notify", 0.4).items():
        monkeypatch.setenv(name, value)
    site = Site(tmp_path)
    agent = Process(site)
    await agent.start()
    await until(lambda: "READY=1" in manager.listen(), 20)
    # Ready means: the store is open and a device is answered at once.
    assert (tmp_path / "data" / "edge.sqlite").exists()
    wire = await UdpWire.to(site.udp_port)
    site.devices[1].mint()
    await sync(site.devices[1], wire)
    await until(lambda: manager.listen().count("WATCHDOG=1") > 5)
    await until(manager.sentence)
    assert "of 2 devices online" in manager.sentence()
    # A process that hangs sends nothing; when it goes on, it does again.
    agent.process.send_signal(signal.SIGSTOP)
    await until(lambda: Path(f"/proc/{agent.process.pid}/stat").read_text().split(") ")[1][0] == "T")
    at = len(manager.listen())
    await asyncio.sleep(0.5)  # longer than the manager would wait
    assert manager.since(at) == []
    agent.process.send_signal(signal.SIGCONT)
    await until(lambda: "WATCHDOG=1" in manager.since(at))
    assert await agent.end() == 0
    assert manager.listen()[-1] == "STOPPING=1"
    wire.close()


# The sleep is the fault: an event loop that hangs while the other threads go on.
HANGING = """
import asyncio, sys, time
from edge_agent.daemon import run
async def main():
    going = asyncio.create_task(run(sys.argv[1]))
    while sys.stdin not in (await asyncio.to_thread(__import__("select").select, [sys.stdin], [], []))[0]: pass
    print("hanging", flush=True)
    while True: time.sleep(0.01)  # the fault that is tried: a loop that hangs
asyncio.run(main())
"""


async def test_a_loop_that_hangs_sends_nothing_and_leaves_its_stacks(
    tmp_path: Path, manager: Manager
) -> None:
    import sys

    site = Site(tmp_path)
    root = Path(__file__).parents[2]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HANGING, str(site.config_path),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, **under(tmp_path / "notify", 0.4), "PYTHONPATH": f"{root}:{root / 'protocol'}"},
    )  # fmt: skip
    await until(lambda: "WATCHDOG=1" in manager.listen(), 20)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"\n")
    assert await asyncio.wait_for(process.stdout.readline(), 10) == b"hanging\n"
    at = len(manager.listen())
    await asyncio.sleep(0.5)
    assert manager.since(at) == []
    process.send_signal(signal.SIGABRT)  # as systemd's watchdog does
    assert await asyncio.wait_for(process.wait(), 10) == -signal.SIGABRT
    assert "in main" in (tmp_path / "data" / hang.FILE_NAME).read_text()
    agent = Process(site)
    await agent.start()
    await until(lambda: "hung or crashed" in agent.log.read_text(), 20)
    assert await agent.end() == 0
    lines = [json.loads(line) for line in agent.log.read_text().splitlines()]
    told = next(line for line in lines if "hung or crashed" in line["event"])
    assert any("in main" in stack for stack in told["stacks"])
    assert (tmp_path / "data" / hang.FILE_NAME).read_text() == ""


async def test_a_writer_that_hangs_is_not_fed_and_one_that_tries_again_is(
    tmp_path: Path, manager: Manager
) -> None:
    site = Site(tmp_path)
    notifier = Notifier(under(tmp_path / "notify", 2.0))
    now = [100.0]
    async with site.agent() as agent:
        heart = Heartbeat(notifier, agent.ingest, agent.status.snapshot, "en", lambda: now[0])
        await until(lambda: agent.ingest.waiting == 0)
        assert heart.beat()
        go_on = threading.Event()
        agent.ingest.submit(Job(lambda _: (go_on.wait(20), None)[1], lambda: None))
        assert heart.beat()
        now[0] += 0.9
        assert heart.beat()
        now[0] += 0.2  # more than half of what the manager waits
        at = len(manager.listen())
        assert not heart.beat()
        assert "WATCHDOG=1" not in manager.since(at)
        go_on.set()
        await until(lambda: agent.ingest.waiting == 0)
        assert heart.beat()
        # A full disk: told in the sentence, and fed, because the writer tries again and again.
        limit: list[int] = []

        def fill(connection: apsw.Connection) -> None:
            limit.append(int(connection.pragma("page_count")))
            connection.pragma("max_page_count", limit[0])

        agent.ingest.submit(Job(fill, lambda: None))
        await until(lambda: limit)
        wire, device = await UdpWire.to(site.udp_port), site.devices[1]
        for _ in range(2_000):
            device.mint()
        while not agent.ingest.stalled:
            wire.send(device.hello())
            for first in range(1, 2_000, 20):
                wire.send(device.batch(first, 20))
            await asyncio.sleep(0.02)
        for _ in range(3):
            turns = agent.ingest.turns
            await until(lambda t=turns: agent.ingest.turns > t)
            now[0] += 1.5
            assert heart.beat()
        now[0] += 60
        turns = agent.ingest.turns
        await until(lambda: agent.ingest.turns > turns)
        heart.beat()
        await until(lambda: "The disk takes nothing" in manager.sentence())
        agent.database.writer.pragma("max_page_count", 1_000_000)
        await until(lambda: not agent.ingest.stalled)

        def later() -> str:
            now[0] += 60
            heart.beat()
            return manager.sentence()

        await until(lambda: "The disk" not in later())  # neither that it takes nothing nor that it is full
        await heart.stop()
        wire.close()


async def test_nobody_listens(tmp_path: Path) -> None:
    site = Site(tmp_path)
    async with site.agent() as agent:
        heart = Heartbeat(Notifier({}), agent.ingest, agent.status.snapshot, "en")
        task = asyncio.create_task(heart.run())
        await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
        await heart.stop()


async def test_ready_is_said_again_until_it_is_heard(tmp_path: Path, manager: Manager) -> None:
    site = Site(tmp_path)
    before = open_sockets()
    notifier = Notifier(under(tmp_path / "notify", 0.4))
    while notifier.send("X=" + "x" * 2_000):
        pass
    async with site.agent() as agent:
        heart = Heartbeat(notifier, agent.ingest, agent.status.snapshot, "en")
        task = asyncio.create_task(heart.run())
        await until(lambda: notifier.lost > 2)
        at = len(manager.listen())
        await until(lambda: {"READY=1", "WATCHDOG=1"} <= set(manager.since(at)))
        task.cancel()
        await heart.stop()
    await until(lambda: open_sockets() == before)


def test_a_socket_that_is_gone_or_full_is_no_error(tmp_path: Path) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "nothing")})
    assert not notifier.send("READY=1")
    assert notifier.lost == 1
    manager = Manager(tmp_path / "full")
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "full")})
    while notifier.send("WATCHDOG=1", "X=" + "x" * 2_000):
        pass
    assert notifier.lost == 1
    manager.listen()
    assert notifier.send("WATCHDOG=1")


def test_an_abstract_socket_and_the_watchdogs_terms() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        name = f"gatepost-test-{os.getpid()}"
        end.bind(f"\0{name}")
        notifier = Notifier(
            {"NOTIFY_SOCKET": f"@{name}", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "12"}, 12
        )
        assert notifier.send("READY=1", status("well"))
        assert end.recv(100) == b"READY=1\nSTATUS=well"
        notifier.close()
    assert notifier.watchdog_s == 3.0
    assert Notifier({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "13"}, 12).watchdog_s is None
    assert Notifier({"WATCHDOG_USEC": "nonsense"}, 12).watchdog_s is None
    assert not Notifier({"NOTIFY_SOCKET": "relative"}).send("READY=1")


def test_a_sentence_is_one_short_printable_line() -> None:
    assert status("a\nREADY=1\x1b[31m") == "STATUS=a?READY=1?[31m"
    assert len(status("x" * 9_999)) == len("STATUS=") + MAX_STATUS


def snapshot(**changes: object) -> dict[str, object]:
    device = {"id": 7, "name": "", "online": True, "last_contact_ms": 5, "battery_mv": None}
    found: dict[str, object] = {
        "store": {"problem": "", "held_raw": 0},
        "disk": {"state": "ok", "free_bytes": 50 << 20},
        "ports": [{"name": "A", "up": True}],
        "office": {"problem": "", "denied": "", "refused": {"rows": 0, "first": None}},
        "guard": {"wrong": 0, "alarms": 0},
        "backlog": {"alarms": 0, "words": {"en": "nothing waits", "zh": "没有待上传的事件"}},
        "devices": [device, {**device, "id": 8, "online": False, "last_contact_ms": 0}],
    }
    found.update(changes)
    return found


@pytest.mark.parametrize(
    ("changes", "english", "chinese"),
    [
        ({}, "nothing waits; 1 of 2 devices online", "没有待上传的事件；2 台设备，1 台在线"),
        ({"office": None}, "nothing waits; 1 of 2", "没有待上传的事件；2 台"),
        (
            {"store": {"problem": "disk full", "held_raw": 0}},
            "The disk takes nothing: devices keep their events and send them when it does again (disk full); nothing",
            "无法写入磁盘：记录暂时保留在设备上，磁盘恢复后自动补收（disk full）；没有",
        ),
        (
            {"disk": {"state": "full", "free_bytes": 63 << 20}},
            "The disk is full (63 MiB free): events stay with their devices until there is room; nothing",
            "磁盘已满（剩余 63 MiB）：记录保留在设备上，有空间后自动补收；没有",
        ),
        ({"ports": [{"name": "A", "up": False}]}, "Port lost: A; nothing", "端口断开：A；没有"),
        (
            {"office": {"problem": "401", "denied": "revoked", "refused": {"rows": 0, "first": None}}},
            "The office has revoked this edge",
            "办公室已撤销本机",
        ),
        (
            {"office": {"problem": "refused", "denied": "", "refused": {"rows": 0, "first": None}}},
            "The office is not reached: refused; nothing",
            "连不上办公室：refused；没有",
        ),
    ],
)
def test_the_sentence(changes: dict[str, object], english: str, chinese: str) -> None:
    assert health.sentence(snapshot(**changes), "en").startswith(english)
    assert health.sentence(snapshot(**changes), "zh").startswith(chinese)


def test_the_worst_comes_first() -> None:
    told = health.sentence(snapshot(store={"problem": "x", "held_raw": 1}), "en", gets_on=False)
    assert told.startswith("THE WRITER DOES NOT GET ON; The disk takes nothing")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, "en"), ({"LANG": "zh_CN.UTF-8"}, "zh"), ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en")],
)
def test_language_by_the_locale(environment: dict[str, str], expected: str) -> None:
    assert language(environment) == expected


def test_a_clock_by_timesyncds_file(tmp_path: Path) -> None:
    file = tmp_path / "synchronized"
    assert not kernel_clock.by_timesyncd(file, 1_000.0)
    file.touch()
    os.utime(file, (10_000, 10_000))
    assert kernel_clock.by_timesyncd(file, 10_000 + kernel_clock.TIMESYNCD_MAX_AGE_S - 1)
    assert not kernel_clock.by_timesyncd(file, 10_000 + kernel_clock.TIMESYNCD_MAX_AGE_S + 1)


def test_a_folder_that_takes_no_file_is_no_reason_not_to_start(tmp_path: Path) -> None:
    import faulthandler

    was = faulthandler.is_enabled()
    assert hang.arm(tmp_path / "nowhere") == []
    assert faulthandler.is_enabled()
    if not was:
        faulthandler.disable()
