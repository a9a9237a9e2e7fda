"""A device's chain, followed from the stored events with its event key, whatever verdict was stored before."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, pairwise
from typing import NamedTuple

import apsw

from tools.office.chain import START, Chain, Signed
from tools.office.intervals import Span

Claim = tuple[int, bytes, int]  # seq, mac8, source


class Found(NamedTuple):
    """What the chain says: proven to; intervals that misfit, that no value covers, numbers under two boots.

    values: the chain value at each claim, as the check went on from it.
    """

    proven_to: int
    misfits: list[Span]
    unproven: list[Span]
    doubles: list[int]
    values: dict[int, bytes]


def follow(db: apsw.Connection, site_key: int, device: int, chain: Chain, claims: list[Claim]) -> Found:
    """As store/check.py does it behind the receipts, over everything at once."""
    misfits: list[Span] = []
    unproven: list[Span] = []
    doubles: list[int] = []
    values: dict[int, bytes] = {}
    stored = _events(db, site_key, device)
    waiting: Signed | None = next(stored, None)
    at, mac8 = 0, START
    for seq, group in groupby(sorted(claims), key=lambda claim: claim[0]):
        said = {claim: source for _, claim, source in group}
        part: list[Signed] = []
        while waiting is not None and waiting[0] <= seq:
            part.append(waiting)
            waiting = next(stored, None)
        numbers = {event[0] for event in part}
        if len(numbers) < len(part):
            doubles += sorted({one[0] for one, two in pairwise(part) if one[0] == two[0]})
        claimed = max(said, key=lambda claim: said[claim])  # a value given beside a loss goes before
        if len(part) == seq - at == len(numbers):
            computed = chain.follow(mac8, part)
            if said.keys() - {computed}:
                misfits.append((at + 1, seq))
            mac8 = computed if computed in said else claimed
        else:
            if part:
                unproven.append((part[0][0], part[-1][0]))
            mac8 = claimed
        at = seq
        values[at] = mac8
    return Found(at, misfits, unproven, doubles, values)


def _events(db: apsw.Connection, site_key: int, device: int) -> Iterator[Signed]:
    yield from db.execute(
        "SELECT seq, boot, uptime_cs, payload FROM event WHERE site = ? AND device = ? ORDER BY seq, boot",
        (site_key, device),
    )
