# ruff: noqa: S608 - see below
"""Reads for the page and the API, on the reading connection.

Statements are put together from this file's own words alone; whatever came from outside is bound.
"""

from __future__ import annotations

import apsw

from tools.office import intervals
from tools.office.intervals import Span
from tools.office.store.base import Cursor, DeviceState, Finding, LogFinding, LogState, Page, StoredEvent
from tools.office.store.logs import last_head

MAX_GAPS = 64
MAX_FINDINGS = 64
MAX_LOST = 10_000

_COLUMNS = (
    "site.id, device, seq, boot, kind, uptime_cs, t_lo_ms, t_hi_ms, received_ms, payload,"
    " coalesce(best_lo_ms, t_lo_ms), coalesce(best_hi_ms, t_hi_ms)"
)
_TIME = "coalesce(best_hi_ms, t_hi_ms)"


def devices(db: apsw.Connection, site: str | None, device: int | None) -> list[DeviceState]:
    """base.Store.devices"""
    rows = list(
        db.execute(
            "SELECT site.key, site.id, device, edge, role, name, firmware, battery_mv, last_contact_ms, checked_to"
            " FROM device JOIN site ON site.key = device.site"
            " WHERE (?1 IS NULL OR site.id = ?1) AND (?2 IS NULL OR device = ?2) ORDER BY site.id, device",
            (site, device),
        )
    )
    return [_device(db, *row) for row in rows]


def _device(
    db: apsw.Connection,
    key: int,
    site: str,
    device: int,
    edge: str,
    role: int | None,
    name: str,
    firmware: str | None,
    battery_mv: int | None,
    last_contact_ms: int | None,
    checked_to: int,
) -> DeviceState:
    where = " WHERE site = ? AND device = ?"
    spans = list(db.execute(f"SELECT first, last FROM span{where} ORDER BY first", (key, device)))
    findings = [
        Finding(*row)
        for row in db.execute(
            f"SELECT first, last, reason FROM finding{where} ORDER BY first LIMIT {MAX_FINDINGS}", (key, device)
        )
    ]
    return DeviceState(
        site=site,
        device=device,
        edge=edge,
        role=role,
        name=name,
        firmware=firmware,
        battery_mv=battery_mv,
        last_contact_ms=last_contact_ms,
        stored=spans[-1][1] if spans else 0,
        complete_to=intervals.complete_to(spans),
        missing=intervals.missing(spans, MAX_GAPS),
        lost=_lost(db, key, device),
        conflicts=int(db.execute(f"SELECT count(*) FROM conflict{where}", (key, device)).get),
        checked_to=checked_to,
        verified_to=min([checked_to, *(finding.first - 1 for finding in findings)]),
        findings=findings,
    )


def _lost(db: apsw.Connection, key: int, device: int) -> list[Span]:
    """What was declared lost, without what came all the same."""
    declared: list[Span] = []
    for first, last in db.execute("SELECT first, last FROM loss WHERE site = ? AND device = ?", (key, device)):
        intervals.add(declared, first, last)
    lost: list[Span] = []
    for first, last in declared:
        came = db.execute(
            "SELECT DISTINCT seq FROM event WHERE site = ? AND device = ? AND seq BETWEEN ? AND ? ORDER BY seq LIMIT ?",
            (key, device, first, last, MAX_LOST),
        )
        for (seq,) in came:
            if seq > first:
                lost.append((first, seq - 1))
            first = seq + 1
        if first <= last:
            lost.append((first, last))
    return lost


def events(
    db: apsw.Connection, site: str | None, device: int | None, kinds: tuple[int, ...], before: Cursor | None, limit: int
) -> Page:
    """base.Store.events; one device's events go by its own order, those of several by time."""
    where: list[str] = []
    values: list[object] = []
    if site is not None:
        where.append("site = (SELECT key FROM site WHERE id = ?)")
        values.append(site)
    if device is not None:
        where.append("device = ?")
        values.append(device)
    if kinds:
        where.append(f"kind IN ({','.join('?' * len(kinds))})")
        values.extend(kinds)
    if site is not None and device is not None:
        source, order = "event", "seq DESC, boot DESC"
        columns: tuple[str, ...] = ("seq", "boot")
    else:
        source, order = "event INDEXED BY event_by_time", f"{_TIME} DESC, site DESC, device DESC, seq DESC, boot DESC"
        columns = (_TIME, "site", "device", "seq", "boot")
    if before is not None:
        where.append(f"({', '.join(columns)}) < ({','.join('?' * len(columns))})")
        values.extend(before[-len(columns) :])
    hits = f"SELECT site, device, seq, boot FROM {source}" + (" WHERE " + " AND ".join(where) if where else "")
    rows = list(
        db.execute(
            f"WITH hit AS MATERIALIZED ({hits} ORDER BY {order} LIMIT {limit + 1})"
            f" SELECT event.site, {_COLUMNS}"
            f" FROM hit JOIN event USING (site, device, seq, boot) JOIN site ON site.key = event.site"
            f" ORDER BY {order.replace('site', 'event.site')}",
            values,
        )
    )
    shown = rows[:limit]
    older = None
    if len(rows) > limit:
        key, _, number, seq, boot, *_, best_hi_ms = shown[-1]
        older = Cursor(best_hi_ms, key, number, seq, boot)
    return Page([StoredEvent(*row[1:]) for row in shown], older)


def history(db: apsw.Connection, site: str, device: int, after_seq: int, limit: int) -> list[StoredEvent]:
    """base.Store.history"""
    return [
        StoredEvent(*row)
        for row in db.execute(
            f"SELECT {_COLUMNS} FROM event JOIN site ON site.key = event.site"
            " WHERE site.id = ? AND device = ? AND seq > ? ORDER BY seq, boot LIMIT ?",
            (site, device, after_seq, limit),
        )
    ]


def logs(db: apsw.Connection, site: str | None) -> list[LogState]:
    """base.Store.logs"""
    states: list[LogState] = []
    for key, site_id, edge, checked in list(
        db.execute(
            "SELECT edge_log.key, site.id, edge, head FROM edge_log JOIN site ON site.key = site"
            " WHERE ?1 IS NULL OR site.id = ?1 ORDER BY site.id, edge",
            (site,),
        )
    ):
        head = last_head(db, key)
        last_pos = db.execute("SELECT max(pos) FROM log_row WHERE log = ?", (key,)).get
        findings = db.execute(
            f"SELECT reason, first, last FROM log_finding WHERE log = ? ORDER BY first, reason LIMIT {MAX_FINDINGS}",
            (key,),
        )
        states.append(
            LogState(
                site=site_id,
                edge=edge,
                last_pos=last_pos or 0,
                head=head.number if head else 0,
                signed_pos=head.last_pos if head else 0,
                head_ms=head.time_ms if head else None,
                public=head.public if head else None,
                checked=head is None or head.id <= checked,
                findings=[LogFinding(*row) for row in findings],
            )
        )
    return states
