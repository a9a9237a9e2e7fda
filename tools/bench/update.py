"""Part `update`: what an update costs a device on real MicroPython, and what it costs whoever taps meanwhile."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from statistics import median

from tools import device_code
from tools.bench.rows import Row, at_most

ROOT = Path(__file__).resolve().parents[2]
PATHS = (ROOT, ROOT / "protocol", ROOT / "firmware")
SCRIPTS = ("protocol/tests/bench_manifest.py", "firmware/tests/bench_update.py")
PART = "update"
# The interpreter in Node runs bytecode some 20 to 50 times as fast as an ESP32: 1 ms here is 50 ms there at most.
LONGEST_MS = 1.0
TAPS = 8


def run() -> list[Row]:
    """Every figure of the two scripts, then the taps. Raises RuntimeError when a script fails."""
    device_code.use()
    rows = [row for script in SCRIPTS for row in _script(script)]
    return rows + asyncio.run(_taps())


def _script(script: str) -> list[Row]:
    from hw_tests.virtual_board import micropython

    code, output = micropython.run(ROOT / script, sys_path=PATHS, timeout_s=180)
    if code:
        raise RuntimeError(f"{script}: {output[-2000:]}")
    found = json.loads(output.strip().splitlines()[-1])
    return [
        at_most(PART, name, value, unit, LONGEST_MS) if "longest" in name else Row(PART, name, value, unit)
        for name, value, unit in found
    ]


async def _taps() -> list[Row]:
    from hw_tests.tests.estate import Releases
    from hw_tests.tests.taps import measure

    with tempfile.TemporaryDirectory() as made, tempfile.TemporaryDirectory() as folder:
        found = await measure(Path(folder), Releases(Path(made), "patrol_tag"), TAPS)
    lost = len(found.visits) - len(found.stored)
    bound = max(found.without) + 20
    return [
        Row(PART, "tap to beep, median, no update", median(found.without), "virtual ms"),
        Row(PART, "tap to beep, median, update coming in", median(found.during), "virtual ms"),
        at_most(PART, "tap to beep, longest, update coming in", max(found.during), "virtual ms", bound),
        at_most(PART, "taps lost while an update comes in", lost, "taps", 0),
    ]  # fmt: skip
