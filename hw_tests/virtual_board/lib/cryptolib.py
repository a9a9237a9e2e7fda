# Layer: `cryptolib` as on the ESP32: AES in ECB (1) and CBC (2) with 16, 24 or 32 byte keys.
import _vb
from _wait import SIZE, scratch

_aes = _vb.aes
_ROOM = (SIZE - 64) & ~15


class aes:  # noqa: N801
    def __init__(self, key, mode, IV=None):  # noqa: N803
        if mode not in (1, 2):
            raise ValueError("mode")
        if len(key) not in (16, 24, 32):
            raise ValueError("key")
        if mode == 2 and (IV is None or len(IV) != 16):
            raise ValueError("IV")
        self._key = bytes(key)
        self._mode = mode
        self._iv = bytes(IV) if mode == 2 else None
        self._way = None

    def _run(self, encrypt, data, out):
        if self._way is not None and self._way != encrypt:
            raise ValueError("can't encrypt & decrypt")
        self._way = encrypt
        length = len(data)
        if length % 16:
            raise ValueError("blksize % 16")
        result = bytearray(length) if out is None else out
        if len(result) < length:
            raise ValueError("output too small")
        view = memoryview(data)
        target = memoryview(result)
        key = self._key
        for start in range(0, length, _ROOM):
            size = min(_ROOM, length - start)
            scratch[: len(key)] = key
            if self._iv is not None:
                scratch[32:48] = self._iv
            scratch[64 : 64 + size] = view[start : start + size]
            last = bytes(view[start + size - 16 : start + size])
            _aes(encrypt, self._mode, len(key), size)
            target[start : start + size] = scratch[64 : 64 + size]
            if self._iv is not None:
                self._iv = bytes(scratch[48 + size : 64 + size]) if encrypt else last
        return bytes(result) if out is None else out

    def encrypt(self, data, out=None):
        return self._run(True, data, out)

    def decrypt(self, data, out=None):
        return self._run(False, data, out)
