"""Judgement of time, coverage of sequence numbers, cutting of runs, clocks, words: against models and properties."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent import own_events
from edge_agent.clock import Clock, Rehearsal
from edge_agent.coverage import MAX_ISLANDS, Coverage
from edge_agent.hot import ack, events_of, normal_span, opener
from edge_agent.runs import MAX_EVENTS, MAX_ITEMS, MAX_SPAN_CS, Joined, cut, split, survey
from edge_agent.timebook import TimeBook
from edge_agent.timing import UNKNOWN_MS, Anchor, Facts, Sleep, asleep_at_most, judge
from edge_agent.web import words
from gatelink import cbor, cose, events, messages
from gatelink.errors import GatelinkError
from gatelink.messages import Ack, Events

PIECES = st.lists(st.tuples(st.integers(1, 80), st.integers(0, 12)), max_size=40)


@given(PIECES)
def test_coverage_is_a_set_of_numbers(pieces: list[tuple[int, int]]) -> None:
    coverage, model = Coverage(), set[int]()
    for first, more in pieces:
        wanted = set(range(first, first + more + 1))
        missing = coverage.missing(first, first + more)
        assert [n for low, high in missing for n in range(low, high + 1)] == sorted(wanted - model)
        assert coverage.add(first, first + more)
        model |= wanted
        upto = next(n for n in range(200) if n + 1 not in model)
        assert coverage.upto == upto
        held = {n for low, high in coverage.islands for n in range(low, high + 1)}
        assert held == {n for n in model if n > upto}
        gaps = {n for low, high in coverage.gaps(99) for n in range(low, high + 1)}
        assert gaps == set(range(upto + 1, max(held, default=0))) - held


def test_coverage_is_bounded() -> None:
    coverage = Coverage()
    for n in range(MAX_ISLANDS):
        assert coverage.add(3 + 2 * n, 3 + 2 * n)
    assert not coverage.add(1_000_000, 1_000_000)
    assert len(coverage.islands) == MAX_ISLANDS
    assert coverage.add(1, 2)
    assert coverage.add(1_000_000, 1_000_000)


def test_ten_thousand_histories_hold_the_true_time() -> None:
    """A device with a drifting crystal, several boots, anchors now and then: the truth is always inside."""
    rng = random.Random(3)
    widths = []
    judged = 0
    while judged < 10_000:
        drift_ppm = 50
        book = TimeBook(drift_ppm)
        truth = 1_700_000_000_000.0
        edge_error = 20
        edge_off = rng.uniform(-edge_error, edge_error)
        for boot in range(1, rng.randrange(2, 6)):
            rate = 1 + rng.uniform(-drift_ppm, drift_ppm) * 1e-6
            began = truth
            pending: list[tuple[float, int]] = []
            for _ in range(rng.randrange(1, 30)):
                truth += rng.expovariate(1 / 60_000)
                uptime = int((truth - began) * rate)
                now_ms = int(truth + edge_off)
                match rng.randrange(5):
                    case 0:
                        error = rng.randrange(0, 400)
                        off = rng.uniform(-error, error)
                        book.anchor(boot, Anchor(uptime, int(truth + edge_off + off), error + edge_error + 2))
                        book.contact(boot, uptime, now_ms + 1, edge_error)
                    case 1:
                        for happened, uptime_cs in pending:
                            low, high = book.judge(boot, uptime_cs, now_ms + 1)
                            assert low - 10 <= happened + edge_off <= high + 10
                            assert high <= now_ms + 1
                            book.happened(boot, min(low, now_ms))
                            judged += 1
                            widths.append(high - low)
                        pending.clear()
                    case _:
                        pending.append((truth, uptime // 10))
            truth += rng.expovariate(1 / 600_000)
    widths.sort()
    assert widths[len(widths) // 2] < 120_000


def test_judgement_without_any_anchor() -> None:
    assert judge(5_000, Facts([]), UNKNOWN_MS) == (0, UNKNOWN_MS)
    assert judge(5_000, Facts([]), 9_000) == (0, 9_000)
    heard = Facts([], 0, contact=(6_000, 8_500))
    assert judge(5_000, heard, 9_000) == (0, 7_503)
    assert judge(5_000, heard._replace(floor_ms=2_000), 9_000) == (6_997, 7_503)
    # the boot reached 6,000 before the next one began at 8,500
    ended = Facts([], 0, floor_ms=2_000, ceiling=(6_000, 8_500))
    assert judge(5_000, ended, UNKNOWN_MS) == (6_997, 7_503)


def test_anchors_that_contradict_each_other_are_not_mixed() -> None:
    early, late = Anchor(1_000, 100_000, 10), Anchor(2_000, 500_000, 10)
    low, high = judge(1_100, Facts([early, late], 0), 600_000)
    assert low <= 100_089
    assert high >= 499_111


def test_what_was_slept_between_two_uptimes() -> None:
    assert asleep_at_most(1_000, 5_000, []) == 4_000
    sums = [Sleep(1_000, 600), Sleep(5_000, 900), Sleep(9_000, 4_900)]
    assert asleep_at_most(1_000, 5_000, sums) == 300
    assert asleep_at_most(0, 1_000, sums) == 600
    assert asleep_at_most(5_000, 9_000, sums) == 4_000
    assert asleep_at_most(2_000, 3_000, sums) == 300
    assert asleep_at_most(9_000, 9_500, sums) == 500
    assert asleep_at_most(4_900, 6_000, sums) == 1_100


def test_an_anchor_before_sleep_is_widened() -> None:
    anchor = Anchor(0, 1_000_000, 10)
    facts = Facts([anchor], 10, True, [Sleep(0, 0), Sleep(100_000, 95_000)])
    assert judge(100_000, facts, UNKNOWN_MS) == (1_100_000 - 5_012, 1_100_000 + 5_012)
    assert judge(100_000, facts._replace(sleeper=False), UNKNOWN_MS) == (1_099_988, 1_100_012)


def test_time_book_is_bounded_and_survives_the_store() -> None:
    book = TimeBook(10)
    for boot in range(1, 100):
        for n in range(20):
            book.anchor(boot, Anchor(n * 1_000, boot * 100_000 + n * 1_000, n))
        book.contact(boot, 20_000, boot * 100_000 + 20_000)
    value = book.to_value()
    assert len(cbor.dumps(value)) < 3_000
    assert len(value) == 8
    twin = TimeBook(10)
    twin.load(cbor.loads(cbor.dumps(value)))
    assert twin.to_value() == value
    assert twin.judge(99, 500, 99_999_999) == book.judge(99, 500, 99_999_999)
    assert twin.uptime_at_least(99, 99 * 100_000 + 25_000) == 24_999
    assert twin.uptime_at_least(7, 1) is None


@settings(max_examples=60)
@given(st.integers(2, 30), st.sets(st.integers(0, 29)), st.randoms(use_true_random=False))
def test_a_cut_run_is_the_same_events(size: int, held: set[int], rng: random.Random) -> None:
    uptimes, at = [], 5_000
    for _ in range(size):
        uptimes.append(at)
        at += rng.randrange(0, 100_000)
    payloads = [
        events.encode(events.SOS, None)
        if rng.random() < 0.1
        else events.encode(events.VISIT, rng.randbytes(4))
        for _ in range(size)
    ]
    items = events.join(uptimes, payloads)
    message = Events(100, 2, uptimes[0], items, b"8" * 8, 3, b"7" * 8)
    run = Joined(message, survey(items), grows=False).run(7, 1_000, 2_000, 10**12)
    coverage = Coverage(96)
    for index in held:
        if index < size:
            coverage.add(100 + index, 100 + index)
    parts = coverage.missing(100, 99 + size)
    rows = cut(run, parts)
    found = {}
    for row in rows:
        if row[11]:
            for index, (since, payload) in enumerate(split(row[11])):
                found[row[2] + index] = (row[4] + since, payload)
            assert row[5] <= row[6] <= row[7]
    assert found == {
        n: (uptimes[n - 100], payloads[n - 100]) for low, high in parts for n in range(low, high + 1)
    }
    if rows:
        assert [row[12] for row in rows if row[3] == 99 + size] == [b"8" * 8]
        assert [row[9] for row in rows if row[2] == 100 and row[11]] == [3] * (parts[0][0] == 100)


def test_rehearsal_clock_runs_scaled() -> None:
    now = [1_000, 50]
    clock = Clock(Rehearsal(9_000_000, 1_000, 240.0), wall=lambda: now[0], steady=lambda: now[1])
    assert (clock.now_ms(), clock.uptime_ms()) == (9_000_000, 0)
    now[:] = [1_010, 60]
    assert (clock.now_ms(), clock.uptime_ms()) == (9_002_400, 2_400)
    assert clock.real_s(2_400) == 0.01


def test_own_events_fit_and_have_their_class() -> None:
    long = "门岗东侧二号串口转换器" * 4
    assert len(own_events.own(own_events.PORT, long, 1)) <= events.MAX_PAYLOAD
    assert own_events.class_of(own_events.own(own_events.PORT, long, 1)) == 1
    for kind in (own_events.SEQ_RESTARTED, own_events.HELD_RAW, own_events.NEVER_SEEN, own_events.STORE):
        payload = own_events.own(kind, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
        assert (own_events.class_of(payload), len(payload) <= events.MAX_PAYLOAD) == (2, True)
    for kind in (own_events.STOPPED, own_events.DEVICE, own_events.QUEUE):
        assert own_events.class_of(own_events.own(kind)) == 1
    assert own_events.class_of(own_events.boot("0.1.0", own_events.CLEAN)) == 1


def test_words() -> None:
    assert words.backlog(1_200, 4, 11_520_000, 41 * 10**9, None) == {
        "zh": "1,204 条事件待上传（其中报警 4 条），最早一条已等 3 小时 12 分，磁盘还有 41.0 GB 可用",
        "en": "1,204 events wait (4 of them alarms), oldest 3 h 12 min, 41.0 GB of disk free",
    }
    assert words.backlog(0, 0, None, 5_000, None)["en"] == "nothing waits, 5 KB of disk free"
    assert words.backlog(1_200, 4, 11_520_000, 10**9, 41) == {
        "zh": "1,204 条事件待上传（其中报警 4 条），最早一条已等 3 小时 12 分，磁盘还可存 41 天",
        "en": "1,204 events wait (4 of them alarms), oldest 3 h 12 min, disk holds 41 more days",
    }
    assert words.backlog(0, 0, None, 5_000, 1)["en"] == "nothing waits, disk holds 1 more day"
    assert words.backlog(0, 0, None, 5_000, 10**6)["zh"] == "没有待上传的事件，磁盘还可存 10 年以上"
    assert words.backlog(1, 0, 59_999, 10**6, None)["en"].startswith("1 event waits, oldest 59 s")
    assert words.span(90_061_000) == {"zh": "1 天 1 小时", "en": "1 d 1 h"}
    assert words.contact(None, online=False)["zh"] == "从未联系"
    assert words.contact(65_000, online=True)["en"] == "online, heard 1 min 5 s ago"


EDGES = [0xFF, 0x100, 0xFFFFFF, 0x1000000, 0xFFFFFFFF, 1 << 32, 1 << 40]
NUMBERS = st.one_of(st.integers(-2, 30), st.sampled_from(EDGES))
MACS = st.one_of(st.none(), st.binary(min_size=8, max_size=8))
FIELDS = st.one_of(NUMBERS, st.binary(max_size=12), st.none(), st.booleans(), st.text(max_size=3))


@settings(max_examples=400)
@given(
    st.tuples(NUMBERS, NUMBERS, NUMBERS, st.binary(max_size=30), MACS),
    st.lists(FIELDS, max_size=3),
    st.integers(0, 60),
    st.integers(0, 255),
)  # fmt: skip
def test_the_short_way_never_says_yes_where_the_careful_way_says_no(
    fields: tuple[object, ...], more: list[object], at: int, flip: int
) -> None:
    for value in ([1, *fields], [1, *fields[:4]], [1, *fields, *more], [*more, *fields]):
        whole = bytes(cbor.dumps(value))
        broken = bytearray(whole)
        broken[at % len(broken)] ^= flip
        for plaintext in (whole, bytes(broken), whole + b"\0", whole[:-1]):
            short = events_of(plaintext)
            try:
                careful = messages.decode(cose.UP, plaintext)
            except GatelinkError:
                careful = None
            assert short in (None, careful)
            if isinstance(careful, Events) and not careful.skipped:
                assert short == careful


PAYLOADS = st.one_of(
    st.binary(min_size=4, max_size=4).map(lambda uid: events.encode(events.VISIT, uid)),
    st.binary(min_size=10, max_size=10).map(lambda uid: events.encode(events.INCIDENT, uid, uid)),
    st.integers(0, 0xFFFFFFFF).map(lambda cycles: events.encode(events.BARRIER, 1, 2, cycles)),
    st.binary(max_size=16).map(lambda credential: events.encode(events.ACCESS, credential, 1, 200, 0)),
    st.sampled_from(
        [events.encode(events.SOS, None), events.encode(events.FORCED), bytes(cbor.dumps([70, 1, 2]))]
    ),
    st.tuples(st.integers(0, 255), st.integers(0, 300)).map(lambda pair: bytes(cbor.dumps(list(pair)))),
)
BATCHES = st.lists(st.tuples(st.integers(0, 1 << 33), PAYLOADS), min_size=1, max_size=70)


@settings(max_examples=300)
@given(BATCHES, st.integers(0, 900), st.integers(0, 255))
def test_the_short_survey_never_says_yes_where_the_careful_one_says_no(
    batch: list[tuple[int, bytes]], at: int, flip: int
) -> None:
    items = batch[0][1] + b"".join(cbor.dumps(delta) + payload for delta, payload in batch[1:])
    broken = bytearray(items)
    broken[at % len(broken)] ^= flip
    for each in (items, bytes(broken), items[:-1], items + b"\x05"):
        short = normal_span(each)
        try:
            found = events.careful_split(each)
        except GatelinkError:
            assert short is None
            continue
        if short is not None:
            assert short == (len(found), found[-1][0])
            assert {events.class_of(events.kind_of(payload)) for _, payload in found} == {events.NORMAL}


@settings(max_examples=300)
@given(st.integers(0, (1 << 40) - 1), st.binary(max_size=400), st.integers(0, 500), st.integers(0, 255))
def test_the_short_opening_never_says_yes_where_the_careful_one_says_no(
    piv: int, plaintext: bytes, at: int, flip: int
) -> None:
    keys = cose.derive(bytes(range(32)), 7, 3)
    whole = cose.seal(keys, cose.UP, piv, plaintext)
    assert opener(keys)(whole) in (None, (piv, plaintext))
    assert opener(keys)(whole) is not None or len(plaintext) < 16
    broken = bytearray(whole)
    broken[at % len(broken)] ^= flip
    for frame in (bytes(broken), whole[:-1], whole + b"\0"):
        if frame == whole:
            continue
        try:
            assert opener(keys)(frame) is None
        except GatelinkError:
            pass
        else:
            with pytest.raises(GatelinkError):
                cose.open_(keys, cose.UP, frame)


@given(st.integers(0, 0xFFFFFFFF))
def test_the_short_ack(seq: int) -> None:
    assert ack(seq) == messages.encode(Ack(seq, [], None))


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9_000), PAYLOADS, MACS), min_size=1, max_size=90))
def test_joined_singles_are_the_same_events(steps: list[tuple[int, int, bytes, bytes | None]]) -> None:
    """Whatever follows whatever: the rows hold every event once, with its seq and time.

    A chain value is gone only where a later one of the same row proves what it did.
    """
    minted, rows = {}, []
    seq, uptime, joined = 0, 1_000, None
    for skip, delta, payload, mac8 in steps:
        seq += 1 + (skip == 3)
        uptime += delta - (skip == 2)
        message = Events(seq, 1 + (skip == 1), uptime, payload, mac8, 0, None)
        minted[seq] = (message.boot, uptime, payload)
        found = survey(payload)
        if joined is None or not joined.take(message, found):
            rows += [joined.run(7, 1, 2, 3)] if joined else []
            joined = Joined(message, found, grows=True)
    rows.append(joined.run(7, 1, 2, 3))
    held = {}
    for row in rows:
        parts = split(row[11])
        assert len(parts) == row[3] - row[2] + 1 <= MAX_EVENTS
        assert len(row[11]) <= MAX_ITEMS
        assert {events.class_of(events.kind_of(payload)) for _, payload in parts} == {row[8]}
        for index, (since, payload) in enumerate(parts):
            held[row[2] + index] = (row[1], row[4] + since, payload)
    assert held == minted
    macs = {seq: mac for (skip, _, _, mac), seq in zip(steps, minted, strict=True) if mac is not None}
    for row in rows:
        within = [seq for seq in macs if row[2] <= seq <= row[3]]
        assert row[12] == (macs[row[3]] if within else None)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(1, 64), PAYLOADS, MACS, st.sampled_from([0, 400, 9_000, 1 << 33])),
        min_size=1,
        max_size=40,
    )
)
def test_long_runs_are_rows_that_the_office_takes(
    batches: list[tuple[int, bytes, bytes | None, int]],
) -> None:
    minted, macs, rows = {}, {}, []
    seq, uptime, joined = 1, 1_000, None
    for size, payload, mac8, pause in batches:
        message = Events(
            seq,
            3,
            uptime,
            events.join([uptime + 300 * n for n in range(size)], [payload] * size),
            mac8,
            0,
            None,
        )
        minted.update({seq + n: (uptime + 300 * n, payload) for n in range(size)})
        if mac8 is not None:
            macs[seq + size - 1] = mac8
        seq, uptime = seq + size, uptime + 300 * (size - 1) + pause
        found = survey(message.items)
        if joined is None or not joined.take(message, found):
            rows += [joined.run(7, 1, 2, 3)] if joined else []
            joined = Joined(message, found, grows=True)
    assert joined is not None
    rows.append(joined.run(7, 1, 2, 3))
    held = {}
    for row in rows:
        parts = split(row[11])
        assert len(parts) == row[3] - row[2] + 1 <= MAX_EVENTS
        assert len(row[11]) <= MAX_ITEMS
        held.update({row[2] + n: (row[4] + since, payload) for n, (since, payload) in enumerate(parts)})
        assert parts[-1][0] <= MAX_SPAN_CS
        assert row[12] == macs.get(row[3])
        assert row[12] is not None or not any(row[2] <= at <= row[3] for at in macs)
        assert cut(row, [(row[2], row[3])]) == [(*row[:5], *row[5:])]
    assert held == minted
