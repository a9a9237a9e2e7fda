"""The sender against a device that keeps chunks: losses, restarts, refusals; who may hand over a release."""

from __future__ import annotations

import hashlib
import random
from binascii import crc32
from pathlib import Path
from typing import Any

import aiohttp
import cbor2
import pytest

from edge_agent.errors import ReleaseError
from edge_agent.tests.device import PtyWire, sync
from edge_agent.tests.harness import Site, until
from edge_agent.updates.courier import gap_ms
from edge_agent.updates.release import Release, read, unpack
from edge_agent.updates.sender import CHUNK, Sender
from gatelink import cbor, manifest
from gatelink.messages import DONE, FAILED, NOT_YET, REFUSED, Result, Update

FILES = {
    "node/a.mpy": bytes(range(256)) * 9,
    "node/b.mpy": b"b",
    "part.mpy": b"c" * 513,
    **{f"more/file_{n}.mpy": bytes([n]) * 100 for n in range(12)},
}


def release(files: dict[str, bytes] = FILES, seq: int = 5) -> Release:
    """Signed by nobody: the edge does not look at that."""
    fields = {
        "ver": f"1.0.{seq}", "seq": seq, "min_seq": 0, "model": "patrol_tag", "mpy_abi": 6, "expires": 1,
        "files": {name: [len(data), hashlib.sha256(data).digest()] for name, data in files.items()},
    }  # fmt: skip
    return read(manifest.wrap(bytes(8), cbor.dumps(fields), bytes([seq]) * 64), files)


class Keeper:
    """Answers as firmware/node/update.py does; `has` lasts, the manifest that was told does not."""

    def __init__(self, has: set[str] | None = None) -> None:
        self.has = set(has or ())
        self.chunks: dict[tuple[str, int], bytes] = {}
        self.restart()

    def restart(self) -> None:
        self._head: dict[int, bytes] = {}
        self._busy = 0
        self.answer: tuple[int, str] | None = None

    def take(self, update: Update) -> Result:
        code, word, about = self._judge(update)
        return Result(
            0, code, f"{word} {about or f'{update.name} {update.offset}'} {crc32(update.chunk):08x}"
        )

    def _judge(self, update: Update) -> tuple[int, str, str]:
        if self._busy:
            self._busy -= 1
            return NOT_YET, "busy", ""
        if update.name != "manifest":
            if len(b"".join(self._head.values())) != len(release().signed):
                return REFUSED, "no_manifest", ""
            self.chunks[update.name, update.offset] = update.chunk
            return DONE, "ok", ""
        if self.answer is not None:
            return *self.answer, ""
        self._head[update.offset] = update.chunk
        for offset in range(0, update.total, CHUNK):
            if offset not in self._head:
                return NOT_YET, "want", f"manifest {offset}"
        for name in sorted(set(FILES) - self.has):
            for offset in range(0, len(FILES[name]), CHUNK):
                if (name, offset) not in self.chunks:
                    return NOT_YET, "want", f"{name} {offset}"
        self._busy = 2
        self.answer = (DONE, "ok")
        return NOT_YET, "busy", ""


def play(keeper: Keeper, lost: float = 0.0, restarts: float = 0.0, seed: int = 1) -> tuple[Sender, int]:
    """Until the device says it is ready -> the sender and how long it took in ms."""
    rng = random.Random(seed)
    sender = Sender(release())
    on_way: list[tuple[int, Result]] = []
    for now_ms in range(0, 40_000_000, 50):
        if rng.random() < restarts:
            keeper.restart()
            sender.greeted(now_ms)
        for _, result in [each for each in on_way if each[0] <= now_ms]:
            sender.answered(result, now_ms)
        on_way = [each for each in on_way if each[0] > now_ms]
        message = sender.next(now_ms)
        if message is not None and rng.random() >= lost:
            result = keeper.take(message)
            if rng.random() >= lost:
                on_way += [(now_ms + rng.randrange(10, 400), result)] * rng.choice((1, 1, 1, 2))
        if sender.phase == "waiting to restart":
            return sender, now_ms
    raise AssertionError(sender.phase)


def whole(keeper: Keeper) -> bool:
    return all(
        b"".join(keeper.chunks[name, at] for at in range(0, len(FILES[name]), CHUNK)) == FILES[name]
        for name in set(FILES) - keeper.has
    )


def test_a_good_line_takes_each_chunk_once() -> None:
    keeper = Keeper()
    sender, _ = play(keeper)
    assert whole(keeper)
    chunks = sum(-(-len(data) // CHUNK) for data in FILES.values())
    # one question a file, the manifest, the wait for the check
    assert sender.sent <= chunks + len(FILES) + 8
    assert sender.held == sender.release.size


def test_what_the_device_has_is_not_sent() -> None:
    keeper = Keeper(has={"node/a.mpy", "part.mpy"})
    play(keeper)
    assert whole(keeper)
    assert not any(name in keeper.has for name, _ in keeper.chunks)


@pytest.mark.parametrize("seed", range(40))
def test_losses_and_restarts_end_well(seed: int) -> None:
    keeper = Keeper()
    play(keeper, lost=0.3, restarts=0.002, seed=seed)
    assert whole(keeper)


def asked(sender: Sender, now_ms: int = 0) -> Update:
    message = sender.next(now_ms)
    assert message is not None
    return message


@pytest.mark.parametrize(
    ("code", "word", "state"),
    [
        (REFUSED, "bad_signature", "refused"),
        (REFUSED, "rolled_back", "rolled_back"),
        (REFUSED, "already_running", "done"),
        (REFUSED, "on_trial", "sending"),
        (FAILED, "disk_full", "sending"),
    ],
)
def test_refusals(code: int, word: str, state: str) -> None:
    sender = Sender(release())
    question = asked(sender)
    sender.answered(Result(0, code, f"{word} manifest {question.offset} {crc32(question.chunk):08x}"), 100)
    assert sender.state == state
    assert sender.reason == ("" if word in ("already_running", "on_trial") else word)


def test_an_answer_to_another_version_says_nothing() -> None:
    sender, before = Sender(release()), Sender(release(seq=4))
    question, old = asked(sender), asked(before)
    assert question.offset == old.offset
    sender.answered(Result(0, REFUSED, f"too_old manifest {old.offset} {crc32(old.chunk):08x}"), 100)
    assert (sender.state, sender.reason) == ("sending", "")
    sender.answered(Result(0, NOT_YET, ""), 100)  # firmware that knows no updates
    assert (sender.state, sender.reason) == ("sending", "takes_no_updates")


@pytest.mark.parametrize(
    "detail", ["", "want", "want x y z", "want ../x 0 00000000", "ok  0 -0000001", "want manifest 7 0"]
)
def test_nonsense_harms_nobody(detail: str) -> None:
    sender = Sender(release())
    question = asked(sender)
    for code in range(6):
        sender.answered(Result(0, code, detail), 0)
        sender.answered(Result(0, code, f"want nowhere.mpy 0 {crc32(question.chunk):08x}"), 0)
        asked(sender, 10_000_000 * (code + 1))


def test_a_device_that_never_has_enough_is_given_up() -> None:
    sender = Sender(release())
    now_ms = 0
    while sender.state == "sending":
        now_ms += 100_000
        message = asked(sender, now_ms)
        if message.name == "manifest":
            detail = f"want part.mpy 0 {crc32(message.chunk):08x}"
            sender.answered(Result(0, NOT_YET, detail), now_ms)
        assert now_ms < 10**9
    assert sender.reason == "does_not_come_to_an_end"


def test_releases_are_checked() -> None:
    good = release()
    packed = {"v": 1, "manifest": good.signed, "files": FILES}
    assert unpack(cbor2.dumps(packed)).about.seq == 5
    for bad in (
        [],
        {**packed, "v": 2},
        {**packed, "manifest": "x"},
        {**packed, "manifest": b"x"},
        {**packed, "files": {}},
        {**packed, "files": {**FILES, "part.mpy": b"d" * 513}},
        {**packed, "files": {**FILES, 5: b""}},
    ):
        with pytest.raises(ReleaseError):
            unpack(cbor2.dumps(bad))
    with pytest.raises(ReleaseError, match="no CBOR"):
        unpack(b"\xff")


def test_slow_lines_get_longer_pauses() -> None:
    assert gap_ms(150, None) == 150
    assert gap_ms(150, 115_200) == 156
    assert gap_ms(150, 9_600) == 1_875


async def call(port: int, method: str, token: str, body: bytes) -> tuple[int, dict[str, Any]]:
    url = f"http://127.0.0.1:{port}/devices/7/update"
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, url, data=body, headers=headers) as answer,
    ):
        return answer.status, dict(await answer.json())


async def test_it_is_durable_shown_and_withdrawn(tmp_path: Path) -> None:
    site = Site(tmp_path)
    device, wire = site.devices[0], PtyWire(site.link)
    (tmp_path / "control").write_text("control-token\n")
    (tmp_path / "control").chmod(0o600)
    text = site.config_path.read_text().replace("[status]\n", '[status]\ncontrol_token_file = "control"\n')
    site.config_path.write_text(text)
    body = cbor2.dumps({"v": 1, "manifest": release().signed, "files": FILES})
    async with site.agent() as agent:
        port = agent.status.port
        assert (await call(port, "POST", "wrong", body))[0] == 401
        assert (await call(port, "DELETE", "control-token", b""))[0] == 404
        assert (await call(port, "POST", "control-token", b"x"))[0] == 400
        assert (await call(port, "POST", "control-token", bytes(400_000)))[0] == 400
        assert (await call(port, "POST", "control-token", body))[1]["version"] == "1.0.5"
        assert agent.courier.describe(7) is not None
    async with site.agent() as agent:
        await sync(device, wire)
        await until(
            lambda: any(
                isinstance(device.take(wire.inbox.get_nowait()), Update) for _ in range(wire.inbox.qsize())
            )
        )
        found = agent.courier.describe(7)
        assert found is not None
        assert (found["version"], found["state"], found["of"]) == ("1.0.5", "sending", release().size)
        assert (await call(agent.status.port, "DELETE", "control-token", b""))[0] == 200
    async with site.agent() as agent:
        found = agent.courier.describe(7)
        assert found is not None
        assert found["state"] == "withdrawn"
    wire.close()
