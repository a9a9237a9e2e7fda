"""Part `device`: a week of work on both main programs in the MicroPython VM: heap, allocations, time to durable."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hw_tests.endurance import life
from hw_tests.virtual_board import wiring
from tools.bench.rows import Row, at_most
from tools.setup import bytecode

DAYS = 7
WORK = {"patrol_tag": "tap", "barrier": "passage"}
TOLD_MS = 1000


def _bytecode(role: str) -> int:
    """Bytes of all .mpy files that travel to a role's device."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder)
        life.compile_role(role, target)
        files = [file.relative_to(wiring.REPO) for file in bytecode.role_files(wiring.REPO, role)]
        return sum((target / file).with_suffix(".mpy").stat().st_size for file in files)


def _week(role: str) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        found = life.live(Path(folder), role, DAYS)
    first, last = found.days[0], found.days[-1]
    works = sum(day.works for day in found.days)
    modelled_ms, computed_ms = found.durable_ms
    what = WORK[role]

    def row(name: str, value: float, unit: str) -> Row:
        return Row("device", f"{role}, {name}", value, unit)

    def bounded(name: str, value: float, unit: str, bound: float) -> Row:
        return at_most("device", f"{role}, {name}", value, unit, bound)

    return [
        bounded("compiled, all files", _bytecode(role), "bytes", bytecode.BUDGET_BYTES),
        row(f"{what}s in {DAYS} days", works, ""),
        row("events, all at the edge", found.events, ""),
        row("heap: code and constants, loaded", found.code, "bytes"),
        row("heap: alive a minute after the start", found.started, "bytes"),
        row("heap: alive after day 1", first.live, "bytes"),
        row(f"heap: alive after day {DAYS}", last.live, "bytes"),
        bounded(f"heap: growth, day 1 to {DAYS}", abs(found.growth), "bytes", life.GROWTH_BYTES),
        row("heap: most at any time", found.peak, "bytes"),
        bounded("heap: most at any time, beside the code", found.peak - found.code, "bytes", life.HEAP_BYTES),
        row("heap: start-up, if nothing were collected", found.starting, "bytes"),
        row(f"allocated by a {what}, day 1", first.per_work, "bytes"),
        row(f"allocated by a {what}, day {DAYS}", last.per_work, "bytes"),
        bounded(f"{what} to durable, models' time", modelled_ms, "ms", TOLD_MS),
        row(f"{what} to durable, computed in this VM", computed_ms, "ms"),
    ]


def run() -> list[Row]:
    """Both roles at once; some minutes."""
    with ThreadPoolExecutor(len(WORK)) as pool:
        return [row for rows in pool.map(_week, WORK) for row in rows]
