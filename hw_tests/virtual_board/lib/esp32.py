# Layer: `esp32` over the modelled flash: partitions and NVS.
import json

import _vb
from _wait import SIZE, scratch

ENOENT_NVS = -0x1102  # ESP_ERR_NVS_NOT_FOUND
WAKEUP_ALL_LOW = False
WAKEUP_ANY_HIGH = True

_read = _vb.flash_read
_program = _vb.flash_program
_table = json.loads(_vb.partitions())


class Partition:
    TYPE_APP = 0
    TYPE_DATA = 1
    BOOT = 0
    RUNNING = 1

    def __init__(self, id, block_size=4096):
        for entry in _table:
            if entry["label"] == id:
                break
        else:
            raise OSError(2)
        self._entry = entry
        self._offset = entry["offset"]
        self._size = entry["size"]
        self._block = block_size

    @staticmethod
    def find(type=TYPE_APP, subtype=0xFF, label=None, block_size=4096):
        return [
            Partition(entry["label"], block_size)
            for entry in _table
            if entry["type"] == type
            and subtype in (0xFF, entry["subtype"])
            and label in (None, entry["label"])
        ]

    def info(self):
        entry = self._entry
        return (entry["type"], entry["subtype"], self._offset, self._size, entry["label"], False)

    def _address(self, block, offset, length):
        start = block * self._block + offset
        if start < 0 or start + length > self._size:
            raise OSError(-0x104)  # ESP_ERR_INVALID_SIZE
        return self._offset + start

    def readblocks(self, block, buffer, offset=0):
        address = self._address(block, offset, len(buffer))
        view = memoryview(buffer)
        for start in range(0, len(view), SIZE):
            size = min(SIZE, len(view) - start)
            _read(address + start, size)
            view[start : start + size] = scratch[:size]

    # Without an offset whole blocks are erased first, as esp32.Partition does.
    def writeblocks(self, block, buffer, offset=None):
        address = self._address(block, offset or 0, len(buffer))
        if offset is None:
            for start in range(0, len(buffer), 4096):
                _vb.flash_erase(address + start)
        view = memoryview(buffer)
        for start in range(0, len(view), SIZE):
            size = min(SIZE, len(view) - start)
            scratch[:size] = view[start : start + size]
            _program(address + start, size)

    def ioctl(self, op, arg):
        if op in (1, 2, 3):
            return 0
        if op == 4:
            return self._size // self._block
        if op == 5:
            return self._block
        if op == 6:
            address = self._address(arg, 0, self._block)
            for start in range(0, self._block, 4096):
                _vb.flash_erase(address + start)
            return 0
        return None

    def mark_app_valid_cancel_rollback(*_):
        pass


class NVS:
    def __init__(self, namespace):
        self._space = _name(namespace)

    def set_i32(self, key, value):
        if not -0x80000000 <= value <= 0x7FFFFFFF:
            raise OverflowError("overflow converting long int to machine word")
        _vb.nvs_set_i32(self._space, _name(key), value)

    def get_i32(self, key):
        if not _vb.nvs_has(self._space, _name(key), "i32"):
            raise OSError(ENOENT_NVS)
        return int(_vb.nvs_get_i32(self._space, key))

    def set_blob(self, key, value):
        length = len(value)
        scratch[:length] = value
        _vb.nvs_set_blob(self._space, _name(key), length)

    def get_blob(self, key, buffer):
        if not _vb.nvs_has(self._space, _name(key), "blob"):
            raise OSError(ENOENT_NVS)
        length = _vb.nvs_get_blob(self._space, key)
        if length > len(buffer):
            raise OSError(-0x110C)  # ESP_ERR_NVS_INVALID_LENGTH
        memoryview(buffer)[:length] = scratch[:length]
        return length

    def erase_key(self, key):
        if not _vb.nvs_erase(self._space, _name(key)):
            raise OSError(ENOENT_NVS)

    def commit(self):
        if not _vb.nvs_commit():
            raise OSError(-0x1105)  # ESP_ERR_NVS_NOT_ENOUGH_SPACE


def _name(text):
    if not 0 < len(text) <= 15:
        raise ValueError("NVS names have 1 to 15 characters")
    return text


def _wake(source, pins, level):
    length = len(pins)
    scratch[:length] = bytes([pin.id for pin in pins])
    if not _vb.wake_pins(source, length, 1 if level else 0):
        raise ValueError("invalid pin")


if _vb.chip() != "esp32c3":

    def wake_on_ext0(pin=None, level=0):
        _wake("ext0", () if pin is None else (pin,), level)

    def wake_on_ext1(pins=None, level=0):
        if pins is not None:
            _wake("ext1", pins, level)


# From deep sleep only on chips without ext0 and ext1; from light sleep on all.
def wake_on_gpio(pins=None, level=0):
    if pins is not None:
        _wake("gpio", pins, level)


def wake_on_touch(wake):
    raise NotImplementedError("no touch sensor on the virtual board")


def gpio_deep_sleep_hold(_enable):
    pass
