"""A disk whose every fsync takes `SYNC_S` longer, by an SQLite VFS that sleeps in xSync: what an SD card does."""

from __future__ import annotations

import time

import apsw

SYNC_S = 0.010
BASE = "unix"  # the VFS that does the work; Linux and macOS have it


class SlowFile(apsw.VFSFile):
    """Everything as the system's own file does it, but for the time that a sync takes."""

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        """Sleeps, then syncs."""
        time.sleep(SYNC_S)  # the slowness itself is what is modelled
        super().xSync(flags)


class SlowDisk(apsw.VFS):
    """While this object lives, connections of this process that name no VFS are on the slow disk."""

    def __init__(self) -> None:
        super().__init__("slow disk", BASE, makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> SlowFile:  # noqa: N802 - SQLite's name
        """A slow file."""
        return SlowFile(BASE, name, flags)
