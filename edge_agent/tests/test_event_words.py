"""Every kind in both languages; and whatever a payload holds, a line of printable text."""

from __future__ import annotations

import random

import pytest

from edge_agent import event_words as words
from edge_agent import own_events
from edge_agent.web.language import language_of
from gatelink import cbor, events


def card(uid: bytes) -> str:
    return f"<{uid.hex()}>"


@pytest.mark.parametrize(
    ("fields", "zh", "en"),
    [
        ((events.HEARTBEAT, 3700), "电池 3.70 V", "battery 3.70 V"),
        ((events.HEARTBEAT, None), "", ""),
        ((events.BOOT, 3, "1.0.0"), "看门狗，1.0.0", "watchdog, 1.0.0"),
        ((events.BOOT, 1, "edge 0.1"), "非正常中断后，edge 0.1", "after a crash or power cut, edge 0.1"),
        ((events.BOOT, 2, "edge 0.1"), "从备份恢复后，edge 0.1", "restored from a backup, edge 0.1"),
        ((events.REFUSED, 1, 2000, 3), "例行 1，普通 2,000，报警 3", "routine 1, normal 2,000, alarm 3"),
        ((events.FAULT, 4, "loop"), "代码 4: loop", "code 4: loop"),
        ((events.BATTERY, 3400, 1), "3.40 V，偏低", "3.40 V, low"),
        ((events.JOURNAL_FILL, 91), "91 %", "91 %"),
        ((events.JOURNAL_LOSS, 5, 1200), "编号 5..1,200", "numbers 5..1,200"),
        ((events.VISIT, b"\1\2\3\4"), "<01020304>", "<01020304>"),
        ((events.SHIFT_START, b"\1\2\3\4"), "<01020304>", "<01020304>"),
        ((events.INCIDENT, b"\1\2\3\4", None), "<01020304> · 尚无巡更点", "<01020304> · no checkpoint yet"),
        ((events.SOS, b"\1\2\3\4"), "最近巡更点: <01020304>", "last checkpoint: <01020304>"),
        ((events.BARRIER, 2, 6, 1234), "已开启，原因：到位，累计 1,234 次", "open, cause: limit reached, 1,234 cycles"),
        ((events.ACCESS, b"\1\2", 0, 2, 1), "出 · 拒绝 · 黑名单 · <0102>", "out · denied · blacklisted · <0102>"),
        ((events.ACCESS, b"\1\2", 1, 77, 0), "进 · 放行 · 77 · <0102>", "in · granted · 77 · <0102>"),
        ((events.FORCED,), "", ""),
        ((events.FORCED, 40), "位置 40 %", "position 40 %"),
        ((events.OBSTRUCTED, 1), "地感 1", "loop 1"),
    ],
)
def test_events(fields: tuple[object, ...], zh: str, en: str) -> None:
    kind = fields[0]
    assert isinstance(kind, int)
    payload = events.encode(kind, *fields[1:])
    assert words.describe(kind, payload, "zh", card) == zh
    assert words.describe(kind, payload, "en", card) == en


@pytest.mark.parametrize(
    ("fields", "zh", "en"),
    [
        ([own_events.STOPPED], "", ""),
        ([own_events.PORT, "dock", 0], "dock: 断开", "dock: lost"),
        ([own_events.DEVICE, 101, 1], "设备 101 在线", "device 101 online"),
        ([own_events.NEVER_SEEN, 101, 5, 9], "设备 101: 编号 5..9", "device 101: numbers 5..9"),
        ([own_events.QUEUE, 0], "已满", "full"),
        ([own_events.STORE, 7], "失败 7 次", "7 failures"),
        ([own_events.CLOCK_STEP, -3_600_500, 1], "-3,600.5 s", "-3,600.5 s"),
        ([own_events.CLOCK_STEP, 90_000, 0], "+90.0 s，时间未知", "+90.0 s, time not known now"),
        ([own_events.ROTATED, 101, 2], "设备 101，第 2 代", "device 101, epoch 2"),
        ([own_events.REVOKED, 101], "设备 101", "device 101"),
        ([own_events.BUS_JAMMED, "bus 1"], "bus 1", "bus 1"),
        (
            [own_events.DOCKED, 101, "if00-port0", 1204],
            "设备 101，坞站 if00-port0，新增 1,204 条",
            "device 101, dock if00-port0, 1,204 new events",
        ),
        ([200, "?"], cbor.dumps([200, "?"]).hex(), cbor.dumps([200, "?"]).hex()),
    ],
)
def test_kinds_that_are_not_the_devices(fields: list[object], zh: str, en: str) -> None:
    kind = fields[0]
    assert isinstance(kind, int)
    assert words.describe(kind, cbor.dumps(fields), "zh", card) == zh
    assert words.describe(kind, cbor.dumps(fields), "en", card) == en


def test_the_edges_kinds_have_names() -> None:
    for name, kind in vars(own_events).items():
        if name.isupper() and isinstance(kind, int):
            assert kind in words.KINDS, name


def test_every_kind_has_a_name() -> None:
    for kind in range(64):
        known = kind in words.KINDS
        assert known == (kind in events._KINDS)
        assert words.kind_name(kind, "zh")
    assert words.is_alarm(events.SOS)
    assert not words.is_alarm(events.VISIT)


def test_whatever_comes() -> None:
    seed = 88
    print("seed", seed)
    rng = random.Random(seed)
    values = (None, True, -1, 0, 10**15, b"", b"\xff" * 30, "a\nb\x1b[1m", "", [], [1], {1: 2})
    for _ in range(5_000):
        kind = rng.choice((*words.KINDS, rng.randrange(256)))
        payload = cbor.dumps([kind, *(rng.choice(values) for _ in range(rng.randrange(5)))])
        if rng.random() < 0.2:
            payload = rng.randbytes(len(payload))
        payload = payload[: events.MAX_PAYLOAD]
        for language in words.LANGUAGES:
            text = words.describe(kind, payload, language, words.masked)
            assert text.isprintable()
            assert len(text) <= words.MAX_TEXT


def test_cards_without_a_name_keep_to_themselves() -> None:
    assert words.masked(bytes.fromhex("04a1b2c3d4e5f6")) == "…e5f6"


@pytest.mark.parametrize(
    ("query", "cookie", "accept", "language"),
    [
        (None, None, "", "zh"), ("en", "zh", "zh", "en"), (None, "en", "zh-CN", "en"),
        ("fr", None, "de,en;q=0.5", "en"),
        (None, None, "en-GB,en;q=0.9,zh;q=0.8", "en"), (None, None, "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        (None, None, "de,fr", "zh"), (None, "xx", "en;q=x,zh;q=0.1", "zh"), ("ZH-cn", "en", "en", "zh"),
    ],
)  # fmt: skip
def test_the_language(query: str | None, cookie: str | None, accept: str, language: str) -> None:
    assert language_of(query, cookie, accept) == language
