"""Part `codec`: time to encode + encrypt and to decrypt + decode an event, on CPython and on MicroPython."""

from __future__ import annotations

import json
import time
from pathlib import Path

from gatelink import cose, framing, messages
from hw_tests.virtual_board import micropython
from tools.bench import frames, sample
from tools.bench.rows import Row

BATCH = 20
ROUNDS = 400
_TOP = Path(__file__).parents[2]


def best_us(work: list[float], events: int) -> float:
    """The best of several rounds, in µs per event: what the machine can do when nothing disturbs it."""
    return min(work) / events * 1e6


def _measure(size: int) -> tuple[float, float]:
    keys = cose.derive(frames.LINK_KEY, 0x11, 0)
    batch = sample.patrol(size)
    line = frames.on_serial(batch, keys, 1)
    sealing, opening = [], []
    for _ in range(5):
        start = time.perf_counter()
        for counter in range(ROUNDS):
            frames.on_serial(batch, keys, counter)
        middle = time.perf_counter()
        for _ in range(ROUNDS):
            (frame,) = framing.Decoder().feed(line)
            messages.decode(cose.UP, cose.open_(keys, cose.UP, frame)[1])
        sealing.append((middle - start) / ROUNDS)
        opening.append((time.perf_counter() - middle) / ROUNDS)
    return best_us(sealing, size), best_us(opening, size)


def run() -> list[Row]:
    """µs per event for single-event frames and for batches of 20."""
    rows: list[Row] = []
    for size in (1, BATCH):
        sealing, opening = _measure(size)
        rows.append(Row("codec", f"CPython, MAC + encode + encrypt, {size} a frame", sealing, "µs/event"))
        rows.append(Row("codec", f"CPython, decrypt + decode, {size} a frame", opening, "µs/event"))
    code, output = micropython.run(
        _TOP / "firmware/tests/bench_codec.py", sys_path=[_TOP / "protocol"], timeout_s=300
    )
    if code:
        raise RuntimeError(f"the MicroPython part of the bench failed:\n{output}")
    for name, value, unit in json.loads(output.strip().splitlines()[-1]):
        rows.append(Row("codec", f"MicroPython in Node, {name}", value, unit))
    return rows
