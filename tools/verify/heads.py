"""The signed heads of an edge's log: signatures, numbers, whether each goes on from the one before, and their roots."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

from edge_agent.identity import fingerprint
from edge_agent.integrity.leaves import fits
from edge_agent.integrity.tree import Frontier
from tools.office.store.logs import BY_BRANCH, LATEST, StoredHead
from tools.verify.faults import Report, ranges

STEP = 10_000  # leaves that are in memory at once

# (first, last position, branch, attempt) -> leaf of each position that has one
Choose = Callable[[int, int, int, int], dict[int, bytes]]


class Signed(NamedTuple):
    """What the heads say: rows up to `through` are signed by `last`; keys by fingerprint."""

    through: int
    last: StoredHead | None
    keys: set[str]
    findings: set[str]  # codes of what contradicts


def check(
    report: Report,
    site: str,
    edge: str,
    heads: list[StoredHead],
    keys: set[bytes],
    choose: Choose,
    gap: Callable[[int], bytes],
) -> Signed:
    """All heads of one log, in the order in which they came. keys: those that may speak for this edge."""
    where = {"site": site, "edge": edge}
    codes: set[str] = set()

    def fault(code: str, **more: int) -> None:
        codes.add(code)
        report.fault(code, **where, **more)

    good: list[StoredHead] = []
    for head in heads:
        if not fits(head.head(site, edge), head.public, head.signature):
            fault("head_forged", head=head.number)
        elif head.public not in keys:
            fault("head_key", head=head.number)
        else:
            good.append(head)
    for before, head in pairwise(good):
        if head.first_pos != before.first_pos:
            restarted = head.first_pos > before.last_pos
            fault("head_restarted" if restarted else "head_forked", head=head.number)
        elif head.size < before.size:
            fault("head_shrunken", head=head.number, pos=head.last_pos + 1, last_pos=before.last_pos)
        elif head.branch != before.branch or (head.size == before.size and head.root != before.root):
            fault("head_forked", head=head.number)  # its proof did not lead on from the one before
    for first, last in _missing_numbers(heads):
        fault("head_dropped", head=first, last_head=last)
    through, last_good = _roots(good, choose, gap, fault)
    return Signed(through, last_good, {fingerprint(key) for key in keys}, codes)


def _missing_numbers(heads: list[StoredHead]) -> list[tuple[int, int]]:
    """Numbers are given one by one; a restored edge gives some of them again."""
    missing: list[int] = []
    expected = 1
    for head in heads:
        missing += range(expected, min(head.number, expected + 10_000))
        expected = head.number + 1
    return ranges(missing)


def _roots(
    heads: list[StoredHead],
    choose: Choose,
    gap: Callable[[int], bytes],
    fault: Callable[..., None],
) -> tuple[int, StoredHead | None]:
    """Compares every root with the rows; (last position that is so proven, its head)."""
    base = Frontier()
    of: tuple[int, int] | None = None  # first position and branch of the tree that `base` is of
    lost = False
    through, last = 0, None
    for head in heads:
        if (head.first_pos, head.branch) != of or head.size < base.size:
            base, of, lost = Frontier(), (head.first_pos, head.branch), False
        if lost:
            # What came before can't be told; a head whose subtrees were kept makes a new start.
            if head.frontier is not None:
                kept = _kept(head)
                if kept is not None:
                    base, lost = kept, False
            continue
        found, absent = _grow(head, base, choose, gap)
        if found is None:
            for first, end in absent:
                fault("row_dropped", pos=first, last_pos=end)
            first_pos = head.first_pos + min(base.size, max(head.size - 1, 0))
            fault("row_unlike", pos=first_pos, last_pos=head.last_pos, head=head.number)
            kept = _kept(head)
            lost = kept is None
            base = kept or base
            continue
        for first, end in absent:
            fault("row_gap", pos=first, last_pos=end)
        base = found
        through, last = head.last_pos, head
    return through, last


def _kept(head: StoredHead) -> Frontier | None:
    try:
        found = Frontier.from_bytes(head.size, head.frontier or b"")
    except ValueError:
        return None
    return found if found.root() == head.root else None


def _grow(
    head: StoredHead, base: Frontier, choose: Choose, gap: Callable[[int], bytes]
) -> tuple[Frontier | None, list[tuple[int, int]]]:
    """The tree of this head from the rows, None if no choice of them gives its root; positions without a row."""
    absent: list[tuple[int, int]] = []
    for attempt in range(BY_BRANCH, LATEST + 1):
        frontier = base.copy()
        missing: list[int] = []
        while frontier.size < head.size:
            first = head.first_pos + frontier.size
            last = min(first + STEP - 1, head.last_pos)
            leaves = choose(first, last, head.branch, attempt)
            if not leaves and last - first + 1 == STEP:
                return None, [
                    *ranges(missing),
                    (first, head.last_pos),
                ]  # nobody goes over 2^60 of them one by one
            for pos in range(first, last + 1):
                leaf = leaves.get(pos)
                if leaf is None:
                    missing.append(pos)
                    leaf = gap(pos)
                frontier.append(leaf)
        absent = ranges(missing)
        if frontier.root() == head.root:
            return frontier, absent
    return None, absent
