# Layer: AES-CCM-16-64-128, HMAC and comparison on CPython. Same names as ccm_device; not shipped to devices.
import hmac
from itertools import repeat

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from gatelink import reasons
from gatelink.errors import AuthError


# key, message of any length -> 32 bytes (RFC 2104).
def hmac_sha256(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


# Compares in time that does not depend on where the two differ.
def same(a: bytes, b: bytes) -> bool:
    return hmac.compare_digest(a, b)


class Ccm:
    # key: 16 bytes
    def __init__(self, key: bytes) -> None:
        self._aead = AESCCM(key, tag_length=8)

    # nonce: 13 bytes -> ciphertext || 8-byte tag
    def seal(self, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
        return self._aead.encrypt(nonce, plaintext, aad)

    # Raises AuthError(NOT_AUTHENTIC).
    def open_(self, nonce: bytes, sealed: bytes, aad: bytes) -> bytes:
        try:
            return self._aead.decrypt(nonce, sealed, aad)
        except InvalidTag:
            raise AuthError(reasons.NOT_AUTHENTIC) from None

    # As open_() for each; for the common case that all are authentic.
    def open_all(self, nonces: list[bytes], sealed: list[bytes], aad: bytes) -> list[bytes]:
        try:
            return list(map(self._aead.decrypt, nonces, sealed, repeat(aad)))
        except InvalidTag:
            raise AuthError(reasons.NOT_AUTHENTIC) from None
