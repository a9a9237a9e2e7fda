"""Layer: the one place where host code reaches the device's own code, so that both read a flash image alike."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tools.errors import ToolError

ROOT = Path(__file__).resolve().parents[1]
FIRMWARE = ROOT / "firmware"


class JournalEvent(NamedTuple):
    """One event as it lies in a device's flash; uptime in units of 10 ms since that boot."""

    seq: int
    boot: int
    uptime_cs: int
    payload: bytes
    mac8: bytes


def use() -> None:
    """Makes the device's packages (node, drivers, ...) and the virtual board importable from a checkout."""
    for folder in (FIRMWARE, ROOT):
        if str(folder) not in sys.path:
            sys.path.append(str(folder))


def with_virtual_board() -> None:
    """As use(), for what plays a virtual board. Raises ToolError where there is none: in the Debian package."""
    if not (ROOT / "hw_tests").is_dir():
        raise ToolError("there is no virtual board in the package: run this from a checkout of the sources")
    use()


def journal_events(image: bytes) -> Iterator[JournalEvent]:
    """All events in the image of a journal partition, oldest first."""
    use()
    from node.image import open_image

    for slot in open_image(image).scan():
        yield JournalEvent(slot.seq, slot.boot, slot.uptime_cs, bytes(slot.payload), bytes(slot.mac8))
