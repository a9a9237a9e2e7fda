# Event payloads, batches and the event chain against the vectors, under both interpreters.
from binascii import hexlify, unhexlify

from gatelink import cbor, events, kdf, reasons
from protocol.tests.vectors import load, refusal, rows, value


def test_valid_events():
    kinds = set()
    for row in rows("valid/events"):
        fields = value(row["fields"])
        payload = unhexlify(row["payload"])
        assert events.encode(row["kind"], *fields) == payload, row["name"]
        found = [row["kind"]] + fields  # noqa: RUF005  # MicroPython has no star here
        assert events.decode(payload) == found, row["name"]
        assert events.kind_of(payload) == row["kind"], row["name"]
        assert events.class_of(row["kind"]) == row["class"], row["name"]
        assert len(payload) <= events.MAX_PAYLOAD, row["name"]
        kinds.add(row["kind"])
    assert kinds == set(events._KINDS)


def test_invalid_events():
    for row in rows("invalid/events"):
        found = refusal(events.decode, unhexlify(row["payload"]))
        assert found is not None, row["name"]
        assert found[1] == row["reason"], (row["name"], found)


def test_what_encode_refuses():
    uid = bytes(7)
    for args, reason in (
        ((63,), reasons.UNKNOWN_TYPE),
        ((events.VISIT,), reasons.BAD_FIELD),
        ((events.VISIT, uid, uid), reasons.BAD_FIELD),
        ((events.VISIT, bytes(8)), reasons.BAD_FIELD),
        ((events.BARRIER, 0, 0, 1 << 32), reasons.BAD_FIELD),
        ((events.HEARTBEAT, True), reasons.BAD_FIELD),
        ((events.FAULT, 1, "x" * 25), reasons.BAD_FIELD),
    ):
        assert refusal(events.encode, *args) == ("MessageError", reason), args


def test_younger_fields_are_ignored_and_kinds_keep_their_class():
    assert events.decode(cbor.dumps([events.VISIT, bytes(4), "more"])) == [events.VISIT, bytes(4)]
    assert events.decode(cbor.dumps([events.FORCED, 5, 6])) == [events.FORCED, 5]
    assert [events.class_of(kind) for kind in (64, 65, 66, 67, 255)] == [
        events.ROUTINE,
        events.NORMAL,
        events.ALARM,
        events.NORMAL,
        events.NORMAL,
    ]


def test_chain():
    whole = load("valid/chain")
    key = unhexlify(whole["event_key"])
    mac = bytes(8)
    for row in whole["vectors"]:
        payload = unhexlify(row["payload"])
        record = events.record(row["seq"], row["boot"], row["uptime_cs"], payload)
        assert hexlify(record).decode() == row["record"], row["name"]
        mac = kdf.mac8(key, mac, record)
        assert hexlify(mac).decode() == row["mac8"], row["name"]


def test_valid_batches():
    for row in rows("valid/batches"):
        payloads = [unhexlify(payload) for payload in row["payloads"]]
        uptimes = row["uptimes_cs"]
        items = unhexlify(row["items"])
        assert events.join(uptimes, payloads) == items, row["name"]
        expected = [(uptimes[index] - uptimes[0], payloads[index]) for index in range(len(payloads))]
        assert events.split(items) == expected, row["name"]
        assert events.careful_split(items) == expected, row["name"]


def test_invalid_batches():
    for row in rows("invalid/batches"):
        for split in (events.split, events.careful_split):
            found = refusal(split, unhexlify(row["items"]))
            assert found is not None, row["name"]
            assert found[1] == row["reason"], (row["name"], found)


def test_what_join_refuses():
    one = events.encode(events.VISIT, bytes(4))
    for uptimes, payloads in (([], []), ([1], [one, one]), ([2, 1], [one, one]), ([0] * 65, [one] * 65)):
        assert refusal(events.join, uptimes, payloads) == ("MessageError", reasons.BAD_FIELD), uptimes


def test_batch_of_20_costs_at_most_16_bytes_an_event():
    from gatelink import cose, framing, messages

    row = next(row for row in rows("valid/batches") if row["name"] == "round of 20 visits")
    message = messages.Events(100041, 312, row["uptimes_cs"][0], unhexlify(row["items"]), bytes(8), 0, None)
    overhead = cose.OVERHEAD + 2 + 3  # CRC, COBS and the zero: at most, below 509 bytes
    size = len(messages.encode(message)) + overhead
    assert size <= 20 * 16, size
    assert len(framing.encode(bytes(size - 5))) <= size
    single = messages.Events(100041, 312, 987654, events.encode(events.VISIT, bytes(7)), None, 0, None)
    assert len(messages.encode(single)) + overhead - 2 <= 60
