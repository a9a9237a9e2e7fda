# The codec against the vectors, under both interpreters; on CPython the pure codec and the one through cbor2
# alike.
from binascii import hexlify, unhexlify

from gatelink import cbor, cbor_pure, reasons
from protocol.tests.vectors import refusal, rows, value

READERS = (cbor.loads, cbor_pure.loads)


def same_value(a, b):
    if type(a) is not type(b):
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all([same_value(x, y) for x, y in zip(a, b)])  # noqa: B905, C419
    if isinstance(a, dict):
        return len(a) == len(b) and all([key in b and same_value(a[key], b[key]) for key in a])  # noqa: C419
    return a == b


def test_valid_vectors():
    for row in rows("valid/cbor"):
        expected = value(row["value"])
        encoded = unhexlify(row["hex"])
        assert cbor.dumps(expected) == encoded, row["name"]
        for loads in READERS:
            assert same_value(loads(encoded), expected), row["name"]


def test_invalid_vectors():
    for row in rows("invalid/cbor"):
        for loads in READERS:
            found = refusal(loads, unhexlify(row["hex"]))
            assert found == ("CborError", row["reason"]), (row["name"], found)


def test_rfc8949_appendix_a():
    taken = 0
    for row in rows("external/rfc8949_appendix_a"):
        encoded = unhexlify(row["hex"])
        for loads in READERS:
            if "refused" in row:
                assert refusal(loads, encoded) == ("CborError", row["refused"]), row
            else:
                assert same_value(loads(encoded), value(row["value"])), row
                assert hexlify(cbor.dumps(loads(encoded))).decode() == row["hex"], row
                taken += 1
    assert taken == 2 * 37, taken


def test_skip_agrees_with_value():
    for name in ("valid/cbor", "invalid/cbor"):
        for row in rows(name):
            encoded = unhexlify(row["hex"])
            read = cbor_pure.Reader(encoded)
            skipped = cbor_pure.Reader(encoded)
            refused = refusal(read.value, cbor.MAX_DEPTH)
            assert refusal(skipped.skip, cbor.MAX_DEPTH) == refused, row["name"]
            assert refused or read.pos == skipped.pos, row["name"]


def test_sequence():
    whole = b""
    values = []
    for row in rows("valid/cbor"):
        whole += unhexlify(row["hex"])
        values.append(value(row["value"]))
    for loads_sequence in (cbor.loads_sequence, cbor_pure.loads_sequence):
        assert same_value(loads_sequence(whole), values)
        assert loads_sequence(b"") == []
        assert refusal(loads_sequence, whole + b"\x19") == ("CborError", reasons.TRUNCATED)
        assert refusal(loads_sequence, b"\x00\xff\x00") == ("CborError", reasons.UNSUPPORTED)
        assert refusal(loads_sequence, b"\x9f" + bytes(24) + b"\xff") == ("CborError", reasons.UNSUPPORTED)
        assert refusal(loads_sequence, b"\x81\x9f" + bytes(24) + b"\xff") == (
            "CborError",
            reasons.UNSUPPORTED,
        )
        assert refusal(loads_sequence, b"\x81" * 8 + b"\x80") == ("CborError", reasons.TOO_DEEP)
        assert refusal(loads_sequence, bytes(11), 10) == ("CborError", reasons.TOO_LONG)


def test_input_is_capped_before_it_is_read():
    for loads in READERS:
        assert refusal(loads, bytes(cbor.MAX_INPUT + 1)) == ("CborError", reasons.TOO_LONG)
        longest = cbor.dumps(bytes(cbor.MAX_INPUT - 3))
        assert len(longest) == cbor.MAX_INPUT
        assert loads(longest) == bytes(cbor.MAX_INPUT - 3)
        assert len(loads(cbor.dumps(bytes(50000)), 60000)) == 50000


def test_any_buffer_is_read():
    for loads in READERS:
        for kind in (bytes, bytearray, memoryview):
            assert loads(kind(b"\x82\x01\x41\x02")) == [1, b"\x02"]
            assert type(loads(kind(b"\x41\x02"))) is bytes


def test_what_dumps_refuses():
    too_deep = [[[[[[[[[]]]]]]]]]
    for bad, reason in (
        (1.5, reasons.UNSUPPORTED),
        (1 << 64, reasons.UNSUPPORTED),
        (-(1 << 64) - 1, reasons.UNSUPPORTED),
        ({b"k": 1}, reasons.UNSUPPORTED),
        ({True: 1}, reasons.UNSUPPORTED),
        ({None: 1}, reasons.UNSUPPORTED),
        ([object()], reasons.UNSUPPORTED),
        ({1, 2}, reasons.UNSUPPORTED),
        (too_deep, reasons.TOO_DEEP),
        ({1: too_deep[0]}, reasons.TOO_DEEP),
    ):
        assert refusal(cbor.dumps, bad) == ("CborError", reason), bad


def test_what_dumps_takes_besides():
    assert cbor.dumps((1, (2,))) == b"\x82\x01\x81\x02"
    assert cbor.dumps(bytearray(b"ab")) == cbor.dumps(memoryview(b"ab")) == b"\x42ab"
