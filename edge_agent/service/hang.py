"""Layer: what a hang or a crash of the interpreter leaves behind: where every thread stood, told by the next start.

systemd's watchdog ends a hanging process by SIGABRT; Python then writes the stacks into this file, not into the log.
"""

from __future__ import annotations

import faulthandler
import os
from pathlib import Path
from typing import IO

FILE_NAME = "hang.txt"
MAX_TEXT = 4_000
_open: list[IO[bytes]] = []  # faulthandler needs the file open as long as the process lives


def arm(folder: Path) -> list[str]:
    """From now on fatal signals write into the folder; returns the lines that the last run left there.

    Call it only as the owner of the folder. On a disk that takes no file the stacks go to stderr.
    """
    try:
        descriptor = os.open(folder / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        file = os.fdopen(descriptor, "rb+", buffering=0)
        left = file.read(MAX_TEXT).decode(errors="replace")
        file.truncate(0)
    except OSError:
        faulthandler.enable(all_threads=True)
        return []
    faulthandler.enable(file, all_threads=True)
    _open[:] = [file]
    return left.splitlines()
