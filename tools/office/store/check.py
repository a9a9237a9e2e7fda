"""Follows a device's event chain through the tables and writes down what it finds. Within the writer's transaction."""

from __future__ import annotations

from itertools import groupby

import apsw

from tools.office import intervals
from tools.office.chain import START, Chain, Signed
from tools.office.intervals import Span
from tools.office.store.base import MISFIT, UNPROVEN


def spans(db: apsw.Connection, site: int, device: int) -> list[Span]:
    """What is accounted for."""
    return list(
        db.execute("SELECT first, last FROM span WHERE site = ? AND device = ? ORDER BY first", (site, device))
    )


def found(db: apsw.Connection, site: int, device: int, findings: list[tuple[int, int, int]], now_ms: int) -> None:
    """Write findings (first, last, reason) down; the first time counts."""
    db.executemany(
        "INSERT OR IGNORE INTO finding VALUES (?,?,?,?,?,?)",
        [(site, device, first, last, reason, now_ms) for first, last, reason in findings],
    )


def rewind(db: apsw.Connection, site: int, device: int, seq: int) -> None:
    """A chain value for `seq` came: where the check is past it already, it starts again from the value before."""
    checked_to = db.execute("SELECT checked_to FROM device WHERE site = ? AND device = ?", (site, device)).get
    if checked_to < seq:
        return
    base = db.execute(
        "SELECT seq, mac8 FROM proof WHERE site = ? AND device = ? AND seq < ? ORDER BY seq DESC LIMIT 1",
        (site, device, seq),
    ).fetchone()
    _set(db, site, device, *(base or (0, START)))


def follow(db: apsw.Connection, site: int, device: int, chain: Chain, now_ms: int, limit: int) -> bool:
    """Follow the chain over about `limit` events more; True when there is more to do at once."""
    at, mac8 = db.execute(
        "SELECT checked_to, checked_mac FROM device WHERE site = ? AND device = ?", (site, device)
    ).get
    end = intervals.covering_end(spans(db, site, device), at + 1)
    proofs = _proofs(db, site, device, at, end, limit)
    if not proofs:
        return False
    events: list[Signed] = list(
        db.execute(
            "SELECT seq, boot, uptime_cs, payload FROM event"
            " WHERE site = ? AND device = ? AND seq > ? AND seq <= ? ORDER BY seq, boot",
            (site, device, at, proofs[-1][0]),
        )
    )
    findings: list[tuple[int, int, int]] = []
    begin = 0
    for seq, group in groupby(proofs, key=lambda proof: proof[0]):
        claims = {claim: source for _, claim, source in group}
        stop = begin
        while stop < len(events) and events[stop][0] <= seq:
            stop += 1
        part = events[begin:stop]
        begin = stop
        claimed = max(claims, key=lambda claim: claims[claim])  # a value given beside a loss goes before
        if len(part) == seq - at == len({event[0] for event in part}):
            computed = chain.follow(mac8, part)
            if claims.keys() - {computed}:
                findings.append((at + 1, seq, MISFIT))
            mac8 = computed if computed in claims else claimed
        else:
            if part:
                findings.append((part[0][0], part[-1][0], UNPROVEN))
            mac8 = claimed
        at = seq
    found(db, site, device, findings, now_ms)
    _set(db, site, device, at, mac8)
    return bool(_proofs(db, site, device, at, end, 1))


def unfinished(db: apsw.Connection) -> list[tuple[int, int]]:
    """(site, device) with a chain value above what was checked."""
    return list(
        db.execute(
            "SELECT site, device FROM device WHERE EXISTS (SELECT 1 FROM proof WHERE proof.site = device.site"
            " AND proof.device = device.device AND proof.seq > device.checked_to)"
        )
    )


def _set(db: apsw.Connection, site: int, device: int, checked_to: int, checked_mac: bytes) -> None:
    db.execute(
        "UPDATE device SET checked_to = ?, checked_mac = ? WHERE site = ? AND device = ?",
        (checked_to, checked_mac, site, device),
    )


def _proofs(
    db: apsw.Connection, site: int, device: int, at: int, end: int, limit: int
) -> list[tuple[int, bytes, int]]:
    """The chain values (seq, mac8, source) of the next `limit` events, or the next one, however far it is."""
    if end <= at:
        return []
    select = "SELECT seq, mac8, source FROM proof WHERE site = ? AND device = ? AND seq > ? AND seq <= ? ORDER BY seq"
    near = list(db.execute(select, (site, device, at, min(end, at + limit))))
    if near:
        return near
    one = db.execute(select + " LIMIT 1", (site, device, at, end)).fetchone()
    return list(db.execute(select, (site, device, at, one[0]))) if one else []


