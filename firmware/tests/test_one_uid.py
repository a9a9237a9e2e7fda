"""One form of a card's number from the reader to the office's page: typed, read by NFC or Wiegand, told, shown."""

import pytest
from drivers import pn532_frames, uid
from drivers.pn532 import Pn532
from drivers.wiegand import decode

from edge_agent import event_words as words
from gatelink import events
from patrol_tag.shift import Shift
from tools.office import config as office

CARDS = [
    ("00a1b2c3", "00:A1:B2:C3"),
    ("00000001", "00 00 00 01"),
    ("04112233445566", "04-11-22-33-44-55-66"),
    ("00000000000001", "00000000000001"),
    ("00010203040506070809", "00 01 02 03 04 05 06 07 08 09"),
]


def read_by_pn532(card: bytes) -> bytes:
    """What the driver makes of the chip's answer to this card."""
    chip = Pn532(0)

    def answer(code: int, data: bytes = b"") -> bytes:
        body = bytes([0xD5, code]) + data
        return bytes([0, 0, 0xFF, len(body), -len(body) & 0xFF]) + body + bytes([-sum(body) & 0xFF, 0])

    for code in (0x15, 0x33):
        chip.poll(0)
        chip.receive(pn532_frames.ACK + answer(code), 0)
    chip.poll(0)
    chip.receive(pn532_frames.ACK, 0)
    found = chip.receive(answer(0x4B, b"\x01\x01\x04\x00\x08" + bytes([len(card)]) + card), 9)
    assert found is not None
    return found


@pytest.mark.parametrize(("normal", "typed"), CARDS)
def test_tag_edge_and_office_mean_the_same_card(normal: str, typed: str) -> None:
    card = uid.parse(typed)
    assert card.hex() == normal
    assert read_by_pn532(card) == card
    # the tag's list, typed by a person, knows the card that the reader read
    shift = Shift([], [], [uid.parse(typed)], 1000)
    found, _ = shift.judge(read_by_pn532(card), 0)
    assert found == [(events.VISIT, card)]
    # journal, edge and office hold the payload as it was written
    payload = events.encode(*found[0])
    assert events.decode(payload) == [events.VISIT, card]
    # the office's list has it in hex: the same bytes; its page shows the name, or the last digits with their zeros
    assert office.card_uid(normal) is None
    names = {bytes.fromhex(normal): "gate"}
    for language in ("zh", "en"):
        assert words.describe(events.VISIT, payload, language, lambda number: names[number]) == "gate"
        assert words.describe(events.VISIT, payload, language, words.masked) == "…" + normal[-4:]


def bits_of(number: bytes) -> bytes:
    """A Wiegand frame with both parities, one bit a byte."""
    data = [value >> bit & 1 for value in number for bit in range(7, -1, -1)]
    half = len(data) // 2
    return bytes([sum(data[:half]) & 1, *data, 1 - (sum(data[half:]) & 1)])


def test_wiegand_34_and_nfc_give_a_card_of_four_bytes_the_same_number() -> None:
    for normal in ("00a1b2c3", "00000001", "ff000000"):
        assert decode(bits_of(bytes.fromhex(normal))) == (uid.parse(normal), "")


def test_wiegand_26_is_a_shorter_number_of_its_own() -> None:
    number, _ = decode(bits_of(bytes.fromhex("a1b2c3")))
    assert number == bytes.fromhex("a1b2c3")
    assert number != uid.parse("00a1b2c3")
    assert uid.octets("a1b2c3") == number
    with pytest.raises(ValueError, match="4, 7 or 10"):
        uid.parse("a1b2c3")
