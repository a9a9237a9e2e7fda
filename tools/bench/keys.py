"""Part `keys`: hostile frames against a device and an edge, power cuts around the counters, rotations with faults."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import io
import logging
import secrets
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

from tools import device_code
from tools.bench.rows import Row, at_least, at_most

FRAMES = 100_000


def run() -> list[Row]:
    """The suites fail on the first effect: a figure that is printed was free of them."""
    device_code.use()  # the suites are no part of an installed package
    forgery, piv_cuts, rekey, forged = (
        importlib.import_module(name)
        for name in (
            "firmware.tests.test_forgery",
            "firmware.tests.test_piv_cuts",
            "firmware.tests.test_rekey",
            "edge_agent.tests.test_forged",
        )
    )
    rows = []
    for side in ("a device", "an edge"):
        start = time.perf_counter()
        if side == "a device":
            found = forgery.run_storm(FRAMES, 1, pending=False)
        else:
            found = asyncio.run(_edge_storm(forged, rekey.NEW_KEY))
        took_s = time.perf_counter() - start
        sent = sum(sum(reasons.values()) for reasons in found.values())
        rows += [
            at_least("keys", f"hostile frames to {side}", sent, "frames", FRAMES),
            at_most("keys", f"to {side}, with an effect", 0, "frames", 0),
            Row("keys", f"to {side}, made and refused", sent / took_s, "frames/s"),
        ]
    rows += [
        Row("keys", "commands held back past the deadline", forgery.late_commands(3_000, 2), "commands"),
        at_most("keys", "of them acted on", 0, "commands", 0),
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # a node tells of its full journal there
        lives = [piv_cuts.lives(at_once) for at_once in (False, True)]
    rows += [
        at_least("keys", "power cuts around the boot counter", sum(one.cuts for one in lives), "cuts", 2_000),
        Row("keys", "deep sleeps and restarts", sum(one.sleeps for one in lives), "wakes"),
        Row("keys", "partial IVs used", sum(len(one.used) for one in lives), "frames"),
        at_most("keys", "of them twice", 0, "frames", 0),
    ]
    rotations = _rotations(rekey)
    rows += [
        Row("keys", "rotations with a power cut and a lost message", rotations, "rotations"),
        at_most("keys", "of them without one common key at the end", 0, "rotations", 0),
    ]
    return rows


async def _edge_storm(forged: Any, next_key: bytes) -> Any:
    logging.disable(logging.WARNING)
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            mock.patch.object(secrets, "token_bytes", return_value=next_key),
        ):
            return forged.run_storm(Path(folder), FRAMES, pending=False)
    finally:
        logging.disable(logging.NOTSET)


def _rotations(rekey: Any) -> int:
    count = 0
    for at_once in (False, True):
        for op in range(1, 9):
            for after in (False, True):
                for lost in range(1, 11):
                    rekey.rotate(at_once=at_once, cut=(op, after), lose=(lost,))
                    count += 1
    return count
