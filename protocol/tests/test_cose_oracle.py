"""An independent COSE implementation (pycose) opens every golden frame, and our decoder reads what it makes.

pycose makes the Enc_structure, the nonce out of base IV and partial IV, and the headers on its own; only the bytes
of the frame, the key, the base IV (RFC 9052 section 3.1) and the external AAD are handed to it.
"""

from typing import Any

import cbor2
import pytest
from pycose.algorithms import AESCCM1664128
from pycose.headers import KID, Algorithm, PartialIV
from pycose.keys import SymmetricKey
from pycose.keys.keyparam import KpBaseIV
from pycose.messages import Enc0Message

from gatelink import cose
from protocol.tests.vectors import load

GOLDEN = load("valid/cose")
KEYS = cose.derive(bytes.fromhex(GOLDEN["link_key"]), GOLDEN["device"], GOLDEN["epoch"])
KID_BYTES = KEYS.device.to_bytes(4, "big")


def key_of(direction: int) -> Any:
    key = SymmetricKey(k=KEYS.down_key if direction else KEYS.up_key)
    key.store[KpBaseIV] = KEYS.nonce(direction, 0)
    return key


def external_aad(direction: int, boot_nonce: bytes) -> bytes:
    parts: list[Any] = ["gp1", direction, KEYS.device]
    return cbor2.dumps([*parts, boot_nonce] if direction else parts)


@pytest.mark.parametrize("row", GOLDEN["vectors"], ids=lambda row: row["name"])
def test_pycose_opens_our_frame(row: dict[str, Any]) -> None:
    direction = int(row["direction"] == "down")
    # pycose's own decode() asks for a list inside the tag, where cbor2 6 gives a tuple.
    message = Enc0Message.from_cose_obj(cbor2.loads(bytes.fromhex(row["frame"])), True)
    assert message.phdr == {Algorithm: AESCCM1664128}
    assert message.uhdr == {KID: KID_BYTES, PartialIV: row["piv"].to_bytes(5, "big")}
    message.key = key_of(direction)
    message.external_aad = external_aad(direction, bytes.fromhex(row["boot_nonce"]))
    assert message.decrypt() == bytes.fromhex(row["plaintext"])


@pytest.mark.parametrize("row", GOLDEN["vectors"], ids=lambda row: row["name"])
def test_we_open_the_frame_of_pycose(row: dict[str, Any]) -> None:
    direction = int(row["direction"] == "down")
    nonce = bytes.fromhex(row["boot_nonce"])
    message = Enc0Message(
        phdr={Algorithm: AESCCM1664128},
        uhdr={KID: KID_BYTES, PartialIV: row["piv"].to_bytes(5, "big")},
        payload=bytes.fromhex(row["plaintext"]),
        external_aad=external_aad(direction, nonce),
        key=key_of(direction),
    )
    frame = message.encode(tag=False)
    assert frame == bytes.fromhex(row["frame"])
    assert cose.open_(KEYS, direction, frame, nonce) == (row["piv"], bytes.fromhex(row["plaintext"]))
