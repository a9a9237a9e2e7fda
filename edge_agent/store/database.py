"""Layer: opens the store's SQLite file: durability settings, one owner, schema steps."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import apsw

from edge_agent.errors import StoreError
from edge_agent.store import wal

FILE_NAME = "edge.sqlite"
LOCK_NAME = "agent.lock"
# The lock of an agent that was killed a moment ago may still be there, one that has just begun has not said who it is.
PATIENCE_S = 3.0
LEAST_SQLITE = (3, 51, 3)  # older ones can lose commits when a WAL is reset under a second connection
INCREMENTAL = 2  # of PRAGMA auto_vacuum: pages that become free can be given back in small steps
CONVERT_BYTES = 32 << 20  # a larger store is not converted at the start, which would take too long
SCHEMA_FOLDER = Path(__file__).parent
# Errors of the disk or of its fullness: the same transaction may succeed later.
TRANSIENT = (
    apsw.FullError,
    apsw.IOError,
    apsw.BusyError,
    apsw.LockedError,
    apsw.NoMemError,
    apsw.CantOpenError,
    apsw.ReadOnlyError,
)


def schema_steps(folder: Path = SCHEMA_FOLDER) -> list[str]:
    """SQL that leads from version 0 to 1, from 1 to 2 and so on: schema_v1.sql, schema_v2.sql ..."""
    steps: list[str] = []
    while (path := folder / f"schema_v{len(steps) + 1}.sql").is_file():
        steps.append(path.read_text(encoding="utf-8"))
    return steps


def migrate(connection: apsw.Connection, steps: list[str]) -> int:
    """Brings the file to the newest version, each step in its own transaction; returns the version it found.

    Raises StoreError when the file is newer than this program.
    """
    found = int(connection.pragma("user_version"))
    if found > len(steps):
        raise StoreError(
            f"the store is of version {found}, this program knows up to {len(steps)}: "
            "install the newer program again, or move data_dir aside"
        )
    for version in range(found, len(steps)):
        with transaction(connection):
            connection.execute(steps[version])
            connection.pragma("user_version", version + 1)
    return found


def settle(connection: apsw.Connection, steps: list[str]) -> int:
    """What the writing connection promises (WAL, every commit on the disk), then the schema; see migrate()."""
    connection.set_busy_timeout(5_000)
    connection.pragma("auto_vacuum", INCREMENTAL)  # counts for a file that is still empty
    mode = connection.pragma("journal_mode", "wal")
    if mode != "wal":
        raise StoreError(f"the file system of data_dir does not support WAL (got {mode})")
    wal.write_again(connection)
    connection.pragma("synchronous", "full")
    connection.pragma("wal_autocheckpoint", 4_000)
    connection.pragma("journal_size_limit", 64 * 1024 * 1024)
    found = migrate(connection, steps)
    if connection.pragma("auto_vacuum") != INCREMENTAL and _may_convert(connection):
        connection.pragma("auto_vacuum", INCREMENTAL)
        with contextlib.suppress(*TRANSIENT):  # the store is as it was: at the next start
            connection.execute("VACUUM")
    return found


def _may_convert(connection: apsw.Connection) -> bool:
    """Whether a store from before INCREMENTAL is small enough, and the disk free enough, to be written anew now."""
    pages = int(connection.pragma("page_count")) - int(connection.pragma("freelist_count"))
    size = pages * int(connection.pragma("page_size"))
    name = connection.filename
    return size <= CONVERT_BYTES and (not name or shutil.disk_usage(Path(name).parent).free >= 3 * size)


@contextmanager
def transaction(connection: apsw.Connection) -> Iterator[None]:
    """BEGIN IMMEDIATE ... COMMIT; rolled back when anything is raised."""
    connection.execute("BEGIN IMMEDIATE")
    committed = False
    try:
        yield
        connection.execute("COMMIT")
        committed = True
    finally:
        if not committed and not connection.get_autocommit():
            connection.execute("ROLLBACK")


class Database:
    """The store of one agent: the writer's connection and readers' ones. One process at a time owns the folder."""

    def __init__(self, folder: Path, *, steps: list[str] | None = None) -> None:
        if tuple(map(int, apsw.sqlite_lib_version().split("."))) < LEAST_SQLITE:
            least = ".".join(map(str, LEAST_SQLITE))
            raise StoreError(
                f"SQLite {apsw.sqlite_lib_version()} is too old, {least} is needed: pip install -U apsw"
            )
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = own(folder)
        except OSError as error:
            raise StoreError(f"data_dir can't be used: {error.strerror} ({folder.name})") from error
        self.path = folder / FILE_NAME
        try:
            # Private from its first moment on: one that a kill left open to others would be refused at the next start.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self.writer = apsw.Connection(str(self.path))
            self.path.chmod(0o600)
            self.found_version = settle(self.writer, schema_steps() if steps is None else steps)
        except OSError as error:
            raise StoreError(f"the store can't be opened: {error.strerror}") from error
        except apsw.NotADBError as error:
            raise StoreError(
                f"{FILE_NAME} is no SQLite file: move it aside, the devices send again"
            ) from error
        except apsw.Error as error:
            raise StoreError(f"the store can't be opened: {error}") from error

    def reader(self) -> apsw.Connection:
        """A further connection, for reading only; belongs to the thread that uses it."""
        connection = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(5_000)
        return connection

    def wal_bytes(self) -> int:
        """Size of the WAL."""
        try:
            return self.path.with_name(FILE_NAME + "-wal").stat().st_size
        except FileNotFoundError:
            return 0

    def checkpoint(self, *, truncate: bool) -> bool:
        """Brings the WAL into the file, truncate: and gives its room back.

        False: the file is longer than it need be, because somebody read or wrote meanwhile.
        """
        connection = apsw.Connection(str(self.path))
        try:
            connection.set_busy_timeout(100)
            mode = apsw.SQLITE_CHECKPOINT_TRUNCATE if truncate else apsw.SQLITE_CHECKPOINT_PASSIVE
            with contextlib.suppress(*TRANSIENT):  # somebody reads, or the disk is full: the next time
                connection.pragma("user_version")  # a connection that has read nothing knows of no WAL
                connection.wal_checkpoint(mode=mode)
            size = int(connection.pragma("page_count")) * int(connection.pragma("page_size"))
            return self.path.stat().st_size <= size
        finally:
            connection.close()

    def close(self) -> None:
        """Closes the writer's connection and gives up ownership."""
        self.writer.close()
        self._lock.close()


def own(folder: Path) -> IO[str]:
    """Locks data_dir for this process, until the result is closed. Raises StoreError naming the process that has it."""
    lock = (folder / LOCK_NAME).open("a+", encoding="ascii")
    deadline_s = time.monotonic() + PATIENCE_S
    while not _locked(lock):
        if time.monotonic() > deadline_s:
            lock.seek(0)
            holder = lock.read(20).strip() or "unknown"
            lock.close()
            raise StoreError(f"another agent (process {holder}) already uses this data_dir: stop it first")
        time.sleep(0.02)  # asks again, until the deadline above; the event loop does not run yet
    if os.geteuid() == 0:  # root restores what the service's user goes on with
        os.fchown(lock.fileno(), folder.stat().st_uid, folder.stat().st_gid)
    lock.seek(0)
    lock.truncate()
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def _locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
