# Messages against the vectors, under both interpreters.
from binascii import unhexlify

from gatelink import messages, reasons
from protocol.tests.vectors import refusal, rows, value

DIRECTIONS = {"up": 0, "down": 1}
TYPES = {
    "up": ("Hello", "Events", "Status", "Result"),
    "down": ("Welcome", "Command", "Ack", "Config", "Update"),
}


def lists(found):
    if isinstance(found, (list, tuple)):
        return [lists(item) for item in found]
    return found


def test_valid_vectors():
    seen = set()
    for row in rows("valid/messages"):
        kind = getattr(messages, row["type"])
        message = messages.decode(DIRECTIONS[row["direction"]], unhexlify(row["plaintext"]))
        assert isinstance(message, kind), row["name"]
        for name in row["fields"]:
            assert lists(getattr(message, name)) == value(row["fields"][name]), (row["name"], name)
        assert len(message) == len(row["fields"]), row["name"]
        assert messages.encode(message) == unhexlify(row["plaintext"]), row["name"]
        assert row["type"] in TYPES[row["direction"]], row["name"]
        seen.add(row["type"])
    assert seen == set(TYPES["up"] + TYPES["down"])


def test_invalid_vectors():
    for row in rows("invalid/messages"):
        found = refusal(messages.decode, DIRECTIONS[row["direction"]], unhexlify(row["plaintext"]))
        assert found is not None, row["name"]
        assert found[1] == row["reason"], (row["name"], found)


def test_a_message_of_the_other_direction_is_none():
    # Type numbers overlap; what is read must still never be the other direction's type.
    for row in rows("valid/messages"):
        other = "down" if row["direction"] == "up" else "up"
        plaintext = unhexlify(row["plaintext"])
        if refusal(messages.decode, DIRECTIONS[other], plaintext) is None:
            message = messages.decode(DIRECTIONS[other], plaintext)
            assert any([isinstance(message, getattr(messages, name)) for name in TYPES[other]])  # noqa: C419


def test_what_encode_refuses():
    for bad, reason in (
        ((1, 2, 3), reasons.UNKNOWN_TYPE),
        (None, reasons.UNKNOWN_TYPE),
        (messages.Result(1, 9, ""), reasons.BAD_FIELD),
        (messages.Ack(1, [(3, 2)], None), reasons.BAD_FIELD),
        (messages.Events(5, 1, 1, b"", None, 0, None), reasons.BAD_FIELD),
        (messages.Events(5, 1, 1, b"\x81\x00", None, 1, None), reasons.BAD_FIELD),
        (messages.Config(1, 1, 5, 5, b"x"), reasons.BAD_FIELD),
    ):
        assert refusal(messages.encode, bad) == ("MessageError", reason), bad


def test_rekey_vectors():
    for row in rows("valid/rekey"):
        key, body = unhexlify(row["link_key"]), unhexlify(row["body"])
        assert messages.encode_rekey(row["epoch"], key) == body, row["name"]
        assert messages.decode_rekey(body) == (row["epoch"], key), row["name"]
        config = messages.decode(1, unhexlify(row["message"]))
        assert config == messages.Config(messages.REKEY, 77, len(body), 0, body), row["name"]
    for row in rows("invalid/rekey"):
        found = refusal(messages.decode_rekey, unhexlify(row["body"]))
        assert found is not None, row["name"]
        assert found[1] == row["reason"], (row["name"], found)
    for epoch, key in (
        (0, bytes(range(32))),
        (1, bytes(32)),
        (1, b"\xff" * 32),
        (1, b"short"),
        (70_000, bytes(range(32))),
    ):
        assert refusal(messages.encode_rekey, epoch, key) == ("MessageError", reasons.BAD_FIELD)
