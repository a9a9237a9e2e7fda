# Layer: first code in a fresh VM. Puts the shims where the program looks for them and hides what a stock ESP32
# build of 1.29 does not have.
import sys

sys.path.insert(0, "/.board")

import asyncio
import collections
import errno
import json
import os
import time

import _vb
import _wait

_wait.install(time)


def _urandom(length):
    _vb.random(length)
    return bytes(_wait.scratch[:length])


os.urandom = _urandom
# The system time runs on through resets and deep sleep; without anybody who sets it, it starts in 2000.
time.time = lambda: int(_vb.system_ms()) // 1000
time.time_ns = lambda: int(_vb.system_ms()) * 1000000
os.sync = lambda: None  # every write is in the host's file when it returns

import _gc

sys.modules["gc"] = _gc

import _aio

_aio.install(asyncio)
# Frozen packages of this build load piece by piece: have them whole before the frozen folder goes.
for _name in ("Event", "Lock", "Future", "gather", "wait_for", "wait_for_ms"):
    getattr(asyncio, _name, None)
for _name in (
    "hashlib",
    "binascii",
    "struct",
    "random",
    "io",
    "re",
    "select",
    "heapq",
    "deflate",
    "datetime",
):
    try:
        __import__(_name)
    except ImportError:
        pass
# hmac, logging, typing, abc, dataclasses... are frozen here but absent on the device.
sys.path.remove(".frozen")
for _name in ("machine", "esp32", "cryptolib"):
    __import__(_name)
