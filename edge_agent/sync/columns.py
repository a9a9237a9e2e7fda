"""Layer: rows of the log <-> the columns of an upload: numbers as differences, so that they compress well; pure.

What the device signed (items, mac_before, mac8) stays as it is. The office imports this file, so both sides agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge_agent.store.events import Row
from edge_agent.timing import UNKNOWN_MS

NUMBERS = (
    "pos", "device", "boot", "first_seq", "count", "uptime_cs", "t_lo_ms", "width_ms", "received_ms", "skipped",
)  # fmt: skip
BYTES = ("mac_before", "items", "mac8")
NAMES = NUMBERS + BYTES
_NEW = (0, 0, 0, 0, 0)  # boot, last_seq, uptime_cs, offset, width: of a device that no row spoke of yet


def pack(rows: Sequence[Row]) -> list[list[Any]]:
    """The columns in the order of NAMES, each as long as `rows`."""
    columns: list[list[Any]] = [[] for _ in NAMES]
    known: dict[int, tuple[int, int, int, int, int]] = {}
    pos_before = received_before = 0
    for row in rows:
        pos, device, boot, first, last, uptime, low, high, received, _, skipped, mac_before, items, mac8 = row
        old_boot, old_last, old_uptime, old_offset, old_width = known.get(device, _NEW)
        offset, width = low - uptime * 10, high - low
        values = (
            pos - pos_before - 1, device, boot - old_boot, first - old_last - 1, last - first + 1, uptime - old_uptime,
            offset - old_offset, width - old_width,
            received - (high if high != UNKNOWN_MS else received_before), skipped, mac_before, items, mac8,
        )  # fmt: skip
        for column, value in zip(columns, values, strict=True):
            column.append(value)
        known[device] = (boot, last, uptime, offset, width)
        pos_before, received_before = pos, received
    return columns


def unpack(columns: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Rows as in an upload of version 1. The caller has checked lengths, and that NUMBERS are whole numbers."""
    rows: list[list[Any]] = []
    known: dict[int, tuple[int, int, int, int, int]] = {}
    pos = received = 0
    for (
        step,
        device,
        boot,
        first,
        count,
        uptime,
        offset,
        width,
        since,
        skipped,
        mac_before,
        items,
        mac8,
    ) in zip(*columns, strict=True):
        old_boot, old_last, old_uptime, old_offset, old_width = known.get(device, _NEW)
        pos += step + 1
        boot, first, uptime = boot + old_boot, first + old_last + 1, uptime + old_uptime
        offset, width = offset + old_offset, width + old_width
        last, low = first + count - 1, offset + uptime * 10
        high = low + width
        received = since + (high if high != UNKNOWN_MS else received)
        rows.append(
            [pos, device, boot, first, last, uptime, low, high, received, skipped, mac_before, items, mac8]
        )
        known[device] = (boot, last, uptime, offset, width)
    return rows
