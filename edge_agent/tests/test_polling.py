"""The poller alone: whatever is on the line, it never speaks into a turn, never stops asking, and keeps order."""

from __future__ import annotations

import itertools
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.transports import polling
from edge_agent.transports.polling import Poller
from gatelink import bus, cose, framing

MS = 1_000


def sealed(device: int, piv: int, size: int = 30) -> bytes:
    keys = cose.derive(bytes(range(32)), device, 1)
    return cose.seal(keys, cose.DOWN, piv, bytes(size), bytes(8))


def asked(out: bytes) -> list[int]:
    """[device, turn, limit, tell] of the poll that ends a transmission."""
    kind, *fields = bus.decode(framing.Decoder().feed(out)[-1])
    assert kind == bus.POLL
    return fields


def ended(device: int, turn: int, state: int = 0) -> bytes:
    return b"\0" + framing.encode(bus.end(device, turn, state))


@settings(max_examples=150)
@given(st.integers(0, 2**32), st.integers(1, 5))
def test_whatever_comes_in(seed: int, count: int) -> None:
    rng = random.Random(seed)
    numbers = list(range(7, 7 + count))
    poller = Poller(numbers, 115_200, 0)
    now_us = last_poll_us = 0
    for _ in range(300):
        now_us = max(now_us + 1, min(poller.due_us, now_us + rng.randrange(1, 400 * MS)))
        turn = poller._turn
        out = poller.step(now_us)
        if out:
            # a turn that was open is over by its deadline or its end
            assert turn is None or now_us >= turn.end_us
            assert (out[0], out[-1]) == (0, 0)
            assert len(out) <= polling.GAP_BYTES + 1_030 + 40
            last_poll_us = now_us
        # 1 s of babble, a turn that is cut off, the pause of a quiet bus
        assert now_us - last_poll_us < 3_000 * MS
        fate = rng.randrange(8)
        device = rng.choice(numbers)
        if fate == 0:
            poller.feed(rng.randbytes(rng.randrange(1, 80)), now_us)
        elif fate == 1:
            poller.feed(ended(device, rng.randrange(256), rng.randrange(4)), now_us)
        elif fate == 2 and poller._turn is not None:
            mine = ended(poller._turn.station.device, poller._turn.number, rng.randrange(4))
            poller.feed(mine[: rng.randrange(1, len(mine) + 1)], now_us)
        elif fate == 3:
            frame = rng.randbytes(rng.randrange(20, 600))
            poller.send(b"\x83" + frame, urgent=rng.random() < 0.3)
        elif fate == 4:
            poller.paused = not poller.paused
        elif fate == 5:
            poller.feed(b"\0" + framing.encode(b"\x83" + rng.randbytes(30)), now_us)
        assert 0 <= poller._waiting <= polling.MAX_WAITING
        assert poller._waiting == sum(len(block) for _, block, _ in poller._down)


def test_an_adapter_that_hears_itself_takes_no_time_from_the_device() -> None:
    poller = Poller([7], 115_200, 0)
    poller.send(sealed(7, 1))
    out = poller.step(0)
    _, turn, _, _ = asked(out)
    # its own words come back in pieces, the answer comes 190 ms later and begins like them
    for at in range(0, len(out), 5):
        assert poller.feed(out[at : at + 5], 2 * MS) == []
    answer = sealed(7, 2)
    data = b"\0" + framing.encode(answer) + ended(7, turn)[1:]
    found = []
    for at in range(0, len(data), 5):
        found += poller.feed(data[at : at + 5], 190 * MS)
    assert found == [answer]
    assert poller.errors == {"echo": 1}
    assert poller._turn is None
    assert poller.stations[0].heard_us == 190 * MS
    # and one that does not: an answer that begins like a down frame is whole
    poller.send(sealed(7, 3))
    poller.step(300 * MS)
    _, turn, _, _ = 7, poller._turn.number if poller._turn else 0, 0, 0
    data = b"\0" + framing.encode(answer) + ended(7, turn)[1:]
    found = []
    for at in range(0, len(data), 3):
        found += poller.feed(data[at : at + 3], 310 * MS)
    assert found == [answer]


def test_frames_of_one_device_keep_their_order() -> None:
    poller = Poller([7, 8], 115_200, 0)
    poller.step(0)
    poller.send(sealed(7, 1))
    poller.send(sealed(7, 2, 500))  # a chunk of an update
    poller.send(sealed(8, 1))
    poller.send(sealed(7, 3))
    poller.send(sealed(7, 4), urgent=True)
    out = poller.step(300 * MS)
    frames = [block for block in framing.Decoder().feed(out) if block[0] == bus.FRAME]
    # the command's device first, in order; the chunk would be refused behind the command
    assert [cose.peek(frame) for frame in frames] == [(7, 1), (7, 3), (7, 4), (8, 1)]
    assert asked(out)[0] == 7
    assert poller.dropped == 1


def test_a_late_end_ends_nothing_and_its_frames_count() -> None:
    poller = Poller([7, 8], 115_200, 0)
    first = asked(poller.step(0))
    second = asked(poller.step(230 * MS))
    assert (first[0], second[0]) == (7, 8)
    late = sealed(7, 9)
    assert poller.feed(b"\0" + framing.encode(late) + ended(7, first[1]), 240 * MS) == [late]
    assert poller.errors == {"late": 1}
    assert [station.unanswered for station in poller.stations] == [1, 0]
    assert poller._turn is not None
    poller.feed(ended(8, second[1]), 250 * MS)
    assert poller._turn is None


def test_nobody_gets_the_bus_by_asking_for_it() -> None:
    for talks, longest_ms in ((False, 100), (True, 650)):
        poller = Poller([7, 8, 9], 115_200, 0)
        now_us = 0
        asked_us: dict[int, list[int]] = {7: [], 8: [], 9: []}
        for number in range(400):
            now_us = max(poller.due_us, now_us + 1)
            out = poller.step(now_us)
            if out:
                device, turn, limit, _ = asked(out)
                asked_us[device].append(now_us)
                now_us += 10 * MS
                said = framing.encode(sealed(7, number)) if talks and limit and device == 7 else b""
                poller.feed(b"\0" + said, now_us)
                poller.feed(ended(device, turn, bus.MORE | bus.ALARM if device == 7 else 0), now_us)
        for device in (8, 9):
            gaps = [after - before for before, after in itertools.pairwise(asked_us[device])]
            assert max(gaps) <= longest_ms * MS, (talks, device, max(gaps))
            assert len(gaps) >= 5


def polled(poller: Poller, now_us: int, state: int = 0) -> int:
    """Who is polled now; he answers at once. state: with a frame, else his word is not taken."""
    device, turn, _, _ = asked(poller.step(now_us))
    said = b"\0" + framing.encode(sealed(device, turn)) if state else b""
    poller.feed(said + ended(device, turn, state), now_us + 1)
    return device


def test_the_receiver_of_a_command_is_asked_next_also_behind_an_extra_turn() -> None:
    poller = Poller(list(range(7, 27)), 115_200, 0)
    for number in range(3):
        assert polled(poller, number * 20 * MS, bus.ALARM | bus.MORE if number == 2 else 0) == 7 + number
    # the one with an alarm is asked out of turn; meanwhile two commands come, far ahead in the round
    device, turn, _, _ = asked(poller.step(60 * MS))
    assert device == 9
    poller.send(sealed(25, 1), urgent=True)
    poller.send(sealed(26, 1), urgent=True)
    poller.feed(ended(device, turn), 61 * MS)
    # never twice in a row out of turn: each waits for one other, and is not forgotten
    assert [polled(poller, now_ms * MS) for now_ms in range(80, 180, 20)] == [10, 25, 11, 26, 12]


def test_one_who_was_asked_anyway_is_not_asked_again_for_a_command() -> None:
    poller = Poller(list(range(7, 27)), 115_200, 0)
    assert polled(poller, 0, bus.ALARM | bus.MORE) == 7
    assert polled(poller, 20 * MS) == 7
    poller.send(sealed(8, 1), urgent=True)  # whose turn it is in the round
    assert [polled(poller, now_ms * MS) for now_ms in range(40, 100, 20)] == [8, 9, 10]


def test_a_command_on_a_quiet_bus_waits_for_nobody() -> None:
    poller = Poller([7, 8], 115_200, 0)
    assert [polled(poller, now_ms * MS) for now_ms in (0, 10)] == [7, 8]
    poller.send(sealed(7, 1), urgent=True)
    assert polled(poller, 20 * MS) == 7  # out of turn, and the round is over: nobody stands in between
    poller.send(sealed(8, 1), urgent=True)
    alone = poller.step(30 * MS)
    assert [block[0] for block in framing.Decoder().feed(alone)] == [bus.FRAME]
    assert poller.due_us < 45 * MS  # the next round begins at 50
    assert polled(poller, poller.due_us) == 8


def test_a_noise_now_and_then_is_no_jam() -> None:
    for pause_ms, jam in ((4_000, False), (900, True)):
        poller = Poller([7], 115_200, 0)
        assert polled(poller, 0) == 7
        told = []
        for now_ms in range(100, 60_000, 100):  # from now on nobody answers
            poller.step(now_ms * MS)
            if not now_ms % pause_ms:
                poller.feed(b"\x55", now_ms * MS)
            told.append(poller.jammed(now_ms * MS))
        assert any(told) == jam, pause_ms
