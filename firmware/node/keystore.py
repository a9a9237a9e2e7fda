# Keys and counters in one NVS namespace, so that they vanish together: a device that lost them is silent.
#   link, epoch  as provisioned          cur, next  link key after a rotation, and the pending one:
#                                        epoch u16 | key 32 | first 8 bytes of SHA-256 of the provisioned key
# Each step of a rotation is the write or erasure of one entry, which NVS does whole or not at all.
import hashlib

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
        self.event_key = self._blob("event")
        kept = self._rotated("cur")
        try:
            link_key = self._blob("link")
            self._mark8 = hashlib.sha256(link_key).digest()[:8]
            self.epoch = self._u32("epoch") & 0xFFFF
        except NotProvisioned:
            # a finished rotation erases the key that came first
            if not kept:
                raise
            self._mark8 = kept[34:]
        if kept and kept[34:] == self._mark8:
            self.epoch = int.from_bytes(kept[:2], "big")
            link_key = kept[2:34]
        # the key that is spoken; while another one is pending, the other of the two, and which is which
        self.keys = cose.derive(link_key, self.device, self.epoch)
        self.other: "cose.Keys | None" = None
        self.trying = False
        self._next = self._rotated("next")
        if self._next[34:] == self._mark8 and self._next[:2] == (self.epoch + 1).to_bytes(3, "big")[1:]:
            self.other = cose.derive(self._next[2:34], self.device, self.epoch + 1)
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

    # The link key of the next epoch, beside the present one; durable on return. Raises OSError.
    def store_next(self, epoch: int, link_key: bytes) -> None:
        kept = epoch.to_bytes(2, "big") + link_key + self._mark8
        if self.other and kept == self._next:
            return
        keys = cose.derive(link_key, self.device, epoch)
        self._next = kept
        self._nvs.set_blob("next", self._next)
        self._nvs.commit()
        if self.trying:
            self.keys = keys
        else:
            self.other = keys

    # Speaks the other one of two keys.
    def switch(self) -> None:
        if self.other:
            self.keys, self.other = self.other, self.keys
            self.trying = not self.trying

    # The pending key, which is spoken at present, is the key; the old one is forgotten. Durable on return.
    def commit_next(self) -> None:
        self._nvs.set_blob("cur", self._next)
        self._nvs.commit()
        self.epoch += 1
        self.other = None
        self.trying = False
        for key in ("next", "link"):
            try:
                self._nvs.erase_key(key)
                self._nvs.commit()
            except OSError:
                # erased by the rotation before
                pass

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

    # cur or next, or b"" when there is none. Raises NotProvisioned: there is one, and it is damaged.
    def _rotated(self, key: str) -> bytes:
        buf = bytearray(43)
        try:
            size = self._nvs.get_blob(key, buf)
        except OSError:
            return b""
        if size != 42:
            raise NotProvisioned(key)
        return bytes(buf[:42])

    def _blob(self, key: str) -> bytes:
        buf = bytearray(33)
        try:
            size = self._nvs.get_blob(key, buf)
        except OSError:
            raise NotProvisioned(key) from None
        if size != 32 or buf[:32] == bytes(32) or buf[:32] == b"\xff" * 32:
            raise NotProvisioned(key)
        return bytes(buf[:32])
