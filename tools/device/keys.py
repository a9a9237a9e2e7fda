"""Layer: a device's keys, written into its NVS over the console and read back as fingerprints; keys never come back."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tools.errors import ToolError

if TYPE_CHECKING:
    from tools.device.console import Console
    from tools.provision import DeviceKeys

# Namespace, names and kinds as firmware/node/keystore.py reads them.
_READ = """
import esp32, hashlib
def _gp_keys():
    nvs = esp32.NVS('gatepost')
    def number(key):
        try: return nvs.get_i32(key) & 0xffffffff
        except OSError: return None
    def shown(key):
        buf = bytearray(64)
        try: size = nvs.get_blob(key, buf)
        except OSError: return None
        key = bytes(buf[:size])
        if size > 34: key = key[2:34]
        pad = lambda x: bytes([(key[i] if i < len(key) else 0) ^ x for i in range(64)])
        inner = hashlib.sha256(pad(0x36) + b'gatepost fingerprint').digest()
        text = ''.join(['%02x' % b for b in hashlib.sha256(pad(0x5c) + inner).digest()[:4]])
        return text[:4] + '-' + text[4:]
    return [number('dev'), shown('link'), shown('event'), number('epoch'), number('boot'), shown('cur')]
"""

# "dev" goes first and comes back last: power that fails between leaves a device that is silent, not one with half a
# key. A boot counter that is there stays, so that no (boot, seq) is ever used for two events. For the same reason a new
# board's begins elsewhere with each epoch: it may take the place of one that is broken, and counts its events from 1.
_WRITE = """
def _gp_provision(dev, link, event, epoch):
    nvs = esp32.NVS('gatepost')
    for key in ('dev', 'cur', 'next'):
        try: nvs.erase_key(key)
        except OSError: pass
    nvs.commit()
    nvs.set_blob('link', link)
    nvs.set_blob('event', event)
    nvs.set_i32('epoch', epoch)
    try: nvs.get_i32('boot')
    except OSError: nvs.set_i32('boot', epoch % 16 << 12)
    nvs.commit()
    nvs.set_i32('dev', dev)
    nvs.commit()
"""


class Held(NamedTuple):
    """What a device says about its keys; None where it has nothing."""

    device: int | None
    link: str | None  # fingerprint of the provisioned key
    event: str | None
    epoch: int | None
    boot: int | None
    rotated: str | None  # fingerprint of the key that a rotation put in its place

    @property
    def any(self) -> bool:
        """Whether there is anything to lose."""
        return any(value is not None for value in (self.device, self.link, self.event, self.rotated))


def read(console: Console) -> Held:
    """Asks the device. Raises ToolError."""
    console.run(_READ)
    return Held(*console.value("_gp_keys()"))


def refuse_overwrite(console: Console, *, rekey: bool) -> None:
    """Raises ToolError when the device has keys already and `rekey` is not set."""
    held = read(console)
    if held.any and not rekey:
        shown = held.rotated or held.link or "damaged"
        raise ToolError(
            f"{console.port}: this device has keys already (device {held.device}, fingerprint {shown}); "
            "--rekey replaces them by new ones"
        )


def write(console: Console, keys: DeviceKeys) -> None:
    """Writes all keys and compares what the device holds then. Raises ToolError."""
    from gatelink import cose

    console.run(_READ + _WRITE)
    signed = keys.device - (1 << 32) if keys.device & 0x80000000 else keys.device
    console.run(f"_gp_provision({signed}, {keys.link_key!r}, {keys.event_key!r}, {keys.epoch})")
    held = read(console)
    right = (keys.device, keys.fingerprint, cose.fingerprint(keys.event_key), keys.epoch)
    if held[:4] != right or held.boot is None or held.rotated is not None:
        raise ToolError(
            f"{console.port}: the device holds other keys than were written; it must not go into service"
        )
