# Polls and ends of turns against the vectors, under both interpreters.
from binascii import unhexlify

from gatelink import bus, framing
from protocol.tests.vectors import refusal, rows


def test_valid_vectors():
    for row in rows("valid/bus"):
        block = unhexlify(row["block"])
        make, kind = (bus.poll, bus.POLL) if row["type"] == "poll" else (bus.end, bus.END)
        assert make(*row["fields"]) == block, row["name"]
        assert bus.decode(block) == [kind] + row["fields"], row["name"]
        assert b"\0" + framing.encode(block) == unhexlify(row["line"]), row["name"]
        assert block[0] != bus.FRAME, row["name"]


def test_invalid_vectors():
    for row in rows("invalid/bus"):
        found = refusal(bus.decode, unhexlify(row["block"]))
        assert found is not None, row["name"]
        assert found[1] == row["reason"], (row["name"], found)


def test_no_frame_is_taken_for_one_of_them():
    for row in rows("valid/cose"):
        frame = unhexlify(row["frame"])
        assert frame[0] == bus.FRAME
        assert refusal(bus.decode, frame) is not None, row["name"]
