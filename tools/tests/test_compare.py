"""What the comparison counts as lost, doubled and reordered."""

from __future__ import annotations

import pytest

from tools.bench.compare.handover import Handover, Packets
from tools.bench.compare.mosquitto import event_of
from tools.bench.compare.mqtt import text
from tools.bench.compare.script import DEVICES, Count, Event, count, events, scenarios
from tools.bench.compare.thingsboard import events_of

A1, A2, A3, B1 = Event(1, 1), Event(1, 2), Event(1, 3), Event(2, 1)


@pytest.mark.parametrize(
    ("received", "found"),
    [
        ([A1, B1, A2, A3], Count(0, 0, 0, 0)),
        ([B1, A1, A2, A3], Count(0, 0, 0, 0)),  # order is a device's own
        ([A1, A2, B1], Count(1, 0, 0, 0)),
        ([A1, A2, A1, A2, A3, B1], Count(0, 2, 0, 0)),
        ([A2, A1, A3, B1], Count(0, 0, 1, 0)),
        ([A3, A2, A1, B1], Count(0, 0, 2, 0)),
        ([A1, A2, A3, B1, Event(9, 9)], Count(0, 0, 0, 1)),
        ([], Count(4, 0, 0, 0)),
    ],
)
def test_count(received: list[Event], found: Count) -> None:
    assert count([A1, B1, A2, A3], received) == found


def test_every_event_has_its_own_identity() -> None:
    made = events(6_000)
    assert len(set(made)) == 6_000
    assert {event.device for event in made} == set(range(1, DEVICES + 1))
    assert count(made, made) == Count(0, 0, 0, 0)


def test_the_readers_understand_what_is_published() -> None:
    import json

    value = json.loads(text(A2))
    assert event_of(value) == [A2]
    entry = {"ts": value["ts"], "values": {"seq": value["seq"], "uid": value["uid"]}}
    assert events_of({"d1": [entry, {"ts": 1, "values": {"other": 1}}]}) == [A2]


def test_the_outages_of_the_script() -> None:
    assert [one.name for one in scenarios()] == [
        "no fault", "refused 25 s", "half-open 25 s", "half-open 25 s + SIGKILL", "SIGKILL", "acks lost 3 s",
    ]  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1_000])
def test_a_handover_is_the_readers_acknowledgement(size: int) -> None:
    taken: dict[Event, float] = {}
    handover = Handover(1, taken)
    topic, body = b"events/d1", text(A2).encode()
    publish = len(topic).to_bytes(2, "big") + topic + b"\x01\x02" + b"\x00" + body + b" " * 100
    down = b"\x32" + bytes([len(publish) & 127 | 128, len(publish) >> 7]) + publish + b"\xd0\x00"
    packets, under_way = Packets(), {}
    found = [each for at in range(0, len(down), size) for each in packets.feed(down[at : at + size])]
    assert found == [(3, publish), (13, b"")]
    for kind, content in found:
        handover.note(kind, content, under_way)
    assert not taken
    handover.note(4, b"\x01\x03", under_way)
    assert not taken
    handover.note(4, b"\x01\x02\x00\x00", under_way)
    assert list(taken) == [A2]
