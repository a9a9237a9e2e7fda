"""Layer: whether the kernel calls its clock synchronised (Linux: adjtimex; where that is refused, timesyncd's file)."""

from __future__ import annotations

import ctypes
import errno
import sys
import time
from pathlib import Path

_UNSYNC = 0x40  # STA_UNSYNC
_ERROR = 5  # TIME_ERROR
# systemd-timesyncd touches it at every synchronisation (at most 34 min apart); it is gone after a boot.
TIMESYNCD = Path("/run/systemd/timesync/synchronized")
TIMESYNCD_MAX_AGE_S = 3 * 3600


class _Timex(ctypes.Structure):
    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def synchronised() -> bool:
    """False when it isn't, or when this system doesn't say."""
    if not sys.platform.startswith("linux"):
        return False
    state = _Timex()
    result = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(state))
    if result < 0 and ctypes.get_errno() == errno.EPERM:  # ProtectClock= of the service
        return by_timesyncd(TIMESYNCD, time.time())
    return 0 <= result < _ERROR and not state.status & _UNSYNC


def by_timesyncd(file: Path, now_s: float) -> bool:
    """Whether timesyncd synchronised lately; now_s in seconds since 1970."""
    try:
        touched_s = file.stat().st_mtime
    except OSError:
        return False
    return abs(now_s - touched_s) < TIMESYNCD_MAX_AGE_S
