"""Layer: puts a backup's store in place: nothing is overwritten, a crash in between leaves the old one or the new."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import apsw

from edge_agent.errors import StoreError, StoreUnreadError
from edge_agent.store import copies
from edge_agent.store.copies import Contents, Marks
from edge_agent.store.database import FILE_NAME, TRANSIENT, own, schema_steps
from edge_agent.store.downgrade import convert
from tools import backup
from tools.backup import Manifest
from tools.errors import ToolError

ASIDE = "replaced"
_FILES = (FILE_NAME, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm")


class Done(NamedTuple):
    """What was put in place; aside: where what was there before is now."""

    manifest: Manifest
    aside: Path | None


def restore(
    data_dir: Path,
    source: Path,
    *,
    site: str,
    edge: str,
    now_ms: int,
    replace: bool = False,
    abandon: bool = False,
) -> Done:
    """Puts the backup's store into data_dir. Raises ToolError; then all is as it was.

    Refuses while an agent runs, into a store that holds something (unless `replace`), and in place of a whole store
    that holds events which the office lacks (unless `abandon`): the agent could still deliver those.
    """
    manifest = backup.read(source, None)
    if (manifest.site, manifest.edge) != (site, edge):
        raise ToolError(
            f"{source}: is of site {manifest.site!r:.66}, edge {manifest.edge!r:.66}; this is {site!r}, {edge!r}"
        )
    if manifest.schema > len(schema_steps()):
        raise ToolError(
            f"{source}: its store is of version {manifest.schema}, this program knows up to {len(schema_steps())}: "
            "install the newer program first"
        )
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with own(data_dir), _workplace(data_dir) as work:
            return _put(data_dir, source, work, manifest, now_ms, replace=replace, abandon=abandon)
    except StoreError as error:
        raise ToolError(str(error)) from error
    except OSError as error:
        raise ToolError(f"{error.filename or data_dir}: {error.strerror or error}") from error


def _put(
    data_dir: Path,
    source: Path,
    work: Path,
    manifest: Manifest,
    now_ms: int,
    *,
    replace: bool,
    abandon: bool,
) -> Done:
    there = data_dir / FILE_NAME
    later: Marks | None = None
    if there.exists():
        found = _present(there)
        if found is None or found.events:
            _may_replace(data_dir, found, replace=replace, abandon=abandon)
        later = _marks(there)
    backup.read(source, work)
    copies.check(work / FILE_NAME)
    copies.make_fit(work / FILE_NAME, manifest.made_ms, now_ms, later)
    copies.check(work / FILE_NAME)
    beside = [path for path in sorted(work.iterdir()) if path.name != FILE_NAME and not _same(path, data_dir)]
    changed = [path for path in beside if (data_dir / path.name).exists()]
    if changed and not replace:
        raise ToolError(
            f"{data_dir}: {changed[0].name} is there and is another one; "
            "--replace keeps it aside and takes the backup's"
        )
    return Done(manifest, _switch(data_dir, work, beside, now_ms))


def _switch(data_dir: Path, work: Path, beside: list[Path], now_ms: int) -> Path | None:
    """Files of the work place into data_dir, the store last; what they replace goes aside -> where it is."""
    there = data_dir / FILE_NAME
    replaced = [data_dir / path.name for path in beside if (data_dir / path.name).exists()]
    aside = None
    if there.exists() or replaced:
        aside = data_dir / f"{ASIDE}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now_ms / 1000))}"
        aside.mkdir(mode=0o700)
        for name in _FILES[1:]:
            if (data_dir / name).exists():
                (data_dir / name).rename(aside / name)  # a WAL that stayed would be taken for the new store's
        for path in (*replaced, there):
            if path.exists():
                os.link(path, aside / path.name)
        _sync(aside)
    owner = data_dir.stat()
    for path in (*beside, work / FILE_NAME):
        os.chown(path, owner.st_uid, owner.st_gid)
        path.chmod(0o600)
        _sync(path)
        path.replace(data_dir / path.name)
    _sync(data_dir)
    return aside


@contextmanager
def _workplace(data_dir: Path) -> Iterator[Path]:
    work = data_dir / "restore.part"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(mode=0o700)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _present(store: Path) -> Contents | None:
    """What the store that is there holds, all of its WAL taken in; None when it is damaged.

    Raises ToolError when it can't be read just now: it may be whole, and hold what the office lacks.
    """
    try:
        connection = apsw.Connection(str(store), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(5_000)
            if int(connection.pragma("user_version")) == 0:
                return Contents(0, 0, 0, 0, {})
            busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0][0]
            if busy:  # the WAL would have to move away with commits in it
                raise ToolError(
                    f"{store}: another program reads it; wait for its end, or end it: sudo fuser -v {store}"
                )
        finally:
            connection.close()
        return copies.check(store)
    except (*TRANSIENT, StoreUnreadError) as error:
        raise ToolError(
            f"{store}: can't be read just now ({error}): see who has it (sudo fuser -v {store}) and whether the disk "
            "fails (dmesg), then try again"
        ) from error
    except (apsw.Error, StoreError):
        return None


def _may_replace(data_dir: Path, found: Contents | None, *, replace: bool, abandon: bool) -> None:
    what = "a store that is damaged" if found is None else f"a store of {found.events:,} events"
    if not replace:
        raise ToolError(
            f"{data_dir}: holds {what}; --replace keeps it aside and puts the backup in its place"
        )
    if found is not None and found.waiting and not abandon:
        raise ToolError(
            f"{data_dir}: the store there is whole and holds {found.waiting:,} events that the office lacks: let the "
            "agent deliver them first; --abandon gives them up (they stay in the store that is kept aside)"
        )


def _marks(store: Path) -> Marks | None:
    """What the replaced store gave out, as far as it can be read."""
    try:
        connection = apsw.Connection(str(store), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            return copies.marks(connection)
        finally:
            connection.close()
    except apsw.Error:
        return None


def _same(path: Path, data_dir: Path) -> bool:
    there = data_dir / path.name
    return there.exists() and there.read_bytes() == path.read_bytes()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def downgrade(data_dir: Path, version: int, now_ms: int) -> Path | None:
    """The store as one of an older version, for the program that was here before -> where the newer one is kept.

    None: it is none newer than that. Nothing is lost: it is the same store. Raises ToolError.
    """
    there = data_dir / FILE_NAME
    try:
        with own(data_dir):
            if not there.exists():
                return None
            found = _present(there)
            if found is None:
                raise ToolError(f"{there}: is damaged: restore a backup")
            if found.schema <= version:
                return None
            with _workplace(data_dir) as work:
                again = convert(there, work / FILE_NAME, version)
                same = copies.check(work / FILE_NAME)
                if same != found._replace(schema=version, waiting=found.waiting + again):
                    raise ToolError(f"{there}: not all of it could be taken along; it is as it was")
                return _switch(data_dir, work, [], now_ms)
    except StoreError as error:
        raise ToolError(str(error)) from error
    except OSError as error:
        raise ToolError(f"{error.filename or data_dir}: {error.strerror or error}") from error
