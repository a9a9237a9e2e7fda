"""100,000 frames that must have no effect on the edge: real sessions, switchboard and writer, real SQLite."""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from edge_agent import down_piv, rotation, runs
from edge_agent.tests.pump import Pump, pump
from edge_agent.tests.test_rotation import RealEdge, folder  # noqa: F401 - a fixture
from firmware.tests.forgery import HEADER, REASONS, check, storm
from firmware.tests.peer import DEVICE, LINK_KEY
from firmware.tests.test_rekey import NEW_KEY, RotatingLab
from gatelink import cose, events, messages

FRAMES = 1_000_000 if os.environ.get("GATEPOST_SOAK") == "1" else 100_000
NEIGHBOUR, BANNED, STRANGER = DEVICE ^ 1, 77, 4711
OTHER_KEY, BANNED_KEY = bytes(range(1, 33)), bytes(range(2, 34))


def session_state(edge: Pump, device: int) -> tuple[Any, ...]:
    """Everything of a session that a frame could change."""
    session = edge.session(device)
    found = session.rotation
    return (
        session.boot, session._boot_nonce, session._window.high, session._window.mask, session.acked_seq, session.gaps,
        session.frames, session.online, session.last_contact_ms, session.firmware, session.battery_mv, session.pending,
        session.refused, set(session._held), session.port_name, session._keys.epoch, session._keys.up_key,
        found.describe(), found.next and found.next.up_key, session._book.to_value(),
    )  # fmt: skip


def prepared(edge: Pump, *, pending: bool) -> tuple[Any, dict[str, list[bytes]], list[bytes]]:
    """A device in its second epoch and third boot; what was on the line before; frames that would be taken now."""
    lab: Any = RotatingLab(5)
    lab.edge = RealEdge(edge)
    up: list[bytes] = []
    down: list[bytes] = []
    receive = lab.edge.receive

    def recorded(frame: bytes, now_ms: int) -> list[bytes]:
        answers: list[bytes] = receive(frame, now_ms)
        up.append(frame)
        down.extend(answers)
        return answers

    lab.edge.receive = recorded
    for _ in range(40):
        lab.record()
        lab.run(lab.now_ms + 2_000)
    epoch_1 = list(up)
    up.clear()
    for frame in lab.edge.rotate():
        lab.post(False, frame)
    lab.live(lab.now_ms + 100_000, lab.one_key)
    assert lab.keys.epoch == 2
    held_back = []
    for _ in range(40):
        # Half of them never reached the edge: they are fresh to it, but of a boot that is over by then.
        lab.record()
        lab.run(lab.now_ms + 2_000)
        held_back.append(lab.uplink._seal(messages.Result(1, 0, "")))
    boot_1 = up + held_back
    lab.reboot()
    up = []
    lab.run(lab.now_ms + 5_000, lab.settled)
    for _ in range(40):
        lab.record()
        lab.run(lab.now_ms + 2_000)
    lab.record()
    taken = [frame for frame in up if frame not in boot_1]
    fresh = [frame for frame in lab.uplink.poll(lab.uptime_ms()) if frame]
    fresh += [lab.uplink._seal(messages.Result(number, 0, "")) for number in range(40)]
    fresh.append(lab.uplink._seal(lab.uplink._status(lab.uptime_ms())))
    fresh.append(lab.uplink._seal(lab.uplink._hello(lab.uptime_ms())))
    fresh += [_one_event(lab, seq) for seq in range(lab.journal.next_seq, lab.journal.next_seq + 20)]
    if pending:
        edge.session(DEVICE).rotation.start()
        edge.flush()
    material = {
        "old epoch": [frame for frame in epoch_1 if _opens(LINK_KEY, 1, frame)],
        "old boot": boot_1,
        "replayed": taken,
        "reflected": down,
    }
    return lab, material, fresh


def _opens(key: bytes, epoch: int, frame: bytes) -> bool:
    try:
        cose.open_(cose.derive(key, DEVICE, epoch), cose.UP, frame)
    except cose.AuthError:
        return False
    return True


def _one_event(lab: Any, seq: int) -> bytes:
    payload = events.encode(events.VISIT, bytes(7))
    frame: bytes = lab.uplink._seal(messages.Events(seq, lab.boot, 99_999, payload, None, 0, None))
    return frame


def stored(edge: Pump) -> list[object]:
    """Everything that the store holds but the counter of frames to devices."""
    return [(table, [row for row in rows if row[0] != down_piv.NAME]) for table, rows in edge.dump()]


def run_storm(folder: Path, count: int, *, pending: bool) -> dict[str, Counter[str]]:  # noqa: F811
    """count hostile frames to an edge -> kind -> reason -> frames; needs a running loop. Fails on any effect."""
    given = {DEVICE: (LINK_KEY, 1), NEIGHBOUR: (OTHER_KEY, 1), BANNED: (BANNED_KEY, 0)}
    with pump(folder, given) as edge:
        _, recorded, fresh = prepared(edge, pending=pending)
        dropped = edge.agent.orders.drop_key(edge.session(BANNED))
        edge.flush()
        assert dropped.done()
        rng = random.Random(11)
        current = NEW_KEY
        neighbour = cose.derive(current, NEIGHBOUR, 2)
        foreign = {
            "forged": cose.derive(bytes(range(3, 35)), DEVICE, 2),
            "cross-device": neighbour,
            "revoked": cose.derive(BANNED_KEY, BANNED, 0),
            "unknown": cose.derive(OTHER_KEY, STRANGER, 1),
        }
        payload = events.encode(events.SOS, None)

        def plaintext() -> bytes:
            return messages.encode(messages.Events(rng.randrange(1, 1_000), 3, 5, payload, None, 0, None))

        rejects = edge.agent.rejects
        rejects.total.clear()
        rejects.by_device.clear()
        rejects.by_port.clear()
        before = stored(edge)
        states = [session_state(edge, device) for device in (DEVICE, NEIGHBOUR)]
        edge.commits = 0
        reasons = {**REASONS, "revoked": ("revoked",), "unknown": ("unknown_device",)}
        found: dict[str, Counter[str]] = {}
        sent: Counter[str] = Counter()
        answers = 0
        for kind, frame in storm(count, rng, recorded, fresh, foreign, plaintext, DEVICE, cose.UP):
            old = Counter(rejects.total)
            answers += len(edge.take(frame))
            found.setdefault(kind, Counter()).update(rejects.total - old)
            sent[kind] += 1
        # The answers to replays take numbers, which are reserved in blocks; nothing else is written.
        assert edge.commits <= answers // down_piv.BLOCK + 2
        assert edge.commits == 0 or answers > down_piv.FIRST // 2
        assert stored(edge) == before
        assert [session_state(edge, device) for device in (DEVICE, NEIGHBOUR)] == states
        assert set(sent) == set(reasons)
        assert min(sent.values()) >= count // len(sent)
        for kind, number in sent.items():
            assert set(found[kind]) <= set(reasons[kind]), (kind, found[kind])
            assert found[kind].total() == number, (kind, found[kind])
        assert rejects.total.total() == count == rejects.by_port["line"].total()
        # A replay is told once more what is committed, and nothing else is answered.
        assert answers == rejects.total["replayed"]
        assert rejects.by_device[BANNED]["revoked"] == sent["revoked"]
        # And the device is still heard: none of it moved the replay window.
        assert edge.take(*fresh)
        assert edge.session(DEVICE).acked_seq >= 121
        assert edge.commits > 0
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("count", "pending"), [(FRAMES, False), (20_000, True)])
async def test_frames_without_effect(
    folder: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    pending: bool,
) -> None:
    monkeypatch.setattr(rotation.secrets, "token_bytes", lambda _: NEW_KEY)
    run_storm(folder, count, pending=pending)


def held(edge: Pump) -> tuple[Any, ...]:
    """What an edge holds of the device, however its rows were cut, and its replay window."""
    found = {
        row.first_seq + index: (row.boot, row.uptime_cs + since, payload)
        for row in edge.rows()
        if row.device == DEVICE and row.items
        for index, (since, payload) in enumerate(runs.split(row.items))
    }
    session = edge.session(DEVICE)
    window = (session._window.high, session._window.mask)
    stored = list(edge.agent.database.writer.execute("SELECT epoch, piv_high, piv_mask, upto FROM device"))
    return found, window, session.acked_seq, session.gaps, session.boot, session.frames, stored


@pytest.mark.slow
async def test_hostile_frames_between_genuine_ones_of_one_read(
    folder: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rotation.secrets, "token_bytes", lambda _: NEW_KEY)
    (folder / "with").mkdir()
    (folder / "without").mkdir()
    given = {DEVICE: (LINK_KEY, 1), NEIGHBOUR: (OTHER_KEY, 1)}
    with pump(folder / "without", given) as plain, pump(folder / "with", given) as edge:
        lab, _, _ = prepared(plain, pending=False)
        other, recorded, fresh = prepared(edge, pending=False)
        assert lab.journal.next_seq == other.journal.next_seq
        rng = random.Random(13)
        first = other.journal.next_seq - 1
        genuine = [_one_event(other, first + number) for number in range(600)]
        # Two frames of one counter would be a fault of the device; the storm is made of other ones than these.
        foreign = {
            "forged": cose.derive(bytes(range(3, 35)), DEVICE, 2),
            "cross-device": cose.derive(OTHER_KEY, 9, 1),
        }
        make = lambda: b"\x84\x03\x01\x00\x60"  # noqa: E731
        hostile = [frame for _, frame in storm(12_000, rng, recorded, fresh, foreign, make, DEVICE, cose.UP)]
        edge.agent.rejects.total.clear()
        sent = 0
        while genuine:
            count = rng.randrange(1, 6)
            good, genuine = genuine[:count], genuine[count:]
            plain.take(*good)
            read = list(good)
            for _ in range(rng.randrange(min(40, len(hostile) + 1))):
                sent += 1
                # Also copies of what this very read brings: behind the original they are replays.
                at = rng.randrange(len(read) + 1)
                read.insert(at, hostile.pop() if rng.randrange(10) else read[at - 1] if at else hostile.pop())
            edge.take(*read)
        assert sent > 2_000
        assert edge.agent.rejects.total.total() == sent
        assert held(edge) == held(plain)
        assert edge.session(DEVICE).acked_seq >= first + 599


def test_every_reason_that_is_expected_has_a_name() -> None:
    assert set(HEADER) | {"replayed"} == {reason for found in REASONS.values() for reason in found}
    check("noise", {"truncated": 2, "bad_header": 1}, 3)
