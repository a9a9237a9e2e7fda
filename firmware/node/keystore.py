# Keys and counters in one NVS namespace, so that they vanish together: a device that lost them is silent.
from gatelink import cose

from .errors import NotProvisioned

try:
    from typing import Any
except ImportError:
    pass

_BOOT_MAX = 0xFFFFFF
_COUNTER_MAX = 0xFFFF


class KeyStore:
    # nvs: an esp32.NVS of the namespace "gatepost". Raises NotProvisioned when anything is missing or
    # malformed.
    def __init__(self, nvs: "Any") -> None:
        self._nvs = nvs
        self.device = self._u32("dev")
        self.epoch = self._u32("epoch")
        self.event_key = self._blob("event")
        self.keys = cose.derive(self._blob("link"), self.device, self.epoch & 0xFFFF)
        # must be there, even as 0: without it a partial IV could be used twice
        self._boot = self._u32("boot")
        self._counter = _COUNTER_MAX + 1

    # A number that was never used before, committed before it is returned. Raises NotProvisioned when used
    # up.
    def next_boot(self) -> int:
        if self._boot >= _BOOT_MAX:
            raise NotProvisioned("boot counter used up")
        self._boot += 1
        self._nvs.set_i32("boot", self._boot)
        self._nvs.commit()
        self._counter = 0
        return self._boot

    # Partial IV of the next frame (40 bits), never given out twice; a full counter takes a boot number of its
    # own.
    def next_piv(self) -> int:
        if self._counter > _COUNTER_MAX:
            self.next_boot()
        piv = self._boot << 16 | self._counter
        self._counter += 1
        return piv

    # The journal's marks; absent means 0, they can only make it more careful.
    def get_acked(self) -> int:
        return self._mark("acked")

    def get_seqmin(self) -> int:
        return self._mark("seqmin")

    def store(self, acked: int, seqmin: int) -> None:
        self._set_u32("acked", acked)
        self._set_u32("seqmin", seqmin)
        self._nvs.commit()

    # NVS has no unsigned numbers: u32 travels as i32.
    def _u32(self, key: str) -> int:
        try:
            return int(self._nvs.get_i32(key)) & 0xFFFFFFFF
        except OSError:
            raise NotProvisioned(key) from None

    def _mark(self, key: str) -> int:
        try:
            return int(self._nvs.get_i32(key)) & 0xFFFFFFFF
        except OSError:
            return 0

    def _set_u32(self, key: str, value: int) -> None:
        self._nvs.set_i32(key, value - 0x100000000 if value > 0x7FFFFFFF else value)

    def _blob(self, key: str) -> bytes:
        buf = bytearray(33)
        try:
            size = self._nvs.get_blob(key, buf)
        except OSError:
            raise NotProvisioned(key) from None
        if size != 32 or buf[:32] == bytes(32) or buf[:32] == b"\xff" * 32:
            raise NotProvisioned(key)
        return bytes(buf[:32])
