"""Layer: whether the kernel calls its clock synchronised (Linux: adjtimex)."""

from __future__ import annotations

import ctypes
import sys

_UNSYNC = 0x40  # STA_UNSYNC
_ERROR = 5  # TIME_ERROR


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
    result = ctypes.CDLL(None).adjtimex(ctypes.byref(state))
    return 0 <= result < _ERROR and not state.status & _UNSYNC
