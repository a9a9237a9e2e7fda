# Layer: plaintext <-> authenticated frame: COSE_Encrypt0 (RFC 9052), AES-CCM-16-64-128, one fixed header.
#   83 | 43 A1010A | A2 04 44 <device u32> 06 45 <PIV 5> | bstr(ciphertext || tag8)
from gatelink import cbor, reasons
from gatelink.errors import AuthError, FrameError, MessageError, ReplayError
from gatelink.framing import MAX_FRAME
from gatelink.kdf import fingerprint, hkdf_sha256, hmac_sha256, kdf_info, mac8, same

try:
    from gatelink.ccm_host import Ccm
except ImportError:  # no `cryptography`: a device
    from gatelink.ccm_device import Ccm  # type: ignore[assignment]  # two classes of one shape

try:
    from typing import Any
except ImportError:
    pass

__all__ = (
    "DOWN", "UP", "Keys", "ReplayWindow", "derive", "fingerprint", "hkdf_sha256", "hmac_sha256", "kdf_info",
    "mac8", "open_", "peek", "same", "seal",
)  # fmt: skip

UP = 0  # device to edge
DOWN = 1  # edge to device
SALT = b"gatepost-1"
ALG = 10
OVERHEAD = 30  # bytes that a frame adds at most to its plaintext

_PROTECTED = b"\xa1\x01\x0a"
_HEAD = b"\x83\x43\xa1\x01\x0a\xa2\x04\x44"
_PIV = b"\x06\x45"
_PIV_TOP = 0xFFFFFFFFFF
_HEAD_SIZE = 19


# What one device and the edge share in one epoch. Holds the ciphers, so keep it for the life of the session.
class Keys:
    # device: u32; epoch: u16; keys: 16 bytes; ivs: 13 bytes
    def __init__(
        self, device: int, epoch: int, up_key: bytes, up_iv: bytes, down_key: bytes, down_iv: bytes
    ) -> None:
        self.device = device
        self.epoch = epoch
        self.up_key = up_key
        self.up_iv = up_iv
        self.down_key = down_key
        self.down_iv = down_iv
        kid = device.to_bytes(4, "big")
        self.head = _HEAD + kid + _PIV
        self._ciphers: "list[Any]" = [None, None]
        # The nonce but for its partial IV (RFC 8613 section 5.2), as a whole number.
        self._nonces = (_nonce_base(kid, up_iv), _nonce_base(b"\x01" + kid, down_iv))
        self._up_aad = _aad(["gp1", UP, device])
        self._down_nonce = b""
        self._down_aad = b""

    def cipher(self, direction: int) -> "Any":
        found = self._ciphers[direction]
        if found is None:
            found = self._ciphers[direction] = Ccm(self.down_key if direction else self.up_key)
        return found

    # -> 13 bytes
    def nonce(self, direction: int, piv: int) -> bytes:
        return (self._nonces[direction] ^ piv).to_bytes(13, "big")

    # -> Enc_structure of RFC 9052 section 5.3. Raises AuthError(NO_SESSION): DOWN without an 8-byte boot
    # nonce.
    def aad(self, direction: int, boot_nonce: bytes) -> bytes:
        if direction == UP:
            return self._up_aad
        if len(boot_nonce) != 8:
            raise AuthError(reasons.NO_SESSION)
        if boot_nonce != self._down_nonce:
            self._down_aad = _aad(["gp1", DOWN, self.device, boot_nonce])
            self._down_nonce = bytes(boot_nonce)
        return self._down_aad


def _aad(external: "list[Any]") -> bytes:
    return cbor.dumps(["Encrypt0", _PROTECTED, cbor.dumps(external)])


def _nonce_base(identity: bytes, iv: bytes) -> int:
    padded = bytes([len(identity)]) + bytes(7 - len(identity)) + identity + bytes(5)
    return int.from_bytes(padded, "big") ^ int.from_bytes(iv, "big")


# link_key: 32 bytes; device: u32; epoch: u16. Raises MessageError(BAD_FIELD).
def derive(link_key: bytes, device: int, epoch: int) -> Keys:
    if len(link_key) != 32 or not 0 <= device <= 0xFFFFFFFF or not 0 <= epoch <= 0xFFFF:
        raise MessageError(reasons.BAD_FIELD, "link key, device or epoch")
    kid = device.to_bytes(4, "big")
    context = epoch.to_bytes(2, "big")
    secrets = []
    for identity in (kid, b"\x01" + kid):
        for kind, length in (("Key", 16), ("IV", 13)):
            info = kdf_info(identity, context, ALG, kind, length)
            secrets.append(hkdf_sha256(link_key, SALT, info, length))
    return Keys(device, epoch, secrets[0], secrets[1], secrets[2], secrets[3])


# piv: u40, never twice in one direction of one epoch; boot_nonce: 8 bytes from the device's hello, only for
# DOWN. Raises MessageError(BAD_FIELD), AuthError(NO_SESSION), FrameError(TOO_LONG).
def seal(keys: Keys, direction: int, piv: int, plaintext: bytes, boot_nonce: bytes = b"") -> bytes:
    if not 0 <= piv <= _PIV_TOP:
        raise MessageError(reasons.BAD_FIELD, "partial IV")
    aad = keys.aad(direction, boot_nonce)
    size = len(plaintext) + 8
    if size > MAX_FRAME - _HEAD_SIZE - 3:
        raise FrameError(reasons.TOO_LONG)
    if size < 24:
        length = bytes([0x40 | size])
    elif size < 256:
        length = bytes([0x58, size])
    else:
        length = bytes([0x59, size >> 8, size & 0xFF])
    sealed: bytes = keys.cipher(direction).seal(keys.nonce(direction, piv), plaintext, aad)
    return keys.head + piv.to_bytes(5, "big") + length + sealed


# -> (device, piv, where the ciphertext begins)
def _parse(frame: bytes) -> "tuple[int, int, int]":
    size = len(frame)
    if size > MAX_FRAME:
        raise FrameError(reasons.TOO_LONG)
    if size <= _HEAD_SIZE:
        raise FrameError(reasons.TRUNCATED)
    if frame[:8] != _HEAD or frame[12:14] != _PIV:
        raise FrameError(reasons.BAD_HEADER)
    first = frame[_HEAD_SIZE]
    start = _HEAD_SIZE + 1
    if 0x48 <= first < 0x58:
        length = first - 0x40
    elif first == 0x58 or first == 0x59:
        start += first - 0x57
        if size < start:
            raise FrameError(reasons.TRUNCATED)
        length = int.from_bytes(frame[_HEAD_SIZE + 1 : start], "big")
        if length < (24 if first == 0x58 else 256):
            raise FrameError(reasons.NOT_CANONICAL)
    else:
        raise FrameError(reasons.BAD_HEADER)
    if start + length != size:
        raise FrameError(reasons.TRUNCATED if start + length > size else reasons.TRAILING)
    return int.from_bytes(frame[8:12], "big"), int.from_bytes(frame[14:19], "big"), start


# -> (device, piv) as the frame claims them; nothing is authentic yet.
# Raises FrameError: TOO_LONG, TRUNCATED, TRAILING, BAD_HEADER, NOT_CANONICAL.
def peek(frame: bytes) -> "tuple[int, int]":
    device, piv, _ = _parse(frame)
    return device, piv


# -> (piv, plaintext). Raises FrameError as peek, AuthError: UNKNOWN_DEVICE (not the device of these keys),
# NO_SESSION, NOT_AUTHENTIC (wrong key, direction, boot nonce or any bit).
def open_(keys: Keys, direction: int, frame: bytes, boot_nonce: bytes = b"") -> "tuple[int, bytes]":
    device, piv, start = _parse(frame)
    if device != keys.device:
        raise AuthError(reasons.UNKNOWN_DEVICE)
    aad = keys.aad(direction, boot_nonce)
    return piv, keys.cipher(direction).open_(keys.nonce(direction, piv), frame[start:], aad)


# Which partial IVs were seen: the highest and a mask of the 64 up to it (bit 0 = the highest).
class ReplayWindow:
    def __init__(self, high: int = -1, mask: int = 0) -> None:
        self.high = high
        self.mask = mask

    def fresh(self, piv: int) -> bool:
        back = self.high - piv
        return back < 0 or (back < 64 and not self.mask >> back & 1)

    # Raises ReplayError(REPLAYED) and changes nothing when piv is not fresh.
    def accept(self, piv: int) -> None:
        back = self.high - piv
        if back < 0:
            self.mask = (self.mask << -back if -back < 64 else 0) & 0xFFFFFFFFFFFFFFFF | 1
            self.high = piv
        elif back < 64 and not self.mask >> back & 1:
            self.mask |= 1 << back
        else:
            raise ReplayError(reasons.REPLAYED)
