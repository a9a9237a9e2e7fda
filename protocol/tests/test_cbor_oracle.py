"""The codec against cbor2 (canonical mode), and the path through cbor2 against the pure one, on drawn input."""

import io
import random
from typing import Any

import cbor2
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gatelink import cbor, cbor_host, cbor_pure
from gatelink.errors import CborError
from protocol.tests.vectors import rows

INTS = st.integers(-(1 << 64), (1 << 64) - 1)
SCALARS = st.none() | st.booleans() | INTS | st.binary(max_size=300) | st.text(max_size=80)
KEYS = INTS | st.text(max_size=10)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max([depth(item) for item in value.values()], default=0)
    return 1 + max([depth(item) for item in value], default=0) if isinstance(value, list) else 0


def outcome(call: Any, *args: Any) -> tuple[str, Any]:
    """What came back, with its types, or why nothing did."""
    try:
        return "value", repr(call(*args))
    except CborError as error:
        return "refused", error.reason


@given(VALUES)
def test_what_we_write_cbor2_reads(value: Any) -> None:
    if depth(value) > cbor.MAX_DEPTH:
        assert outcome(cbor.dumps, value) == ("refused", "too_deep")
        return
    encoded = cbor.dumps(value)
    assert cbor2.loads(encoded) == value
    assert repr(cbor.loads(encoded)) == repr(cbor_pure.loads(encoded))
    assert cbor_pure.loads(encoded) == value


@given(st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=30), max_leaves=25))
def test_what_cbor2_writes_we_read_and_write_the_same(value: Any) -> None:
    # Without maps: cbor2 orders keys by length first (RFC 7049).
    if depth(value) <= cbor.MAX_DEPTH:
        encoded = cbor2.dumps(value, canonical=True)
        assert cbor.loads(encoded) == value
        assert cbor.dumps(value) == encoded


@settings(max_examples=500)
@given(st.binary(max_size=80))
@example(b"\x9f" + bytes(24) + b"\xff")
@example(b"\x81\x9f" + bytes(24) + b"\xff")
@example(b"\xd8\x1c\x81\xd8\x1d\x00")
@example(b"\x5f\x41\x00\xff")
def test_both_paths_agree_on_any_bytes(data: bytes) -> None:
    assert outcome(cbor_host.loads, data) == outcome(cbor_pure.loads, data)
    assert outcome(cbor_host.loads_sequence, data) == outcome(cbor_pure.loads_sequence, data)


def test_both_paths_agree_on_mutated_encodings() -> None:
    """Every vector with bytes flipped, cut out, doubled and exchanged, and with the odd items of CBOR spliced in."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    odd = [
        bytes.fromhex(text)
        for text in ("f7", "f93c00", "c0", "d81c", "d81d00", "9f", "ff", "5f", "fb", "1c", "c24101", "a0")
    ]
    good = [bytes.fromhex(row["hex"]) for row in rows("valid/cbor") + rows("invalid/cbor")]
    good += [bytes.fromhex(row["plaintext"]) for row in rows("valid/messages")]
    good += [bytes.fromhex(row["items"]) for row in rows("valid/batches")]
    agreed = {"value": 0, "refused": 0}
    for _ in range(20000):
        data = bytearray(rng.choice(good)[:120])
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(data) + 1)
            match rng.randrange(4):
                case 0 if at < len(data):
                    data[at] ^= 1 << rng.randrange(8)
                case 1:
                    del data[at : at + rng.randrange(3)]
                case 2:
                    data[at:at] = rng.choice(odd)
                case _:
                    data[at:at] = rng.choice(good)[:20]
        raw = bytes(data)
        found = outcome(cbor_host.loads, raw)
        assert found == outcome(cbor_pure.loads, raw), (seed, raw.hex())
        assert outcome(cbor_host.loads_sequence, raw) == outcome(cbor_pure.loads_sequence, raw), (
            seed,
            raw.hex(),
        )
        agreed[found[0]] += 1
        if found[0] == "value":
            # What is taken is exactly what our own writer makes of it.
            assert cbor.dumps(cbor.loads(raw)) == raw, (seed, raw.hex())
    assert min(agreed.values()) > 500, agreed


@given(st.lists(VALUES.filter(lambda value: depth(value) <= cbor.MAX_DEPTH), max_size=10))
def test_sequences(values: list[Any]) -> None:
    encoded = b"".join(cbor.dumps(value) for value in values)
    assert cbor.loads_sequence(encoded, 1 << 20) == values
    decoder = cbor2.CBORDecoder(io.BytesIO(encoded))
    assert [decoder.decode() for _ in values] == values
