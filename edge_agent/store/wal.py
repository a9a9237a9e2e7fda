"""Layer: what a write-ahead log holds, put on the disk once more before SQLite believes it.

When a sync fails, Linux forgets that the pages were to be written and goes on showing them: no later sync writes
them. The process that saw the failure writes its frames anew when it tries again. One that was killed before it could
leaves frames which its successor finds whole, counts as committed and builds on, while the disk has a hole there: at
the next power cut everything behind the hole would be gone.
"""

from __future__ import annotations

import apsw

_HEADER, _FRAME_HEADER = 32, 24
_SALT = slice(16, 24)  # of the header; frames carry it from their byte 8 on
_PAGE_SIZE = slice(8, 12)
_SMALLEST, _LARGEST = 512, 65_536
_FLAGS = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_READWRITE
_NORMAL_SYNC = apsw.SQLITE_SYNC_NORMAL


def write_again(connection: apsw.Connection) -> int:
    """Rewrites the live frames of the database's WAL with the same bytes and syncs; how many bytes.

    Before the connection writes anything; nobody else can meanwhile. Raises apsw.Error.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        return _rewrite(connection.open_vfs, connection.filename_wal)
    finally:
        connection.execute("ROLLBACK")


def _rewrite(vfs: str, path: str) -> int:
    try:
        file = apsw.VFSFile(vfs, path, [_FLAGS, 0])
    except apsw.CantOpenError:
        return 0  # there is none
    try:
        if file.xFileSize() < _HEADER:
            return 0
        header = file.xRead(_HEADER, 0)
        page_size = int.from_bytes(header[_PAGE_SIZE], "big")
        if not _SMALLEST <= page_size <= _LARGEST:
            return 0  # no WAL of SQLite's; it will not take it either
        file.xWrite(header, 0)
        at, size, frame = _HEADER, file.xFileSize(), _FRAME_HEADER + page_size
        while at + frame <= size:
            found = file.xRead(frame, at)
            if found[8:16] != header[_SALT]:
                break  # from here on frames of an earlier round, which the database has
            file.xWrite(found, at)
            at += frame
        file.xSync(_NORMAL_SYNC)
    finally:
        file.xClose()
    return at
