# Layer: the one form of a card's number. A UID is the bytes that the card sends, in that order (ISO 14443-3: uid0
# first, cascade tags left out): 4, 7 or 10 of them, leading zeros kept. In files it is hex, lower case, without
# separators; people may type spaces, colons or dashes. A Wiegand reader that sends the opposite order is turned
# round in its driver. What it shortens to 3 bytes (26 bits) is another, shorter number: never padded to a UID.
from binascii import unhexlify

LENGTHS = (4, 7, 10)


# text: hex as people type it -> 1..10 bytes. ValueError: not hex, or too long.
def octets(text: str) -> bytes:
    for separator in (" ", ":", "-"):
        text = text.replace(separator, "")
    if not text or len(text) > 20 or len(text) & 1:
        raise ValueError("1 to 10 bytes in hex")
    return unhexlify(text)


# text: hex -> a UID of 4, 7 or 10 bytes. ValueError.
def parse(text: str) -> bytes:
    uid = octets(text)
    if len(uid) not in LENGTHS:
        raise ValueError("a UID has 4, 7 or 10 bytes")
    return uid
