"""Layer: an SQLite VFS that writes down every write, truncation, sync and deletion, and what was promised in between.

It runs inside the agent or the office, which are killed at any moment: each record is one write() to a file that other
processes read later. A sync can be told to fail, as that of a dying card does.
"""

from __future__ import annotations

import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import apsw
import cbor2

BASE = "unix"
WRITE, TRUNCATE, SYNC, FAILED, DELETE = "write", "truncate", "sync", "failed", "delete"
FOUND, PROMISE = "found", "promise"


class Recorder(apsw.VFS):
    """While this lives, every connection of this process is on it. fail: how many of 1,000 syncs fail."""

    def __init__(self, log: Path, fail: int, seed: int) -> None:
        super().__init__("recorder", BASE, makedefault=True)
        self._out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._rng = random.Random(seed)
        self._fail = fail
        self._seen: set[str] = set()

    def note(self, *record: object) -> None:
        """One record at the end of the log."""
        os.write(self._out, cbor2.dumps(record))

    def sync_fails(self) -> bool:
        """Whether the disk fails now."""
        return self._rng.randrange(1_000) < self._fail

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's name
        """A file that is watched; temporary ones are not."""
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path is None:
            return apsw.VFSFile(BASE, name, flags)
        file = Recorded(self, path, name, flags)
        if path not in self._seen:
            self._seen.add(path)
            self.note(FOUND, Path(path).name, Path(path).read_bytes())
        return file

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - SQLite's name
        """Deletes."""
        super().xDelete(filename, syncdir)
        self.note(DELETE, Path(filename).name)


class Recorded(apsw.VFSFile):
    """One file. What is done is written down before it is done."""

    def __init__(self, recorder: Recorder, path: str, name: Any, flags: list[int]) -> None:
        super().__init__(BASE, name, flags)
        self._recorder = recorder
        self._name = Path(path).name

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        """Writes."""
        self._recorder.note(WRITE, self._name, offset, bytes(data))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - SQLite's name
        """Truncates."""
        self._recorder.note(TRUNCATE, self._name, newsize)
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        """Syncs, or fails as a disk does: once, and what it dropped is dropped."""
        if self._recorder.sync_fails():
            self._recorder.note(FAILED, self._name)
            error = apsw.IOError("a sync that was made to fail")
            error.extendedresult = apsw.SQLITE_IOERR_FSYNC  # type: ignore[attr-defined] # apsw's stubs lack it
            raise error
        super().xSync(flags)
        self._recorder.note(SYNC, self._name)  # behind it: a promise can't rest on a sync that is still under way


def install(log: str, fail: int, seed: int) -> Recorder:
    """From now on this process is recorded, with what it promises: acks to devices, receipts to an edge."""
    recorder = Recorder(Path(log), fail, seed)

    from edge_agent.link import Session

    send = Session._send

    def told(self: Session, *arguments: Any, **more: Any) -> bool:
        recorder.note(PROMISE, self.device, self.acked_seq)
        return send(self, *arguments, **more)

    Session._send = told  # type: ignore[method-assign]

    from tools.office.service import Office

    take: Callable[..., Awaitable[dict[str, Any]]] = Office.take

    async def taken(self: Office, *arguments: Any, **more: Any) -> dict[str, Any]:
        receipt = await take(self, *arguments, **more)
        for device, account in receipt["devices"].items():
            recorder.note(PROMISE, int(device), account["complete_to"])
        return receipt

    Office.take = taken  # type: ignore[method-assign]
    return recorder
