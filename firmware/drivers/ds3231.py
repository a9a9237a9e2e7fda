# DS3231: what time it is without anybody to ask. Trusts only what this driver has set itself.
# Registers 00..06 hold the time (BCD, 24 h), 07..0D two alarms, 0E control, 0F status with the oscillator-stop
# flag. The alarms are never switched on: their seven bytes, kept by the chip's battery together with the time,
# say when it was set (u32, Unix s), how far into a second (units of 4 ms), how well (16 ms), and a CRC-8.
try:
    from typing import Any, Callable
except ImportError:
    pass

ADDRESS = 0x68
_SIZE = 16
_SCRATCH = 7
_CRC = 13
_CONTROL = 14
_STATUS = 15
_STOPPED = 0x80  # of status: the oscillator had stopped
_ENODEV = 19
# alarms off, interrupt pin, oscillator on also without supply; status: flag cleared, 32 kHz output off
_RUN = b"\x04\x00"
# of temperature and ageing: 2 ppm from 0 to 40 degrees, 3.5 ppm beyond
_DRIFT_PPM = 4
_ERROR_MAX_MS = 255 * 16
_CUMULATED = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)


class Ds3231:
    # i2c: a machine.I2C with a time-out; uptime_ms: the device's clock.
    def __init__(self, i2c: "Any", uptime_ms: "Callable[[], int]") -> None:
        self._i2c = i2c
        self._uptime_ms = uptime_ms
        # why the last call failed, "" if it didn't; "absent": nothing answers at the address
        self.fault = ""

    # -> (uptime_ms, wall_ms, error_ms): at that uptime it was wall_ms (Unix), give or take error_ms. None: see
    # fault.
    def read(self) -> "tuple[int, int, int] | None":
        began_ms = self._uptime_ms()
        try:
            data = self._i2c.readfrom_mem(ADDRESS, 0, _SIZE)
        except OSError as problem:
            self._failed(problem)
            return None
        now_ms = self._uptime_ms()
        if data[_STATUS] & _STOPPED:
            self.fault = "stopped"
            return None
        note = bytes(data[_SCRATCH:_CONTROL])
        seconds = unix_seconds(data)
        set_s = int.from_bytes(note[:4], "big")
        if _crc8(note[:6]) != note[6] or seconds is None or seconds < set_s:
            self.fault = "not set"
            return None
        self.fault = ""
        # within this second, within the 4 ms of its note, while the bus was busy
        error_ms = note[5] * 16 + 504 + (now_ms - began_ms) + -(-(seconds - set_s) * _DRIFT_PPM // 1000)
        return began_ms, seconds * 1000 + note[4] * 4 + 502, error_ms

    # At uptime anchor_ms it was wall_ms, give or take error_ms. True when the chip has taken it.
    def set(self, anchor_ms: int, wall_ms: int, error_ms: int) -> bool:
        try:
            # one byte spoils the note: from here on until the end it is not trusted, whatever happens
            self._spoil(self._i2c.readfrom_mem(ADDRESS, _SCRATCH, 6))
            self._i2c.writeto_mem(ADDRESS, _CONTROL, _RUN)
            began_ms = self._uptime_ms()
            now_ms = wall_ms + began_ms - anchor_ms
            seconds = now_ms // 1000
            fields = _fields(seconds)
            # writing the seconds begins a new one
            self._i2c.writeto_mem(ADDRESS, 0, fields)
            error_ms += self._uptime_ms() - began_ms + 1
            if error_ms > _ERROR_MAX_MS:
                self.fault = "not set"
                return False
            note = seconds.to_bytes(4, "big") + bytes((now_ms % 1000 // 4, (error_ms + 15) // 16))
            back = self._i2c.readfrom_mem(ADDRESS, 0, _SIZE)
            if back[_STATUS] & _STOPPED or unix_seconds(back) not in (seconds, seconds + 1):
                self.fault = "garbage"
                return False
            self._spoil(note)
            self._i2c.writeto_mem(ADDRESS, _SCRATCH, note)
            self._i2c.writeto_mem(ADDRESS, _CRC, bytes((_crc8(note),)))
        except OSError as problem:
            self._failed(problem)
            return False
        self.fault = ""
        return True

    # A CRC that is wrong for this note.
    def _spoil(self, note: bytes) -> None:
        self._i2c.writeto_mem(ADDRESS, _CRC, bytes((_crc8(note) ^ 0xFF,)))

    def _failed(self, problem: OSError) -> None:
        self.fault = "absent" if problem.args[0] == _ENODEV else "no answer"


# The seven time registers -> Unix seconds; None for anything that is no time of 2000 to 2099 in 24 h form.
def unix_seconds(data: "bytes | bytearray") -> "int | None":
    found = []
    for index, low, high in ((0, 0, 59), (1, 0, 59), (2, 0, 23), (4, 1, 31), (5, 1, 12), (6, 0, 99)):
        byte = data[index]
        number = (byte >> 4) * 10 + (byte & 15)
        if byte & 15 > 9 or byte >> 4 > 9 or not low <= number <= high:
            return None
        found.append(number)
    second, minute, hour, day, month, year = found
    leap = year % 4 == 0
    length = 31 - (month in (4, 6, 9, 11)) - (3 - leap if month == 2 else 0)
    if day > length:
        return None
    # 2000-01-01 was day 10,957
    days = 10_957 + year * 365 + (year + 3) // 4 + _CUMULATED[month - 1] + (leap and month > 2) + day - 1
    return ((days * 24 + hour) * 60 + minute) * 60 + second


# Unix seconds of 2000 to 2099 -> the seven time registers.
def _fields(seconds: int) -> bytes:
    days, rest = divmod(seconds, 86_400)
    day = days - 10_957
    year = 0
    while day >= 366 - (year % 4 > 0):
        day -= 366 - (year % 4 > 0)
        year += 1
    leap = year % 4 == 0
    month = 12
    while day < _CUMULATED[month - 1] + (leap and month > 2):
        month -= 1
    day -= _CUMULATED[month - 1] + (leap and month > 2)
    numbers = (rest % 60, rest // 60 % 60, rest // 3600, (days + 3) % 7 + 1, day + 1, month, year)
    return bytes([number // 10 << 4 | number % 10 for number in numbers])


def _crc8(data: bytes) -> int:
    crc = 0xFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x31) & 0xFF if crc & 0x80 else crc << 1
    return crc
