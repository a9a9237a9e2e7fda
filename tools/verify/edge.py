"""The edge's store against what it signed: log rows, tree, heads; read-only, while the agent may run."""

from __future__ import annotations

from typing import Any, NamedTuple

import apsw

from edge_agent import identity, runs
from edge_agent.config import Config
from edge_agent.errors import StoreError
from edge_agent.identity import fingerprint
from edge_agent.integrity.leaves import Head, Leaves, fits
from edge_agent.integrity.tree import Frontier
from edge_agent.store import outbox, retention, tree
from edge_agent.store.database import FILE_NAME, schema_steps
from edge_agent.store.events import Row, last_pos
from edge_agent.store.tree import STORED_LEVELS, HeadRow, State
from gatelink.errors import GatelinkError
from tools.verify.faults import Report, ranges


class Delivered(NamedTuple):
    """A head that the office has acknowledged."""

    number: int
    size: int
    root: bytes


def check(config: Config, report: Report, key: str | None = None) -> list[Delivered]:
    """Everything of this edge; what the office must have. key: the fingerprint that its heads' key must have."""
    path = config.data_dir / FILE_NAME
    try:
        db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        db.set_busy_timeout(5_000)
        version = db.pragma("user_version")
    except apsw.Error:
        version = None
    if version != len(schema_steps()):
        report.unable = (
            f"{FILE_NAME} 无法打开，或其版本不是 {len(schema_steps())}（先用本程序启动一次边缘代理）",
            f"{FILE_NAME} is not there or not of version {len(schema_steps())}: start this program's agent once",
        )
        return []
    try:
        db.execute("BEGIN")
        return _EdgeCheck(db, config, report, key).run()
    finally:
        db.close()


class _EdgeCheck:
    def __init__(self, db: apsw.Connection, config: Config, report: Report, key: str | None) -> None:
        self._db = db
        self._config = config
        self._report = report
        self._key = key
        self._where: dict[str, Any] = {"site": config.site, "edge": config.edge}
        self._leaves = Leaves(config.site, config.edge)
        self._rows: list[int] = []  # positions whose row does not give the leaf
        self._hash_only = 0

    def run(self) -> list[Delivered]:
        heads = [HeadRow(*row) for row in self._db.execute("SELECT * FROM head ORDER BY number")]
        self._signatures(heads)
        try:
            state = tree.state(self._db)
        except StoreError:
            self._report.fault("tree_changed", **self._where)
            return []
        if heads and heads[-1].first_pos != state.first_pos <= heads[-1].first_pos + heads[-1].size - 1:
            self._report.fault("tree_changed", **self._where)
        self._tree(state, [head for head in heads if head.first_pos == state.first_pos])
        self._log(state)
        old = sum(head.first_pos != state.first_pos for head in heads)
        if old:
            self._report.note(
                f"{old:,} 个签名属于从备份恢复之前的树，只核对了签名",
                f"{old:,} heads are of a tree from before a restore: only their signatures were checked",
            )
        return [
            Delivered(head.number, head.size, head.root) for head in heads if head.delivered_ms is not None
        ]

    def _signatures(self, heads: list[HeadRow]) -> None:
        try:
            public = identity.load(self._config.data_dir).public
        except StoreError as error:
            public = b""
            self._report.note(f"无法读取边缘代理的密钥：{error}", f"the edge's key can't be read: {error}")
        expected = heads[0].number if heads else 0
        for head in heads:
            said = Head(
                self._config.site,
                self._config.edge,
                head.number,
                head.first_pos,
                head.size,
                head.root,
                head.time_ms,
            )
            if not fits(said, head.public, head.signature):
                self._report.fault("head_forged", **self._where, head=head.number)
            elif (public and head.public != public) or self._key not in (None, fingerprint(head.public)):
                self._report.fault("head_key", **self._where, head=head.number)
            if head.number != expected:
                self._report.fault("head_dropped", **self._where, head=expected, last_head=head.number - 1)
            expected = head.number + 1
        self._report.line(
            f"小区 {self._config.site}，边缘代理 {self._config.edge}：{len(heads):,} 个签名，"
            f"密钥 {fingerprint(public) if public else '–'}",
            f"site {self._config.site}, edge {self._config.edge}: {len(heads):,} heads,"
            f" key {fingerprint(public) if public else '–'}",
        )

    def _tree(self, state: State, heads: list[HeadRow]) -> None:
        """Two trees at once: over the stored leaves, and over the leaves that the rows give where a row is left."""
        stored, derived = Frontier(), Frontier()
        nodes: list[tuple[int, int, bytes]] = []
        waiting = list(heads)
        leaves = self._db.execute(
            "SELECT place, hash FROM tree_node WHERE place >= 0 AND place < ? ORDER BY place", (state.size,)
        )
        rows = self._between(state.first_pos, state.last_pos)
        first_kept = self._db.execute("SELECT min(pos) FROM log").get
        row = next(rows, None)
        proven = 0
        for index, (place, leaf) in enumerate(leaves):
            if place != index:
                self._report.fault("node_changed", **self._where, pos=state.first_pos + index)
                return
            pos = state.first_pos + index
            given = bytes(leaf)
            if row is not None and row.pos == pos:
                given = self._leaves.hash(row[:9] + row[10:])
                row = next(rows, None)
            elif isinstance(first_kept, int) and pos >= first_kept:
                given = self._leaves.gap(pos)
            else:
                self._hash_only += 1
            if given != leaf:
                self._rows.append(pos)
            stored.append(bytes(leaf), nodes, STORED_LEVELS)
            derived.append(given)
            if len(nodes) > STORED_LEVELS * 512:
                self._nodes(nodes)
            while waiting and waiting[0].size == stored.size:
                proven = max(proven, self._head(waiting.pop(0), stored, derived, state))
        self._nodes(nodes)
        if stored.size != state.size or stored.to_bytes() != state.frontier.to_bytes():
            self._report.fault("tree_changed", **self._where)
        for head in waiting:
            self._report.fault("head_shrunken", **self._where, head=head.number)
        code = "row_changed" if not self._leaf_fault else "leaf_changed"
        for first, last in ranges(self._rows):
            self._report.fault(self._named(first, code), **self._where, pos=first, last_pos=last)
        self._report.rows += stored.size
        self._report.line(
            f"日志行 {state.first_pos:,}..{state.last_pos:,} 在树中，签名至第 {state.first_pos + proven - 1:,} 行；"
            f"{self._hash_only:,} 行已按保留期删除，只剩散列",
            f"rows {state.first_pos:,}..{state.last_pos:,} are in the tree, signed up to row"
            f" {state.first_pos + proven - 1:,}; {self._hash_only:,} of them are pruned: their hashes alone are left",
        )

    _leaf_fault = False

    def _head(self, head: HeadRow, stored: Frontier, derived: Frontier, state: State) -> int:
        if stored.root() == head.root:
            return head.size
        if derived.root() == head.root:
            self._leaf_fault = True  # the rows are as they were signed, the hashes are not
            return head.size
        self._report.fault(
            "row_unlike",
            **self._where,
            head=head.number,
            pos=state.first_pos,
            last_pos=state.first_pos + head.size - 1,
        )
        return 0

    def _named(self, pos: int, code: str) -> str:
        there = self._db.execute("SELECT 1 FROM log WHERE pos = ?", (pos,)).fetchone()
        return code if there else "row_dropped"

    def _nodes(self, nodes: list[tuple[int, int, bytes]]) -> None:
        for level, index, hashed in nodes:
            if not level:
                continue
            found = self._db.execute(
                "SELECT hash FROM tree_node WHERE place = ?", (tree.place(level, index),)
            ).get
            if found != hashed:
                self._report.fault("node_changed", **self._where, detail=f"level {level}, {index}")
        nodes.clear()

    def _between(self, first: int, last: int) -> Any:
        for row in self._db.execute(
            "SELECT * FROM log WHERE pos BETWEEN ? AND ? ORDER BY pos", (first, last)
        ):
            yield Row(*row)

    def _log(self, state: State) -> None:
        """What no leaf covers: the rows that are not delivered yet, and columns that are not uploaded."""
        top = last_pos(self._db)
        waiting = held = 0
        for row in self._between(0, top):
            where = {**self._where, "device": row.device, "boot": row.boot, "pos": row.pos}
            held += row.last_seq - row.first_seq + 1
            waiting += row.pos > state.last_pos
            priority = 0
            if row.items:
                try:
                    found = runs.survey(row.items)
                except GatelinkError:
                    found = None
                if found is None or found.size != row.last_seq - row.first_seq + 1:
                    self._report.fault("items_changed", **where, first=row.first_seq, last=row.last_seq)
                    continue
                priority = found.priority
            if row.priority != priority:
                self._report.fault("priority_changed", **where)
        for name, lane in outbox.lanes(self._db).items():
            known = max(top, state.last_pos)
            if lane.cursor > known:
                self._report.fault("cursor_changed", **self._where, pos=lane.cursor, detail=name)
        # What retention has pruned is counted: rows taken out at the beginning do not look like that.
        self._report.events += held
        expected = retention.usage(self._db).held
        if held != expected:
            self._report.fault("count_changed", **self._where, detail=f"{held:,} / {expected:,}")
        if waiting:
            self._report.note(
                f"{waiting:,} 行尚未进入树（未投递，或晚于最近的签名）",
                f"{waiting:,} rows are not in the tree yet: not delivered, or since the last head",
            )
