"""Layer: the disk that the store stands on: how much is free, and a ballast file that is let go when it is full."""

from __future__ import annotations

import os
from pathlib import Path

BALLAST = "ballast"


class Disk:
    """The file system of data_dir."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / BALLAST

    def free(self) -> int:
        """Bytes that this process may still use."""
        found = os.statvfs(self._folder)
        return found.f_bavail * found.f_frsize

    def ballast(self) -> int:
        """Size of the ballast file, 0 if there is none."""
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def make_ballast(self, size: int) -> bool:
        """Makes it anew, really taking the room. False, and none is there, when there isn't enough."""
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        made = False
        try:
            if size:
                os.posix_fallocate(handle, 0, size)
            os.fsync(handle)
            made = True
        except OSError:
            return False
        finally:
            os.close(handle)
            if not made:
                self.release()
        return True

    def release(self) -> None:
        """Gives its room back."""
        self._path.unlink(missing_ok=True)
