"""The edges' logs in the tables: rows as they came, heads as they were signed. Within the writer's transaction."""

from __future__ import annotations

from typing import NamedTuple

import apsw

from edge_agent.integrity.leaves import Head, Leaves
from edge_agent.integrity.statement import KNOWN, NAMED, PROVE, TAKEN, Answer
from edge_agent.integrity.tree import Frontier
from tools.office.batch import Batch
from tools.office.head import Statement
from tools.office.store.base import (
    ABSENT,
    AGAIN,
    FORGED,
    FORKED,
    GAP,
    LOG_REASONS,
    OTHER_KEY,
    RESTARTED,
    SHRUNKEN,
    UNLIKE,
)

MAX_FINDINGS = 1_000  # of one log; whoever makes more of them is named by these
MAX_ABSENT = 100_000  # positions without a row that are gone over one by one
BY_BRANCH, OLDEST, LATEST = 0, 1, 2
ANCHOR = 32  # every so many heads the tree's full subtrees are kept, so that a check can begin there
_INSERT = "INSERT OR IGNORE INTO log_row VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"

# log, pos, branch, device, boot, first, count, skipped, mac_before, mac8, uptime_cs, t_lo, t_hi, received, leaf
LogRow = tuple[object, ...]


class StoredHead(NamedTuple):
    """One row of table log_head."""

    id: int
    log: int
    branch: int
    number: int
    first_pos: int
    size: int
    root: bytes
    time_ms: int
    public: bytes
    signature: bytes
    received_ms: int
    frontier: bytes | None

    @property
    def last_pos(self) -> int:
        """The last row that it covers."""
        return self.first_pos + self.size - 1

    def head(self, site: str, edge: str) -> Head:
        """As it was signed."""
        return Head(site, edge, self.number, self.first_pos, self.size, self.root, self.time_ms)


class Rows:
    """The rows of one batch on their way into the log of their edge."""

    def __init__(self, db: apsw.Connection, batch: Batch, now_ms: int) -> None:
        self._db = db
        self._now = now_ms
        self._log, self._branch = _log(db, batch.site_key, batch.edge)
        self._leaves = Leaves(batch.site, batch.edge)
        self._rows: list[LogRow] = []

    def add(self, row: list[object], *, fresh: bool) -> None:
        """A row as it was uploaded; fresh: all of its events are new, and so have its times."""
        pos, device, boot, first, last, uptime, t_lo, t_hi, received, skipped, mac_before, _, mac8 = row
        times = (None, None, None, None) if fresh else (uptime, t_lo, t_hi, received)
        count = last - first + 1  # type: ignore[operator]  # numbers: batch.decode() saw to it
        self._rows.append(
            (self._log, pos, self._branch, device, boot, first, count, skipped, mac_before, mac8, *times,
             self._leaves.hash(row))
        )  # fmt: skip

    def store(self) -> None:
        """Writes them. A row whose position has another content already begins a new branch, and is named."""
        if not self._rows:
            return
        fresh = self._rows if self._branch == 0 else [row for row in self._rows if not self._held(row)]
        before = self._db.total_changes()
        self._db.executemany(_INSERT, fresh)
        if self._db.total_changes() - before == len(fresh):
            return
        others = [row for row in fresh if not self._held(row)]
        if others:
            self._branch += 1
            self._db.execute("UPDATE edge_log SET branch = ? WHERE key = ?", (self._branch, self._log))
            self._db.executemany(_INSERT, [(*row[:2], self._branch, *row[3:]) for row in others])
            found(self._db, self._log, AGAIN, int(str(others[0][1])), int(str(others[-1][1])), self._now)

    def _held(self, row: LogRow) -> bool:
        return bool(
            self._db.execute(
                "SELECT EXISTS (SELECT 1 FROM log_row WHERE log = ? AND pos = ? AND leaf = ?)",
                (self._log, row[1], row[-1]),
            ).get
        )


def found(db: apsw.Connection, log: int, reason: int, first: int, last: int, now_ms: int) -> None:
    """Writes a finding down; the first time counts."""
    count = db.execute("SELECT count(*) FROM log_finding WHERE log = ?", (log,)).get
    if int(str(count)) < MAX_FINDINGS:
        db.execute("INSERT OR IGNORE INTO log_finding VALUES (?,?,?,?,?)", (log, reason, first, last, now_ms))


def take(db: apsw.Connection, site: int, said: Statement, enrolled: set[bytes], now_ms: int) -> Answer:
    """Judges a head against those before it, and keeps it. enrolled: the edge's keys, if it was enrolled."""
    head = said.head
    log, branch = _log(db, site, head.edge)
    known = db.execute(
        "SELECT 1 FROM log_head WHERE log = ? AND number = ? AND size = ? AND root = ? AND signature = ?",
        (log, head.number, head.size, head.root, said.signature),
    ).fetchone()
    last = last_head(db, log)
    if known is not None:
        return _answer(KNOWN, last, [])
    reason = _stranger(db, log, said, enrolled, now_ms)
    if reason is not None:
        found(db, log, reason, head.first_pos, head.last_pos, now_ms)
        return _answer(NAMED, last, [reason])
    if last is not None:
        if head.first_pos == last.first_pos and head.size > last.size and said.before != last.size:
            return _answer(PROVE, last, [])
        reason = _contradiction(said, last)
        if reason is None:
            branch = last.branch
        else:
            branch = max(branch, last.branch + 1)
            db.execute("UPDATE edge_log SET branch = ? WHERE key = ?", (branch, log))
            found(db, log, reason, *_disputed(head, last), now_ms)
    db.execute(
        "INSERT INTO log_head (log, branch, number, first_pos, size, root, time_ms, public, signature, received_ms,"
        " frontier) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
        (log, branch, *head[2:], said.public, said.signature, now_ms, said.frontier.to_bytes()),
    )
    return _answer(TAKEN if reason is None else NAMED, last_head(db, log), [] if reason is None else [reason])


def last_head(db: apsw.Connection, log: int) -> StoredHead | None:
    """The newest head of a log."""
    row = db.execute("SELECT * FROM log_head WHERE log = ? ORDER BY id DESC LIMIT 1", (log,)).fetchone()
    return StoredHead(*row) if row else None


def _stranger(
    db: apsw.Connection, log: int, said: Statement, enrolled: set[bytes], now_ms: int
) -> int | None:
    """Why this key does not speak for this edge. The first key that ever did is kept where none was enrolled."""
    if not said.signed:
        return FORGED
    keys = enrolled or {bytes(key) for (key,) in db.execute("SELECT public FROM log_key WHERE log = ?", (log,))}
    if not keys:
        db.execute("INSERT INTO log_key VALUES (?,?,?)", (log, said.public, now_ms))
    elif said.public not in keys:
        return OTHER_KEY
    return None


def _contradiction(said: Statement, last: StoredHead) -> int | None:
    head = said.head
    if head.first_pos != last.first_pos:
        return RESTARTED if head.first_pos > last.last_pos else FORKED
    if head.size < last.size:
        return SHRUNKEN
    if head.size == last.size:
        return None if head.root == last.root else FORKED
    return None if said.goes_on_from(last.root) else FORKED


def _disputed(head: Head, last: StoredHead) -> tuple[int, int]:
    """Positions that the two heads tell differently of."""
    if head.first_pos > last.last_pos:
        return last.last_pos + 1, head.first_pos - 1
    if head.size < last.size and head.first_pos == last.first_pos:
        return head.last_pos + 1, last.last_pos
    return head.first_pos, head.last_pos


def _answer(state: str, last: StoredHead | None, reasons: list[int]) -> Answer:
    return Answer(
        state, last.number if last else 0, last.size if last else 0, [LOG_REASONS[one] for one in reasons]
    )


def _log(db: apsw.Connection, site: int, edge: str) -> tuple[int, int]:
    """(key, branch) of an edge's log, made when it is new."""
    select = "SELECT key, branch FROM edge_log WHERE site = ? AND edge = ?"
    row: tuple[int, int] | None = db.execute(select, (site, edge)).fetchone()
    if row is None:
        db.execute("INSERT INTO edge_log (site, edge) VALUES (?,?)", (site, edge))
        row = db.execute(select, (site, edge)).fetchone()
    assert row is not None
    return row


# The check of heads against the rows that came.


def unchecked(db: apsw.Connection) -> int | None:
    """A log with a head that was not compared with its rows."""
    row = db.execute(
        "SELECT key FROM edge_log WHERE EXISTS (SELECT 1 FROM log_head WHERE log = key AND id > head) LIMIT 1"
    ).fetchone()
    return int(row[0]) if row else None


def compare(db: apsw.Connection, log: int, now_ms: int, limit: int) -> None:
    """Goes over `limit` rows at most on the way to the next head; there, compares. What does not fit is named.

    After that the check goes on from the tree that was signed, so that what follows is proven by itself.
    """
    checked, branch, base_size, base, size, packed, attempt = db.execute(
        "SELECT head, head_branch, base_size, base, size, frontier, attempt FROM edge_log WHERE key = ?", (log,)
    ).get
    row = db.execute("SELECT * FROM log_head WHERE log = ? AND id > ? ORDER BY id LIMIT 1", (log, checked)).fetchone()
    if row is None:
        return
    head = StoredHead(*row)
    if head.branch != branch or head.size < base_size:
        branch, base_size, base, size, packed, attempt = head.branch, 0, b"", 0, b"", 0
    frontier = Frontier.from_bytes(size, packed)
    # Once is enough, since rows are never taken away; at each step it were work for the square of their number.
    sparse = _sparse(db, head, base_size) if size == base_size else None
    if sparse is not None:
        found(db, log, ABSENT, *sparse, now_ms)
    else:
        absent = _append(db, head, frontier, min(head.size, size + limit), attempt)
        if not attempt:
            for first, last in absent:
                found(db, log, ABSENT, first, last, now_ms)
    if frontier.size < head.size and sparse is None:
        values = (checked, branch, base_size, base, frontier.size, frontier.to_bytes(), attempt)
    elif sparse is None and frontier.root() != head.root and attempt < LATEST and _several(db, head, base_size):
        values = (checked, branch, base_size, base, base_size, base, attempt + 1)
    else:
        fits = frontier.root() == head.root
        if fits:
            # The tree has the leaves that say "no row" where none came: so it is the edge that has none.
            db.execute(
                "UPDATE OR REPLACE log_finding SET reason = ?"
                " WHERE log = ? AND reason = ? AND first >= ? AND last <= ?",
                (GAP, log, ABSENT, head.first_pos + base_size, head.last_pos),
            )
        else:
            found(db, log, UNLIKE, head.first_pos + min(base_size, head.size - 1), head.last_pos, now_ms)
        done = frontier.to_bytes() if fits else bytes(head.frontier or b"")
        values = (head.id, branch, head.size, done, head.size, done, 0)
        if fits and head.number % ANCHOR:
            db.execute("UPDATE log_head SET frontier = NULL WHERE id = ?", (head.id,))
    db.execute(
        "UPDATE edge_log SET head = ?, head_branch = ?, base_size = ?, base = ?, size = ?, frontier = ?, attempt = ?"
        " WHERE key = ?",
        (*values, log),
    )


def _append(
    db: apsw.Connection, head: StoredHead, frontier: Frontier, end: int, attempt: int
) -> list[tuple[int, int]]:
    """Adds leaves up to `end`; the positions for which no row came, whose leaves say so."""
    site, edge = db.execute(
        "SELECT site.id, edge FROM edge_log JOIN site ON site.key = site WHERE edge_log.key = ?", (head.log,)
    ).get
    gaps = Leaves(site, edge)
    absent: list[tuple[int, int]] = []
    leaves = chosen(db, head.log, head.first_pos + frontier.size, head.first_pos + end - 1, head.branch, attempt)
    for pos in range(head.first_pos + frontier.size, head.first_pos + end):
        leaf = leaves.get(pos)
        frontier.append(leaf if leaf is not None else gaps.gap(pos))
        if leaf is None:
            if absent and absent[-1][1] == pos - 1:
                absent[-1] = (absent[-1][0], pos)
            else:
                absent.append((pos, pos))
    return absent


def chosen(
    db: apsw.Connection, log: int, first: int, last: int, branch: int, attempt: int = BY_BRANCH
) -> dict[int, bytes]:
    """The leaf of each position as a branch has it: the youngest content up to it, or else the first one after.

    attempt OLDEST or LATEST: instead of that the first or the last content, whichever branch it came in.
    """
    leaves: dict[int, bytes] = {}
    for pos, of, leaf in db.execute(
        "SELECT pos, branch, leaf FROM log_row WHERE log = ? AND pos BETWEEN ? AND ? ORDER BY pos, branch",
        (log, first, last),
    ):
        if pos not in leaves or attempt == LATEST or (attempt == BY_BRANCH and of <= branch):
            leaves[pos] = leaf
    return leaves


def _sparse(db: apsw.Connection, head: StoredHead, base_size: int) -> tuple[int, int] | None:
    """The positions between two heads, if hardly any of them has a row: nobody goes over 2^60 of them one by one."""
    length = head.size - base_size
    if length <= MAX_ABSENT:
        return None
    first = head.first_pos + base_size
    rows = db.execute(
        "SELECT count(*) FROM (SELECT 1 FROM log_row WHERE log = ? AND pos BETWEEN ? AND ? LIMIT ?)",
        (head.log, first, head.last_pos, length - MAX_ABSENT),
    ).get
    return (first, head.last_pos) if int(str(rows)) < length - MAX_ABSENT else None


def _several(db: apsw.Connection, head: StoredHead, base_size: int) -> bool:
    """Whether some position between the two heads has more than one content."""
    return bool(
        db.execute(
            "SELECT EXISTS (SELECT 1 FROM log_row WHERE log = ? AND pos BETWEEN ? AND ?"
            " GROUP BY pos HAVING count(*) > 1)",
            (head.log, head.first_pos + base_size, head.last_pos),
        ).get
    )
