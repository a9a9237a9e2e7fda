"""Layer: a copy of the store: made while the agent writes, checked, and made fit to be gone on with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import apsw

from edge_agent.errors import StoreError, StoreUnreadError
from edge_agent.store import devices, events, outbox
from edge_agent.store.database import TRANSIENT, transaction

STEP_PAGES = 512
# What an edge may have used up between a backup and its restore, and which must never be used again.
STARTS = 1 << 16  # starts of the agent: its own events are told apart by them
BOOT_TOP = (1 << 24) - 1
DOWN_PER_S = 1 << 14  # frames to devices: no edge sends so many for long
DOWN_MOST = 1 << 36
DOWN_TOP = (1 << 40) - 1


class Contents(NamedTuple):
    """What a store holds: `waiting` events are not receipted by the office yet."""

    schema: int
    events: int
    waiting: int
    last_pos: int
    upto: dict[int, int]  # device -> its watermark


class Marks(NamedTuple):
    """Numbers that were given out and must not be given out again."""

    edge_boot: int
    down_piv: int
    last_pos: int


def copy(source: Path, target: Path, progress: Callable[[int, int], None]) -> None:
    """Copies a store that may be in use into a new file: one moment of it, whole. Raises StoreError.

    The read transaction keeps that moment while the agent goes on writing; without it every commit would begin the copy
    anew. progress(pages done, pages in all).
    """
    try:
        reader = apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READONLY)
        writer = apsw.Connection(str(target))
        try:
            reader.set_busy_timeout(5_000)
            writer.pragma("synchronous", "off")  # the caller syncs the whole file
            reader.execute("BEGIN; SELECT count(*) FROM meta")
            with writer.backup("main", reader, "main") as backup:
                while not backup.done:
                    backup.step(STEP_PAGES)
                    progress(backup.page_count - backup.remaining, backup.page_count)
            writer.pragma("journal_mode", "delete")  # one file, without a WAL beside it
        finally:
            writer.close()
            reader.close()
    except apsw.Error as error:
        raise StoreError(f"the store can't be copied: {error}") from error


def check(path: Path) -> Contents:
    """Reads all of a store. Raises StoreError when it is damaged, or none, StoreUnreadError when it can't be read."""
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            connection.set_busy_timeout(5_000)
            found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(5)")]
            if found != ["ok"]:
                raise StoreError(f"the store in {path.name} is damaged: {'; '.join(found)[:200]}")
            return contents(connection)
        finally:
            connection.close()
    except TRANSIENT as error:
        raise StoreUnreadError(f"{path.name} can't be read just now: {error}") from error
    except apsw.Error as error:
        raise StoreError(f"{path.name} is no whole store: {error}") from error


def contents(connection: apsw.Connection) -> Contents:
    """What the store holds. Raises apsw.Error when it is no store."""
    lanes = outbox.lanes(connection).values()
    return Contents(
        int(connection.pragma("user_version")),
        sum(lane.appended for lane in lanes),
        sum(lane.appended - lane.delivered for lane in lanes),
        marks(connection).last_pos,
        {device: ledger.coverage.upto for device, ledger in devices.load(connection).items()},
    )


def marks(connection: apsw.Connection) -> Marks:
    """What this store gave out last."""
    last = max(events.last_pos(connection), *(lane.highest for lane in outbox.lanes(connection).values()))
    return Marks(
        devices.meta(connection, devices.EDGE_BOOT),
        devices.meta(connection, devices.DOWN_PIV),
        max(last, devices.meta(connection, devices.NEXT_POS) - 1),
    )


def make_fit(path: Path, made_ms: int, now_ms: int, later: Marks | None) -> None:
    """A store as it was at made_ms -> one to go on with at now_ms, though what came in between is not in it.

    - Frames to devices: the counter goes beyond whatever may have been used since, because a repeated value would open
      both frames. `later`: what the store that is replaced gave out, where it can still be read.
    - Own events: a boot number that no start in between can have had.
    - Rows of the log: positions that were never given; what waits for the office moves there, in its order.
    - Sessions are dropped: devices say hello, and so state what they still hold.

    Raises StoreError.
    """
    later = later or Marks(0, 0, 0)
    between_s = (now_ms - made_ms) // 1000
    if between_s < 0:
        raise StoreError("this machine's clock is before the backup was made: set it first")
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            with transaction(connection):
                own = marks(connection)
                boot = max(own.edge_boot + STARTS, later.edge_boot)
                down = max(own.down_piv, later.down_piv, now_ms // 1000 << 8)
                down += min(between_s * DOWN_PER_S, DOWN_MOST)
                if boot >= BOOT_TOP or down >= DOWN_TOP:
                    raise StoreError("this store was restored too often: provision the site's devices anew")
                devices.set_meta(connection, devices.EDGE_BOOT, boot)
                devices.set_meta(connection, devices.DOWN_PIV, down)
                devices.set_meta(connection, devices.RESTORED, 1)
                connection.execute("DELETE FROM session")
                _move_what_waits(connection, max(own.last_pos, later.last_pos, now_ms // 1000 << 20) + 1)
        finally:
            connection.close()
    except apsw.Error as error:
        raise StoreError(f"the store can't be made fit: {error}") from error


def _move_what_waits(connection: apsw.Connection, base: int) -> None:
    waits = (
        "(priority < 2 AND pos > (SELECT cursor FROM lane WHERE name = 'normal')"
        " OR priority = 2 AND pos > (SELECT cursor FROM lane WHERE name = 'alarm'))"
    )
    first = connection.execute(f"SELECT min(pos) FROM log WHERE {waits}").get  # noqa: S608 - constants only
    following = base
    if isinstance(first, int):
        by = base - first
        last = connection.execute(f"SELECT max(pos) FROM log WHERE {waits}").get  # noqa: S608 - constants only
        connection.execute(f"UPDATE log SET pos = pos + ? WHERE {waits}", (by,))  # noqa: S608 - constants only
        outbox.move(connection, by)
        following = int(last) + by + 1 if isinstance(last, int) else base
    devices.set_meta(connection, devices.NEXT_POS, following)
