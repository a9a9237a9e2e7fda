"""Layer: a disk in memory, as an SQLite VFS: knows what was synced and what only written; fails when told to."""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from multiprocessing.util import Finalize
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NoReturn

import apsw

SECTOR = 512
CHECKPOINT = 30  # commits; the product's 4,000 pages of WAL would never be reached here
FULL, EIO, UNSURE = "full", "eio", "unsure"
_numbers = itertools.count(1)


class CrashedError(Exception):
    """The machine ended here, in the middle of a write."""


class _File:
    """What is open of one file."""

    def __init__(self, mount: _Mount, content: Content) -> None:
        self._mount = mount
        self._content = content

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 - SQLite's names
        disk = self._mount.disk
        if disk is not None and disk.failing == EIO and disk.rng.random() < disk.failing_share / 4:
            disk.count("read error")
            raise apsw.IOError("input/output error")
        return bytes(self._content.data[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        content = self._content
        if self._mount.disk is not None:
            self._mount.disk.step(content, len(data), offset)
        content.write(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        disk = self._mount.disk
        if disk is not None:
            disk.step(self._content, 0, 0, sync=True)
            self._content.synced()
            disk.after_sync()

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._content.truncate(size)

    def xFileSize(self) -> int:  # noqa: N802
        return len(self._content.data)

    def xClose(self) -> None:  # noqa: N802
        """Nothing is held."""

    def xLock(self, level: int) -> None:  # noqa: N802
        """One process owns the folder."""

    def xUnlock(self, level: int) -> None:  # noqa: N802
        """One process owns the folder."""

    def xCheckReservedLock(self) -> bool:  # noqa: N802
        return False

    def xFileControl(self, op: int, pointer: int) -> bool:  # noqa: N802
        return False

    def xSectorSize(self) -> int:  # noqa: N802
        return SECTOR

    def xDeviceCharacteristics(self) -> int:  # noqa: N802
        return apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE


class Content:
    """A file: what whoever reads it sees, what is on the disk for good, and what was written since the last sync.

    As Linux does it, a sync that fails forgets what it should have written: that stays visible, and is on no disk.
    """

    __slots__ = ("data", "durable", "pending")

    def __init__(self, data: bytes | bytearray = b"") -> None:
        self.data = bytearray(data)
        self.durable = bytearray(data)
        self.pending: list[tuple[int, bytes | None]] = []  # offset, bytes; None: cut off there

    def write(self, data: bytes, offset: int) -> None:
        """As pwrite()."""
        self.pending.append((offset, data))
        _put(self.data, offset, data)

    def truncate(self, size: int) -> None:
        """As ftruncate()."""
        self.pending.append((size, None))
        del self.data[size:]

    def synced(self) -> None:
        """As fsync()."""
        for offset, data in self.pending:
            if data is None:
                del self.durable[offset:]
            else:
                _put(self.durable, offset, data)
        self.pending.clear()

    def after_kill(self) -> Content:
        """What the next process finds: all that was written."""
        twin = Content(self.data)
        twin.durable = bytearray(self.durable)
        twin.pending = list(self.pending)
        return twin

    def after_power_cut(self, rng: random.Random) -> Content:
        """What is found: all that was synced, and of the rest any part, by the sector."""
        luck = rng.random()
        for offset, data in self.pending:
            if data is None:
                if rng.random() < luck:
                    del self.durable[offset:]
                continue
            for at in range(0, len(data), SECTOR):
                if rng.random() < luck:
                    _put(self.durable, offset + at, data[at : at + SECTOR])
        return Content(self.durable)


def _put(where: bytearray, offset: int, data: bytes) -> None:
    if len(where) < offset:
        where.extend(bytes(offset - len(where)))
    where[offset : offset + len(data)] = data


class _Mount(apsw.VFS):
    """The files as one process sees them. disk None: that process has ended; what it still does, nobody sees."""

    def __init__(self, disk: Disk, files: dict[str, Content]) -> None:
        self.disk: Disk | None = disk
        self.files = files
        self.name = f"simulated {next(_numbers)}"
        super().__init__(self.name, "", maxpathname=100)

    def xOpen(self, name: Any, flags: list[int]) -> Any:  # noqa: N802 - SQLite's names
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path is not None and path not in self.files and not flags[0] & apsw.SQLITE_OPEN_CREATE:
            raise apsw.CantOpenError("no such file")
        content = Content() if path is None else self.files.setdefault(path, Content())
        return _File(self, content)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        self.files.pop(filename, None)

    def xAccess(self, pathname: str, flags: int) -> bool:  # noqa: N802
        return pathname in self.files

    def xFullPathname(self, name: str) -> str:  # noqa: N802
        return name

    def xRandomness(self, numbytes: int) -> bytes:  # noqa: N802
        return bytes(numbytes)

    def xCurrentTimeInt64(self) -> int:  # noqa: N802
        return 0


class Disk:
    """One machine's disk. `count(what)` is told of every failure, on_crash() that the machine has ended in a write."""

    def __init__(self, rng: random.Random, count: Callable[[str], None]) -> None:
        self.rng = rng
        self.count = count
        self.on_crash: Callable[[], None] = lambda: None
        self.failing = ""  # FULL, EIO, or UNSURE: only syncs fail
        self.failing_share = 1.0
        self.crash_in = 0  # so many writes and syncs from now the machine ends
        self.crash_power = False
        self._after_sync = False
        self._commits = 0
        self._mount = _Mount(self, {})
        self._gone: list[tuple[_Mount, list[apsw.Connection]]] = []
        self._connections: list[apsw.Connection] = []

    @property
    def files(self) -> dict[str, Content]:
        """As the running process sees them."""
        return self._mount.files

    def put(self, name: str, data: bytes) -> None:
        """A file that is there from the start."""
        self._mount.files[name] = Content(data)

    def file(self, name: str) -> bytes:
        """What a file holds."""
        return bytes(self._mount.files[name].data)

    def connect(self, path: str) -> apsw.Connection:
        """A connection that has the disk to itself: a WAL needs no shared memory then, which a VFS here can't give."""
        connection = apsw.Connection(path, vfs=self._mount.name)
        connection.pragma("locking_mode", "exclusive")
        self._connections.append(connection)
        return connection

    def checkpoint(self, connection: apsw.Connection) -> None:
        """What SQLite does by itself after a commit, ignoring errors; apsw would raise them as of the commit."""
        self._commits += 1
        if self._commits % CHECKPOINT == 0:
            with suppress(apsw.Error):
                connection.wal_checkpoint()

    def step(self, content: Content, size: int, offset: int, *, sync: bool = False) -> None:
        """Every write and sync: may fail, may be the last one."""
        if self.crash_in:
            self.crash_in -= 1
            if not self.crash_in:
                if sync and self.rng.random() < 0.5:
                    self._after_sync = True
                    return
                self._end()
        if self.failing == FULL:
            if not sync and offset + size > len(content.data) and self.rng.random() < self.failing_share:
                self.count("disk full")
                raise apsw.FullError("disk full")
        elif (
            self.failing == EIO or (self.failing == UNSURE and sync)
        ) and self.rng.random() < self.failing_share:
            self.count("sync lost" if self.failing == UNSURE else "sync error" if sync else "write error")
            if sync:
                content.pending.clear()
            raise apsw.IOError("input/output error")

    def after_sync(self) -> None:
        """The machine may end when all is on the disk and nobody knows it yet."""
        if self._after_sync:
            self._after_sync = False
            self._end()

    def _end(self) -> NoReturn:
        self.crash(power=self.crash_power)
        self.on_crash()
        raise CrashedError

    def crash(self, *, power: bool) -> None:
        """The process is gone; with the power, what was not synced may be, too."""
        old = self._mount
        old.disk = None
        self.crash_in = 0
        self._gone.append((old, self._connections))
        self._connections = []
        self._mount = _Mount(
            self,
            {
                name: content.after_power_cut(self.rng) if power else content.after_kill()
                for name, content in old.files.items()
            },
        )

    def bury(self) -> None:
        """Lets go of what processes that have ended had open; none of them is in the middle of a call."""
        for mount, connections in self._gone:
            for connection in connections:
                connection.close()
            mount.unregister()
        self._gone.clear()

    def close(self) -> None:
        """The end of the simulation."""
        self.failing = ""
        self.crash(power=False)
        self.bury()
        self._mount.unregister()


@cache
def real_folder() -> Path:
    """A folder of this process for files that are no database; gone at its end, also at that of a pool's worker."""
    folder = Path(mkdtemp(prefix="gatepost-simulation-"))
    Finalize(None, shutil.rmtree, (folder, True), exitpriority=1)
    return folder


class Borrowed:
    """The one connection, for whoever expects one of his own: closing it closes nothing."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def close(self) -> None:
        """It belongs to somebody else."""
