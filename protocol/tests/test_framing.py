# Framing against the vectors, cut anywhere, with rubbish between; under both interpreters.
from binascii import unhexlify

from gatelink import framing, reasons
from protocol.tests.vectors import refusal, rows


def test_check_value():
    assert framing.crc16(b"123456789") == 0x29B1  # CRC-16/IBM-3740


def test_valid_vectors():
    for row in rows("valid/framing"):
        frame = unhexlify(row["frame"])
        line = unhexlify(row["line"])
        assert framing.encode(frame) == line, row["name"]
        assert 0 not in line[:-1], row["name"]
        decoder = framing.Decoder()
        assert decoder.feed(line) == [frame], row["name"]
        assert decoder.errors == {}, row["name"]


def test_invalid_vectors():
    good = framing.encode(b"still here")
    for row in rows("invalid/framing"):
        decoder = framing.Decoder()
        assert decoder.feed(unhexlify(row["line"])) == [], row["name"]
        assert decoder.errors == {row["reason"]: 1}, (row["name"], decoder.errors)
        assert decoder.feed(b"\0" + good) == [b"still here"], row["name"]
        assert decoder.errors == {row["reason"]: 1}, row["name"]


def test_all_lines_in_one_stream_cut_anywhere():
    frames = []
    stream = b""
    for row in rows("valid/framing"):
        frames.append(unhexlify(row["frame"]))
        stream += unhexlify(row["line"])
    for size in (1, 2, 3, 7, 64, 255, 256, 4096, len(stream)):
        decoder = framing.Decoder()
        found = []
        for at in range(0, len(stream), size):
            found += decoder.feed(memoryview(stream)[at : at + size])
        assert found == frames, size
        assert decoder.errors == {}, size


def test_idle_zeros_are_no_error():
    decoder = framing.Decoder()
    assert decoder.feed(bytes(100)) == []
    assert decoder.feed(b"") == []
    assert decoder.feed(framing.encode(b"a") + bytes(3) + framing.encode(b"b")) == [b"a", b"b"]
    assert decoder.errors == {}


def test_start_in_the_middle_of_a_frame():
    line = framing.encode(b"cut off at the front")
    decoder = framing.Decoder()
    assert decoder.feed(line[7:] + framing.encode(b"whole")) == [b"whole"]
    assert sum(decoder.errors.values()) == 1


def test_endless_rubbish_is_counted_once_and_not_kept():
    decoder = framing.Decoder()
    for _ in range(50):
        assert decoder.feed(b"U" * 1000) == []
    assert decoder.errors == {reasons.TOO_LONG: 1}
    assert len(decoder._tail) == 0
    assert decoder.feed(b"U\0" + framing.encode(b"back")) == [b"back"]
    assert decoder.errors == {reasons.TOO_LONG: 1}


def test_smaller_frames_only():
    decoder = framing.Decoder(max_frame=64)
    assert decoder.feed(framing.encode(bytes(64))) == [bytes(64)]
    assert decoder.feed(framing.encode(bytes(65))) == []
    assert decoder.errors == {reasons.TOO_LONG: 1}


def test_what_encode_refuses():
    assert refusal(framing.encode, b"") == ("FrameError", reasons.TRUNCATED)
    assert refusal(framing.encode, bytes(1025)) == ("FrameError", reasons.TOO_LONG)
