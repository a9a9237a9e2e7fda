"""Waits for the strace that follows a system, which is no child of this process."""

from __future__ import annotations

import time
from pathlib import Path

from tools.bench.powercut.trace import TraceError


def finished(out: Path, within_s: float) -> None:
    """Returns when strace has ended, whose last line tells of the last program's end. Raises TraceError."""
    deadline_s = time.monotonic() + within_s
    while True:
        holders = [link for link in Path("/proc").glob("[0-9]*/fd/*") if _target(link) == str(out.resolve())]
        if not holders:
            return
        if time.monotonic() > deadline_s:
            raise TraceError("strace did not end")
        time.sleep(0.02)  # asks again, until the deadline above


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # gone meanwhile
        return ""
