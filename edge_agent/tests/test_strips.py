"""The ways of many frames at once against the ways of one by one, on drawn frames, cut, mixed and damaged."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent import hot, strips
from edge_agent.runs import Joined, Survey, survey
from gatelink import cbor, cose, events, framing, framing_host, messages
from gatelink.messages import Events

KEYS = cose.derive(bytes(range(32)), 7, 3)
OTHER = cose.derive(bytes(range(1, 33)), 7, 3)
PAYLOADS = st.one_of(
    st.binary(min_size=7, max_size=7).map(lambda uid: events.encode(events.VISIT, uid)),
    st.sampled_from([events.encode(events.BARRIER, 1, 2, 300), events.encode(events.SOS, None)]),
)
# Where the width of a number changes within a strip, and where it is as it nearly always is.
FIRSTS = st.one_of(st.integers(1, 40), st.sampled_from([250, 65_530, 0xFFFFFFF0]), st.integers(1, 0xFFFFFFF0))
UPTIMES = st.one_of(
    st.integers(0, 40), st.sampled_from([250, 65_000, (1 << 32) - 9, (1 << 40) - 9]), st.integers(0, 1 << 39)
)
COUNTERS = st.one_of(st.integers(0, 50), st.sampled_from([0xFFF8, 0xFFFFF8, (1 << 40) - 80]))


@st.composite
def trains(draw: st.DrawFn) -> list[bytes]:
    """EVENTS messages that nearly always follow each other, of one length where the draw has it so."""
    seq, uptime = draw(FIRSTS), draw(UPTIMES)
    boot = draw(st.sampled_from([3, 200, 70_000]))
    payload = draw(PAYLOADS)
    found = []
    for _ in range(draw(st.integers(1, 20))):
        odd = draw(st.integers(0, 40))
        found.append(
            cbor.dumps(
                [
                    1,
                    min(seq, 0xFFFFFFFF),
                    boot + (odd == 1),
                    min(uptime, (1 << 40) - 1),
                    draw(PAYLOADS) if odd == 2 else payload,
                ]
                + ([bytes(8)] if odd == 3 else [])
            )
        )
        seq += 1 + (odd == 4)
        uptime += draw(st.sampled_from([0, 1, 23, 24, 255, 256, 4_000, 70_000])) - 30 * (odd == 5)
        uptime = max(uptime, 0)
    return found


def one_by_one(plaintexts: list[bytes]) -> tuple[Events, Survey] | None:
    """As merged(), by the ways of one message; None where they don't make one run of it."""
    joined = None
    for plaintext in plaintexts:
        message = messages.decode(cose.UP, plaintext)
        found = survey(message.items)
        if joined is None:
            first, joined = message, Joined(message, found, grows=True)
        elif not joined.take(message, found):
            return None
    assert joined is not None
    run = joined.run(7, 0, 0, 0)
    found = Survey(joined.size, joined.span_cs, joined.priority, joined.has_time, joined._plain)
    return first._replace(items=run[11], mac8=run[12]), found


@settings(max_examples=500)
@given(trains(), st.integers(0, 400), st.integers(0, 255))
def test_merged_is_what_one_by_one_makes_of_it(plaintexts: list[bytes], at: int, flip: int) -> None:
    if len(set(map(len, plaintexts))) != 1:
        return
    merged = strips.merged(plaintexts)
    if merged is not None:
        assert merged == one_by_one(plaintexts)
    number, at = divmod(at, len(plaintexts[0]))
    if number < len(plaintexts):
        broken = bytearray(plaintexts[number])
        broken[at] ^= flip
        changed = [*plaintexts[:number], bytes(broken), *plaintexts[number + 1 :]]
        merged = strips.merged(changed)
        if merged is not None:
            assert merged == one_by_one(changed)


@given(
    st.integers(300, 60_000),
    st.integers(70_000, 1 << 31),
    st.integers(2, 64),
    st.lists(st.integers(0, 60_000), min_size=64),
)
def test_a_round_of_visits_is_merged(seq: int, uptime: int, count: int, deltas: list[int]) -> None:
    plaintexts = []
    for number in range(count):
        payload = events.encode(events.VISIT, number.to_bytes(7, "big"))
        plaintexts.append(messages.encode(Events(seq + number, 3, uptime, payload, None, 0, None)))
        uptime += deltas[number]
    merged = strips.merged(plaintexts)
    assert merged is not None
    assert merged == one_by_one(plaintexts)


@settings(max_examples=300)
@given(
    COUNTERS,
    st.lists(st.binary(min_size=16, max_size=40), min_size=1, max_size=70),
    st.booleans(),
    st.integers(0, 10),
    st.integers(0, 60),
    st.integers(0, 255),
)
def test_many_are_opened_as_one_by_one(
    counter: int, texts: list[bytes], alike: bool, odd: int, at: int, flip: int
) -> None:
    """Nothing is opened that would not be, and no frame gets another's counter or plaintext."""
    if alike:
        texts = [text.ljust(40, b"\x01") for text in texts]
    frames = []
    for number, text in enumerate(texts):
        skew = (odd == 1 and number == 3) - (odd == 2 and number == 3)
        keys = OTHER if odd == 3 and number == 2 else KEYS
        frames.append(cose.seal(keys, cose.UP, max(counter + number + skew, 0), text))
    if odd in (4, 5):
        broken = bytearray(frames[-1])
        broken[at % len(broken)] ^= flip
        frames[-1] = bytes(broken)
    assert [frame for stretch in strips.stretches(frames) for frame in stretch] == frames
    for stretch in strips.stretches(frames):
        assert len(stretch) <= strips.MOST
        opened = strips.opener(KEYS)(stretch)
        if opened is not None:
            first, plaintexts = opened
            assert len(stretch) >= strips.LEAST
            assert list(enumerate(plaintexts, first)) == [
                cose.open_(KEYS, cose.UP, frame) for frame in stretch
            ]
    if alike and len(frames) >= strips.LEAST and odd > 5 and (counter & 0xFFFF) + len(frames) <= 0x10000:
        assert all(
            strips.opener(KEYS)(stretch)
            for stretch in strips.stretches(frames)
            if len(stretch) >= strips.LEAST
        )


@given(st.lists(st.integers(0, 200), max_size=60), st.integers(0, 300), st.integers(1, 64))
def test_a_window_takes_many_as_one_by_one(before: list[int], jump: int, count: int) -> None:
    window, model = cose.ReplayWindow(), cose.ReplayWindow()
    for piv in before:
        if window.fresh(piv):
            hot.accept(window, piv, 1)
            model.accept(piv)
    first = window.high + 1 + jump
    hot.accept(window, first, count)
    for piv in range(first, first + count):
        model.accept(piv)
    assert (window.high, window.mask) == (model.high, model.mask)


@given(st.integers(0, (1 << 64) - 1))
def test_the_short_number(number: int) -> None:
    assert hot.uint(number) == cbor.dumps(number)


FRAMES = st.one_of(
    st.binary(min_size=1, max_size=60),
    st.binary(max_size=1000).map(lambda tail: KEYS.head + b"\0\0\3\0" + tail),
    st.binary(max_size=40).map(lambda tail: OTHER.head[:8] + bytes(9) + tail),
    st.integers(240, 600).map(lambda size: KEYS.head + b"\0" + bytes([5]) * size),
)


@settings(max_examples=400)
@given(
    st.lists(FRAMES, min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=3),
    st.integers(1, 3000),
)
def test_the_host_decodes_a_line_as_a_device_does(
    frames: list[bytes], damage: list[tuple[int, int]], size: int
) -> None:
    line = bytearray(b"".join(map(framing.encode, frames)))
    for at, flip in damage:
        line[at % len(line)] ^= flip
    plain, host = framing.Decoder(), framing_host.Decoder()
    found = []
    for at in range(0, len(line), size):
        found += host.feed(line[at : at + size])
    assert found == plain.feed(bytes(line))
    assert host.errors == plain.errors
    if not damage:
        assert found == frames


def test_frames_that_begin_alike_are_decoded_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    careful = []
    original = framing.decode_block

    def decode_block(block: bytes, max_frame: int) -> bytes:
        careful.append(block)
        return original(block, max_frame)

    monkeypatch.setattr(framing, "decode_block", decode_block)
    frames = [cose.seal(KEYS, cose.UP, 3 << 16 | n, bytes(20)) for n in range(2, 200)]
    assert framing_host.Decoder().feed(b"".join(map(framing.encode, frames))) == frames
    assert len(careful) == 1


def test_what_stands_for_the_crc_of_a_short_block_is_not_remembered_as_its_frame() -> None:
    """01 f1 has the CRC d1 00: its block's last code stands in the CRC."""
    short = bytes.fromhex("01f1")
    block = framing.encode(short)[:-1]
    assert block == bytes.fromhex("0401f1d101")
    tail = b"ABCD"
    body = tail + framing.crc16(short + tail).to_bytes(2, "big")  # of a frame that nobody sent
    line = framing.encode(short) + block[:4] + bytes([len(body) + 1]) + body + b"\0"
    plain, host = framing.Decoder(), framing_host.Decoder()
    assert plain.feed(line) == host.feed(line) == [short]
    assert plain.errors == host.errors
