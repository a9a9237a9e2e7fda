"""Hostile bytes: nothing but a GatelinkError ever comes out, and no changed frame is ever taken. Seeds are printed."""

import contextlib
import random
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from hypothesis import given
from hypothesis import strategies as st

from gatelink import cose, events, framing, messages
from gatelink.errors import AuthError, FrameError, GatelinkError
from protocol.tests import test_cose
from protocol.tests.vectors import load, rows

GOLDEN = load("valid/cose")
KEYS = cose.derive(bytes.fromhex(GOLDEN["link_key"]), GOLDEN["device"], GOLDEN["epoch"])
ROWS = [row for row in GOLDEN["vectors"] if len(row["frame"]) < 400]
CUTS = [
    row
    for row in GOLDEN["vectors"]
    if row["name"] in ("EVENTS, one visit", "ACK", "16 bytes, two-byte length")
]


@pytest.fixture
def rng() -> random.Random:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    return random.Random(seed)


def opened(row: dict[str, Any], frame: bytes) -> tuple[int, bytes]:
    return cose.open_(KEYS, int(row["direction"] == "down"), frame, bytes.fromhex(row["boot_nonce"]))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_every_single_bit(row: dict[str, Any]) -> None:
    frame = bytes.fromhex(row["frame"])
    for bit in range(len(frame) * 8):
        changed = bytearray(frame)
        changed[bit // 8] ^= 0x80 >> bit % 8
        with pytest.raises((FrameError, AuthError)):
            opened(row, bytes(changed))


@pytest.mark.parametrize("row", CUTS, ids=lambda row: row["name"])
def test_every_cut_and_every_overlength(row: dict[str, Any]) -> None:
    frame = bytes.fromhex(row["frame"])
    for size in range(len(frame)):
        with pytest.raises((FrameError, AuthError)):
            opened(row, frame[:size])
        with pytest.raises((FrameError, AuthError)):
            opened(row, frame[size + 1 :])
    for size in (1, 2, 255, 1024, 100_000):
        with pytest.raises(FrameError):
            opened(row, frame + bytes(size))


def test_a_serial_line_with_errors(rng: random.Random) -> None:
    """Frames that came through unhurt all arrive, in order; no hurt one is taken for one that was sent."""
    frames = [bytes.fromhex(row["frame"]) for row in GOLDEN["vectors"]]
    decoder = framing.Decoder()
    sent, found, hurt = [], [], 0
    for _ in range(3000):
        frame = rng.choice(frames)
        line = bytearray(framing.encode(frame))
        if rng.random() < 0.3:
            hurt += 1
            match rng.randrange(3):
                case 0:
                    line[rng.randrange(len(line) - 1)] ^= 1 << rng.randrange(8)
                case 1:
                    del line[rng.randrange(len(line) - 1)]
                case _:
                    line[0:0] = b"\x55" * rng.choice((1, 300, 3000))
        else:
            sent.append(frame)
            line[0:0] = b"\0"  # what stands before must not spoil it
        for at in range(0, len(line), 97):
            found += decoder.feed(line[at : at + 97])
    found += decoder.feed(b"\0")
    remaining = iter(found)
    assert all(any(frame == other for other in remaining) for frame in sent)
    assert sum(decoder.errors.values()) >= hurt * 0.9
    for frame in set(found) - set(frames):
        # A CRC of 16 bits lets some pass; the tag does not.
        with pytest.raises(GatelinkError):
            cose.open_(KEYS, cose.UP, frame)


def test_random_bytes_on_the_line(rng: random.Random) -> None:
    decoder = framing.Decoder()
    for _ in range(300):
        for frame in decoder.feed(rng.randbytes(rng.randrange(2000))):
            with pytest.raises(GatelinkError):
                cose.open_(KEYS, cose.UP, frame)
    assert set(decoder.errors) <= {"bad_cobs", "bad_crc", "too_long", "truncated"}


@given(st.binary(max_size=200), st.sampled_from((cose.UP, cose.DOWN)))
def test_any_plaintext_is_a_message_or_refused(data: bytes, direction: int) -> None:
    for call, args in (
        (messages.decode, (direction, data)),
        (events.split, (data,)),
        (events.decode, (data,)),
    ):
        with contextlib.suppress(GatelinkError):
            call(*args)


def test_mutated_messages(rng: random.Random) -> None:
    """A message that is still taken is one that our own encoder writes in the very same bytes."""
    taken = 0
    valid = rows("valid/messages")
    for _ in range(5000):
        row = rng.choice(valid)
        data = bytearray.fromhex(row["plaintext"])
        for _ in range(rng.randrange(1, 3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            message = messages.decode(int(row["direction"] == "down"), data)
        except GatelinkError:
            continue
        taken += 1
        assert messages.encode(message) == bytes(data)
    assert taken > 100


def taken_apart(split: Any, items: bytes) -> Any:
    try:
        return split(items)
    except GatelinkError as error:
        return type(error), error.reason


def test_mutated_batches(rng: random.Random) -> None:
    """The quick way through a batch and the careful one agree; what they take is what a device would have joined."""
    batches = [bytes.fromhex(row["items"]) for row in rows("valid/batches") + rows("invalid/batches")]
    pieces = [
        bytes.fromhex(odd)
        for odd in ("1817", "1900ff", "1a0000ffff", "00", "47", "f6", "821040", "8100", "ff")
    ]
    taken = 0
    for _ in range(20000):
        items = bytearray(rng.choice(batches)[: rng.randrange(400)])
        for _ in range(rng.randrange(3)):
            at = rng.randrange(len(items) + 1)
            match rng.randrange(3):
                case 0 if at < len(items):
                    items[at] = rng.randrange(256)
                case 1:
                    del items[at : at + rng.randrange(4)]
                case _:
                    items[at:at] = rng.choice(pieces)
        raw = bytes(items)
        found = taken_apart(events.split, raw)
        assert found == taken_apart(events.careful_split, raw), raw.hex()
        if isinstance(found, list):
            taken += 1
            assert events.join([at for at, _ in found], [payload for _, payload in found]) == raw, raw.hex()
    assert taken > 200


@given(
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=13, max_size=13),
    st.binary(max_size=70),
    st.binary(min_size=1, max_size=60),
)
def test_the_ccm_of_the_device_is_that_of_cryptography(
    key: bytes, nonce: bytes, plaintext: bytes, aad: bytes
) -> None:
    ours = test_cose.ccm_device.Ccm(key)
    sealed = AESCCM(key, tag_length=8).encrypt(nonce, plaintext, aad)
    assert ours.seal(nonce, plaintext, aad) == sealed
    assert ours.open_(nonce, sealed, aad) == plaintext


@given(st.integers(1, 1024).flatmap(lambda size: st.binary(min_size=size, max_size=size)), st.data())
def test_framing_round_trip_cut_anywhere(frame: bytes, data: st.DataObject) -> None:
    line = framing.encode(frame)
    assert 0 not in line[:-1]
    cut = data.draw(st.integers(0, len(line)))
    decoder = framing.Decoder()
    assert decoder.feed(line[:cut]) + decoder.feed(line[cut:]) == [frame]
