# Layer: AES-CCM-16-64-128, HMAC and comparison on a stock MicroPython image. Its cryptolib knows only AES in
# ECB and CBC mode: the counter blocks go through one ECB call, the MAC through one CBC call (RFC 3610, L = 2,
# M = 8).
from hashlib import sha256

from cryptolib import aes

from gatelink import reasons
from gatelink.errors import AuthError

_ECB = 1
_CBC = 2
_ZERO = bytes(16)


# key, message of any length -> 32 bytes (RFC 2104).
def hmac_sha256(key: bytes, message: bytes) -> bytes:
    if len(key) > 64:
        key = sha256(key).digest()
    key = key + bytes(64 - len(key))
    inner = sha256(bytes([byte ^ 0x36 for byte in key]) + message).digest()
    return sha256(bytes([byte ^ 0x5C for byte in key]) + inner).digest()


# Compares in time that does not depend on where the two differ.
def same(a: bytes, b: bytes) -> bool:
    if len(a) != len(b):
        return False
    differing = 0
    for index in range(len(a)):
        differing |= a[index] ^ b[index]
    return not differing


class Ccm:
    # key: 16 bytes
    def __init__(self, key: bytes) -> None:
        self._key = key
        self._ecb = aes(key, _ECB)

    # -> the 16-byte CBC-MAC of RFC 3610 section 2.2
    def _mac(self, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
        size = len(plaintext)
        head = 18 + len(aad)
        head += -head % 16
        blocks = bytearray(head + size + -size % 16)
        blocks[0] = 0x59  # aad present, M = 8, L = 2
        blocks[1:14] = nonce
        blocks[14] = size >> 8
        blocks[15] = size & 0xFF
        blocks[16] = len(aad) >> 8
        blocks[17] = len(aad) & 0xFF
        blocks[18 : 18 + len(aad)] = aad
        blocks[head : head + size] = plaintext
        aes(self._key, _CBC, _ZERO).encrypt(blocks, blocks)
        return bytes(blocks[-16:])

    # -> (plaintext xor key stream, key stream block for the tag)
    def _crypt(self, nonce: bytes, text: bytes) -> "tuple[bytes, bytes]":
        size = len(text)
        stream = bytearray(16 + size + -size % 16)
        for at in range(0, len(stream), 16):
            stream[at] = 0x01
            stream[at + 1 : at + 14] = nonce
            stream[at + 14] = at >> 12
            stream[at + 15] = at >> 4 & 0xFF
        self._ecb.encrypt(stream, stream)
        # As whole numbers: the xor of all bytes is one operation of the virtual machine.
        crypted = int.from_bytes(text, "big") ^ int.from_bytes(stream[16 : 16 + size], "big")
        return crypted.to_bytes(size, "big"), bytes(stream[:16])

    def _tag(self, mac: bytes, stream: bytes) -> bytes:
        return bytes([mac[index] ^ stream[index] for index in range(8)])

    # nonce: 13 bytes, aad: 1..65279 bytes -> ciphertext || 8-byte tag
    def seal(self, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
        crypted, stream = self._crypt(nonce, plaintext)
        return crypted + self._tag(self._mac(nonce, plaintext, aad), stream)

    # Raises AuthError(NOT_AUTHENTIC).
    def open_(self, nonce: bytes, sealed: bytes, aad: bytes) -> bytes:
        if len(sealed) < 8:
            raise AuthError(reasons.NOT_AUTHENTIC)
        plaintext, stream = self._crypt(nonce, sealed[:-8])
        if not same(self._tag(self._mac(nonce, plaintext, aad), stream), sealed[-8:]):
            raise AuthError(reasons.NOT_AUTHENTIC)
        return plaintext
