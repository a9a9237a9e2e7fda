"""Rotation and revocation: the real edge on SQLite, the real device on NVS, everything fails once everywhere."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent import own_events, rotation, runs
from edge_agent.clock import Clock
from edge_agent.errors import CommandRefusedError, ConfigError
from edge_agent.store.keys import KeyRow
from edge_agent.tests.harness import until
from edge_agent.tests.pump import AFTER, BEFORE, Pump, pump
from firmware.tests.peer import DEVICE, EPOCH_MS, LINK_KEY
from firmware.tests.test_rekey import NEW_KEY, RotatingLab
from gatelink import cose, events, messages
from node.keystore import KeyStore

SOAK = os.environ.get("GATEPOST_SOAK") == "1"
GIVEN = {DEVICE: (LINK_KEY, 1)}


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where there is such a place: what is cut here is the order of commits, not the disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


@pytest.fixture(autouse=True)
def known_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation.secrets, "token_bytes", lambda _: NEW_KEY)


class RealEdge:
    """The lab's other end is an agent."""

    def __init__(self, edge: Pump, device: int = DEVICE) -> None:
        self.pump = edge
        self.device = device
        self.asked = False

    def receive(self, frame: bytes, now_ms: int) -> list[bytes]:
        self.pump.now_ms = EPOCH_MS + now_ms
        answers = self.pump.take(frame)
        self.ask_again()
        return answers

    def rotate(self) -> list[bytes]:
        self.asked = True
        self.pump.line.sent = []
        self.pump.session(self.device).rotation.start()
        self.pump.flush()
        self.ask_again()
        return self.pump.line.sent

    def ask_again(self) -> None:
        """A kill before the pending key was on disk: whoever asked for the rotation asks again."""
        found = self.pump.session(self.device).rotation
        if self.asked and found.next is None and found.keys.epoch == 1:
            found.start()
            self.pump.flush()

    @property
    def keys(self) -> cose.Keys:
        return self.pump.session(self.device).rotation.keys

    @property
    def next(self) -> cose.Keys | None:
        return self.pump.session(self.device).rotation.next

    @property
    def acked(self) -> int:
        return self.pump.session(self.device).acked_seq


def started(edge: Pump, *, at_once: bool = True, seed: int = 1) -> Any:
    """A lab in session with the agent, three events delivered."""
    lab: Any = RotatingLab(seed, at_once)
    lab.edge = RealEdge(edge)
    for _ in range(3):
        lab.record()
    lab.run(3_000)
    assert lab.uplink.online
    assert lab.settled()
    return lab


def rotate(
    folder: Path,
    *,
    at_once: bool = True,
    kill: tuple[int, str] = (0, BEFORE),
    cut: tuple[int, bool] = (0, False),
    lose: Iterable[int] = (),
) -> tuple[int, int, int]:
    """One rotation with faults -> commits of the edge, NVS operations, frames that it took."""
    with tempfile.TemporaryDirectory(dir=folder) as name, pump(Path(name), GIVEN) as edge:
        lab = started(edge, at_once=at_once)
        lab.nvs.cut_at(*cut)
        edge.kill_at(*kill)
        lab.posted, lab.lose = 0, tuple(lose)
        for frame in lab.edge.rotate():
            lab.post(False, frame)
        lab.record()
        lab.live(lab.now_ms + 600_000, lambda: lab.one_key() and lab.settled())
        where = (at_once, kill, cut, lose)
        assert lab.one_key(), where
        assert lab.settled(), where
        assert lab.keys.epoch == lab.edge.keys.epoch == 2, where
        took = (edge.commits, lab.nvs.ops, lab.posted)
        lab.lose, edge.kill = (), (0, BEFORE)
        # The old key is gone on both sides, the new one works both ways, and nothing was lost or came twice.
        old = cose.derive(LINK_KEY, DEVICE, 1)
        before = edge.agent.rejects.total["not_authentic"]
        edge.take(cose.seal(old, cose.UP, 1 << 39, messages.encode(messages.Result(1, 0, ""))))
        assert edge.agent.rejects.total["not_authentic"] == before + 1
        lab.record()
        lab.run(lab.now_ms + 5_000, lab.settled)
        assert lab.settled()
        order = messages.Command(5, messages.OPEN, lab.uptime_ms() + 1_000, None)
        edge.line.sent = []
        assert edge.session(DEVICE).send(order)
        lab.uplink.receive(edge.line.sent[0], lab.uptime_ms())
        assert [action for _, action, _ in lab.commands] == [messages.OPEN], where
        stored = {
            row.first_seq + index: (row.boot, row.uptime_cs + since, payload)
            for row in edge.rows()
            if row.device == DEVICE and row.items
            for index, (since, payload) in enumerate(runs.split(row.items))
        }
        assert stored == lab.truth, where
        (row,) = edge.agent.database.writer.execute("SELECT epoch, key, next_key FROM link_key")
        assert row == (2, NEW_KEY, None)
        told = [row.items for row in edge.rows() if row.items[:4] == b"\x83\x18\x49\x1a"]
        assert len(told) == 1, where
        return took


async def test_a_rotation_and_how_much_of_it_can_fail(folder: Path) -> None:
    commits, operations, frames = rotate(folder)
    assert operations == 8
    assert commits >= 4
    assert 6 <= frames <= 14


async def test_every_single_fault(folder: Path) -> None:
    for commit, when in itertools.product(range(1, 11), (BEFORE, AFTER)):
        commits, _, _ = rotate(folder, kill=(commit, when))
        assert commits >= min(commit, 4)
    for op, after, at_once in itertools.product(range(1, 9), (False, True), (False, True)):
        rotate(folder, cut=(op, after), at_once=at_once)
    for first, length in itertools.product(range(1, 15), (1, 3, 6)):
        rotate(folder, lose=range(first, first + length))


KILLS = [(0, BEFORE), *itertools.product(range(1, 6), (BEFORE, AFTER))]
CUTS = [
    (0, False),
    *itertools.product(range(1, 11), (False, True)),
]  # past 8: the boot after a first cut, too
LOSSES = [(0, 0), *itertools.product(range(1, 15), (1, 4))]


def part(cases: Iterable[Any], size: int = 250) -> list[Any]:
    """A seeded choice for every day, up to 4,000 cases with GATEPOST_SOAK=1 (all there are of two faults)."""
    found = list(cases)
    return random.Random(7).sample(found, min(4_000 if SOAK else size, len(found)))


@pytest.mark.slow
async def test_every_two_faults(folder: Path) -> None:
    for kill, cut in itertools.product(KILLS, CUTS):
        rotate(folder, kill=kill, cut=cut, at_once=bool((kill[0] + cut[0]) % 2))
    for kill, (first, length) in part(itertools.product(KILLS, LOSSES)):
        rotate(folder, kill=kill, lose=range(first, first + length))
    for cut, (first, length) in part(itertools.product(CUTS, LOSSES)):
        rotate(folder, cut=cut, lose=range(first, first + length), at_once=bool((first + cut[0]) % 2))


@pytest.mark.slow
async def test_three_faults(folder: Path) -> None:
    for kill, cut, (first, length), at_once in part(
        itertools.product(KILLS, CUTS, LOSSES, (False, True)), 300
    ):
        rotate(folder, kill=kill, cut=cut, lose=range(first, first + length), at_once=at_once)


async def test_a_device_that_refuses_keeps_the_old_key(folder: Path) -> None:
    with pump(folder, GIVEN) as edge:
        lab = started(edge)
        lab.keys.epoch = 7  # as a device would that is somewhere else
        for frame in lab.edge.rotate():
            lab.post(False, frame)
        lab.run(lab.now_ms + 200_000)
        found = edge.session(DEVICE).rotation
        assert found.describe() == {"epoch": 1, "pending": 2, "problem": "code 1 epoch is 7"}
        assert lab.uplink.online
        sent = lab.posted
        lab.run(lab.now_ms + 50_000)
        assert lab.posted - sent <= 4  # not told again and again
        lab.keys.epoch = 1
        lab.live(lab.now_ms + 1, lambda: False)
        lab.reboot()  # after its next hello it is asked again
        lab.live(lab.now_ms + 100_000, lab.one_key)
        assert lab.one_key()
        assert lab.keys.epoch == 2


async def test_two_rotations_and_the_files_are_the_owners_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pump(folder, GIVEN) as edge:
        lab = started(edge)
        third = bytes(range(60, 92))
        lab.keys_known = ((LINK_KEY, 1), (NEW_KEY, 2), (third, 3))
        for number, key in ((2, NEW_KEY), (3, third)):
            monkeypatch.setattr(rotation.secrets, "token_bytes", lambda _, key=key: key)
            for frame in lab.edge.rotate():
                lab.post(False, frame)
            lab.live(lab.now_ms + 100_000, lambda n=number: lab.one_key() and lab.keys.epoch == n)
            assert lab.one_key()
            edge.restart()
            lab.record()
            lab.live(lab.now_ms + 100_000, lab.settled)
        assert KeyStore(lab.nvs.reopen()).keys.up_key == cose.derive(third, DEVICE, 3).up_key
        found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder / "data").iterdir()}
        assert {"edge.sqlite", "edge.sqlite-wal", "edge.sqlite-shm"} <= set(found)
        for name, mode in found.items():
            assert mode & 0o077 == 0 or name == "agent.lock", (name, oct(mode))


async def test_the_last_epoch_and_what_is_pending_already(folder: Path) -> None:
    with pump(folder, {7: (LINK_KEY, 65_535), 8: (NEW_KEY, 0)}) as edge:
        with pytest.raises(CommandRefusedError, match="last epoch"):
            await edge.session(7).rotation.rotate(1)
        for _ in range(3):
            edge.session(8).rotation.start()
        edge.flush()
        before = edge.dump()
        edge.session(8).rotation.start()
        edge.flush()
        assert edge.dump() == before
        edge.restart()
        assert edge.session(8).rotation.next is not None


def own_payloads(edge: Pump) -> list[bytes]:
    return [row.items for row in edge.rows() if row.device == 1]


async def test_revoked_by_control_stays_revoked(folder: Path) -> None:
    with pump(folder, GIVEN) as edge:
        lab = started(edge)
        for frame in lab.edge.rotate():
            lab.post(False, frame)
        lab.edge.asked = False
        frames = [lab.uplink._seal(messages.Result(1, 0, "")) for _ in range(5)]
        lab.queue = []
        dropped = edge.agent.orders.drop_key(edge.session(DEVICE))
        assert edge.take(*frames[:3]) == []
        assert dropped.done()
        assert edge.agent.rejects.by_device[DEVICE] == {"revoked": 3}
        await edge.agent.orders.revoke(DEVICE)  # once more: nothing more happens
        alarm = own_events.own(own_events.REVOKED, DEVICE)
        assert own_payloads(edge).count(alarm) == 1
        for _ in range(2):
            edge.restart()
            assert edge.take(*frames[3:]) == []
            assert edge.agent.rejects.total == {"revoked": 2}
        assert own_payloads(edge).count(alarm) == 1
        assert events.class_of(own_events.REVOKED) == events.ALARM
        (row,) = edge.agent.database.writer.execute("SELECT key, next_key FROM link_key")
        assert row == (b"", None)
        with pytest.raises(KeyError):
            await edge.agent.orders.rotate(DEVICE, 1)
        # New keys over USB, and it is a device of this edge again.
        edge.write_devices({DEVICE: (NEW_KEY, 2)})
        edge.restart()
        up = cose.derive(NEW_KEY, DEVICE, 2)
        hello = messages.Hello(1, 1, bytes(8), 5, 1, "x", 1, 1)
        assert edge.take(cose.seal(up, cose.UP, 1 << 16, messages.encode(hello)))
        edge.restart()
        # And the old file doesn't come back.
        edge.write_devices(GIVEN)
        with pytest.raises(ConfigError, match="1 is older than 2"):
            edge.restart()
        edge.write_devices({DEVICE: (NEW_KEY, 2)})
        edge.agent = edge._start()


@pytest.mark.parametrize("when", [BEFORE, AFTER])
async def test_revoked_by_file_alarms_once_whenever_it_is_killed(folder: Path, when: str) -> None:
    with pump(folder, GIVEN) as edge:
        lab = started(edge)
        frame = lab.uplink._seal(messages.Result(1, 0, ""))
        edge.write_devices(GIVEN, revoked=True)
        edge.kill_at(1, when)
        edge.restart()
        edge.flush()
        assert edge.kills == 1
        edge.restart()
        edge.flush()
        assert edge.take(frame) == []
        assert edge.agent.rejects.total == {"revoked": 1}
        assert own_payloads(edge).count(own_events.own(own_events.REVOKED, DEVICE)) == 1
        # Taking the line out again gives nothing back.
        edge.write_devices(GIVEN)
        edge.restart()
        assert edge.take(frame) == []
        assert edge.agent.rejects.total == {"revoked": 1}


async def test_provisioned_anew_after_a_rotation(folder: Path) -> None:
    with pump(folder, GIVEN) as edge:
        lab = started(edge)
        for frame in lab.edge.rotate():
            lab.post(False, frame)
        lab.live(lab.now_ms + 100_000, lab.one_key)
        assert lab.keys.epoch == 2
        # The tool counts on from devices.toml: epoch 2 again, with another key.
        other = bytes(range(90, 122))
        edge.write_devices({DEVICE: (other, 2)})
        edge.restart()
        assert edge.session(DEVICE).acked_seq == lab.edge.acked >= 3
        up = cose.derive(other, DEVICE, 2)
        hello = messages.Hello(1, 1, bytes(8), 5, 1, "x", 5, 5)
        assert edge.take(cose.seal(up, cose.UP, 1 << 16, messages.encode(hello)))
        edge.write_devices({DEVICE: (NEW_KEY, 1)})
        with pytest.raises(ConfigError, match="right is 2 or more"):
            edge.restart()
        edge.write_devices({DEVICE: (other, 2)})
        edge.agent = edge._start()


async def test_a_refusal_that_is_withdrawn_at_once_does_not_spin() -> None:
    """Found by seed 4413 of the simulation: whoever waited for the rotation then kept the event loop for itself."""
    sent: list[Any] = []
    row = KeyRow(DEVICE, 1, b"", 1, LINK_KEY, None, None)
    one = rotation.Rotation(
        Clock(), row, 20, lambda entry: entry.done(), lambda message: sent.append(message) is None, lambda: 7,
        lambda _: None,
    )  # fmt: skip
    waiting = asyncio.create_task(one.rotate(100))
    await until(lambda: sent)
    one.answered(messages.Result(7, 1, "busy"))
    one.greeted()  # the device began again before the waiting one heard of the refusal
    assert await waiting == (2, False)
    assert len(sent) <= 8, "told more often than every 20 ms"
