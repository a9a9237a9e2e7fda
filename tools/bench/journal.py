"""Part `journal`: mounting and appending in the MicroPython VM, and the wear beside a littlefs file with fsync."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from gatelink import events
from hw_tests.virtual_board import micropython
from tools import device_code
from tools.bench.nor import Marks, Nor, littlefs_appends
from tools.bench.rows import Row, at_least, at_most

BLOCKS = 512
CAPACITY = 32_768
KEY = bytes(range(32))
VISIT = events.encode(events.VISIT, bytes.fromhex("04a1b2c3d4e5f6"))
LITTLEFS_EVENTS = 20_000
CYCLES = 100_000
# ESP-IDF's NVS in the stock table: 6 pages of 126 entries, one of them kept free; a page is erased when it is used up.
NVS_PAGES = 6
NVS_ENTRIES = 126
INDEX_BYTES = 4096


def _filled(count: int) -> tuple[Nor, Any, Marks]:
    """A journal of 2 MiB after so many events, all but the last acknowledged."""
    device_code.use()
    from node.journal import Journal

    nor, marks = Nor(BLOCKS), Marks()
    journal = Journal(nor, KEY, marks)
    journal.mount()
    for seq in range(1, count + 1):
        journal.append(1, seq * 6000, VISIT)
        journal.trim(seq - 1)
    return nor, journal, marks


def _in_the_vm(nor: Nor, marks: Marks, name: str) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "journal.bin"
        image.write_bytes(nor.data)
        code, output = micropython.run(
            device_code.ROOT / "firmware/tests/bench_journal.py",
            sys_path=[device_code.ROOT / "protocol", device_code.FIRMWARE, folder],
            args=[str(image), str(marks.acked), str(marks.seqmin)],
            timeout_s=300,
        )
    if code:
        raise RuntimeError(f"the MicroPython part of the bench failed:\n{output}")
    rows = []
    for what, value, unit in json.loads(output.strip().splitlines()[-1]):
        if what == "index":
            rows.append(at_most("journal", f"{name}, {what}", value, unit, INDEX_BYTES))
        else:
            rows.append(Row("journal", f"{name}, {what}", value, unit))
    return rows


def _years(per_block_and_event: float, per_day: int) -> float:
    """Until a block has its cycles."""
    return CYCLES / (per_block_and_event * per_day * 365.25)


def run() -> list[Row]:
    """Times in Node's VM on this machine; erases and bytes are the same everywhere."""
    empty, _, marks = _filled(0)
    rows = _in_the_vm(empty, marks, "empty")
    full, journal, marks = _filled(CAPACITY)
    held = sum(1 for _ in journal.scan())
    rows.append(at_least("journal", "events held when full", held, "", CAPACITY))
    rows += _in_the_vm(full, marks, f"with {held:,} events")
    laps, _, marks = _filled(2 * CAPACITY)
    events_written = 2 * CAPACITY
    erases = sum(laps.wear) / events_written
    hottest = max(laps.wear) / events_written
    rows.append(Row("journal", "erases", erases, "/event"))
    rows.append(Row("journal", "programmed", laps.programmed / events_written, "bytes/event"))
    littlefs = Nor(BLOCKS)
    littlefs_appends(littlefs, LITTLEFS_EVENTS, 64, CAPACITY // 2)
    other = sum(littlefs.wear) / LITTLEFS_EVENTS
    rows.append(Row("journal", "littlefs file with fsync, erases", other, "/event"))
    rows.append(
        Row(
            "journal",
            "littlefs file with fsync, programmed",
            littlefs.programmed / LITTLEFS_EVENTS,
            "bytes/event",
        )
    )
    rows.append(
        at_least("journal", "littlefs file with fsync, erases beside the journal's", other / erases, "x", 60)
    )
    nvs = marks.commits * 2 / NVS_ENTRIES / (NVS_PAGES - 1) / events_written
    for per_day in (1_000, 10_000):
        rows += [
            Row("journal", f"{per_day:,} events a day, journal's blocks", _years(hottest, per_day), "years"),
            Row("journal", f"{per_day:,} events a day, its marks in NVS", _years(nvs, per_day), "years"),
            Row(
                "journal",
                f"{per_day:,} events a day, littlefs if it wears evenly",
                _years(other / BLOCKS, per_day),
                "years",
            ),
        ]
    return rows
