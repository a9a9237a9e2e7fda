"""gatelink.cddl against every vector: what is valid fits its rule, what is invalid in shape fits none."""

from pathlib import Path
from typing import Any

import cbor2
import pycddl
import pytest

from protocol.tests.cddl import Cddl
from protocol.tests.vectors import rows

PATH = Path(__file__).parent.parent / "gatelink.cddl"
TEXT = PATH.read_text(encoding="utf-8")
SCHEMA = Cddl(TEXT)
# Refused by a relation between fields, which CDDL cannot express.
BEYOND_CDDL = {
    "HELLO next before first",
    "EVENTS skipped past seq 1",
    "ACK gap backwards",
    "ACK gaps overlap",
    "CONFIG past its end",
    "STATUS slept less now than before",
}


def plain(encoded: str) -> Any:
    return cbor2.loads(bytes.fromhex(encoded))


def test_pycddl_reads_the_file() -> None:
    pycddl.Schema(TEXT)


@pytest.mark.parametrize("row", rows("valid/messages"), ids=lambda row: row["name"])
def test_valid_messages(row: dict[str, Any]) -> None:
    value = plain(row["plaintext"])
    assert SCHEMA.fits(row["direction"], value)
    fitting = [rule for rule in ("hello", "events", "status", "result") if SCHEMA.fits(rule, value)]
    if row["direction"] == "up":
        assert fitting == [row["type"].lower()]
    else:
        assert SCHEMA.fits(row["type"].lower(), value)


def test_every_message_and_event_has_a_vector() -> None:
    messages = {row["type"].lower() for row in rows("valid/messages")}
    assert messages == {name for rule in ("up", "down") for _, name in SCHEMA.rules[rule][1]}
    kinds = {row["kind"] for row in rows("valid/events")}
    in_cddl = {
        SCHEMA.rules[name][1][0][2][1] for _, name in SCHEMA.rules["known-event"][1]
    }  # the literal of the first entry
    assert kinds == in_cddl


def test_valid_events() -> None:
    for row in rows("valid/events"):
        value = plain(row["payload"])
        assert SCHEMA.fits("known-event", value), row["name"]
        assert SCHEMA.fits("event", value), row["name"]


def test_valid_batches() -> None:
    for row in rows("valid/batches"):
        assert SCHEMA.fits("items", cbor2.loads(b"\x9f" + bytes.fromhex(row["items"]) + b"\xff")), row["name"]


def test_golden_frames() -> None:
    for row in rows("valid/cose"):
        assert SCHEMA.fits("frame", plain(row["frame"])), row["name"]


def test_invalid_messages() -> None:
    refused = 0
    for row in rows("invalid/messages"):
        if row["reason"] in ("bad_field", "unknown_type") and row["name"] not in BEYOND_CDDL:
            assert not SCHEMA.fits(row["direction"], plain(row["plaintext"])), row["name"]
            refused += 1
    assert refused == 53


def test_bus_blocks() -> None:
    for row in rows("valid/bus"):
        fitting = [rule for rule in ("frame", "poll", "turn-end") if SCHEMA.fits(rule, plain(row["block"]))]
        assert fitting == [{"poll": "poll", "end": "turn-end"}[row["type"]]], row["name"]
    for row in rows("invalid/bus"):
        if row["reason"] == "bad_field":
            value = plain(row["block"])
            assert not SCHEMA.fits("poll", value), row["name"]
            assert not SCHEMA.fits("turn-end", value), row["name"]


def test_rekey_bodies() -> None:
    for row in rows("valid/rekey"):
        assert SCHEMA.fits("rekey", plain(row["body"])), row["name"]
        assert SCHEMA.fits("config", plain(row["message"])), row["name"]
    for row in rows("invalid/rekey"):
        if row["reason"] == "bad_field" and row["name"] not in ("key all 00", "key all FF"):
            assert not SCHEMA.fits("rekey", plain(row["body"])), row["name"]


def test_invalid_events() -> None:
    for row in rows("invalid/events"):
        if row["reason"] in ("bad_field", "unknown_type"):
            assert not SCHEMA.fits("known-event", plain(row["payload"])), row["name"]


def test_the_reader_itself() -> None:
    small = Cddl(
        "a = [x: 1, ? y: b, * (n: 0..9, t: tstr .size (0..2))]\nb = bstr .size 2 / nil\nc = {1 => a}"
    )
    for good in ([1], [1, None], [1, b"ab"], [1, 5, "x"], [1, None, 5, "x", 6, ""]):
        assert small.fits("a", good), good
        assert small.fits("c", {1: good})
    for bad in (
        [],
        [2],
        [1, b"a"],
        [1, 5],
        [1, 5, "xyz"],
        [1, None, None],
        [1, True, "x"],
        [1, 10, "x"],
        1,
        None,
    ):
        assert not small.fits("a", bad), bad
    assert not small.fits("c", {1: [1], 2: 0})
    for wrong in ("a = b", "a = [1", "a = 1\na = 2", "a = tstr .regexp x", "a = #6.1(int)"):
        with pytest.raises(ValueError, match=r"."):
            Cddl(wrong)
