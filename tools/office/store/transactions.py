"""SQLite's errors as StoreError; a transaction of the writer, a snapshot of the reader."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from edge_agent.store import database
from tools.office.errors import StoreError


@contextmanager
def errors() -> Iterator[None]:
    """What SQLite can't do is a StoreError."""
    try:
        yield
    except apsw.Error as error:
        raise StoreError(f"the database could not do it: {error}") from error


@contextmanager
def transaction(db: apsw.Connection) -> Iterator[None]:
    """All of it on the disk, or nothing."""
    with errors(), database.transaction(db):
        yield


@contextmanager
def snapshot(db: apsw.Connection) -> Iterator[None]:
    """One state of the database for all reads within."""
    with errors():
        db.execute("BEGIN")
        try:
            yield
        finally:
            db.execute("COMMIT")
