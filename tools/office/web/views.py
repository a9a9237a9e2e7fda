"""What pages and API say of devices and events, made of what the store holds. Pure but for the office's names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from edge_agent import event_words as words
from edge_agent.identity import fingerprint
from tools.office.errors import RequestError
from tools.office.intervals import Span
from tools.office.items import UNKNOWN_MS
from tools.office.service import Office
from tools.office.store.base import LOG_REASONS, Cursor, DeviceState, LogState, StoredEvent
from tools.office.web import models

REASONS = ("misfit", "unproven", "double")


def device_answer(office: Office, state: DeviceState) -> models.DeviceAnswer:
    """A device for the API."""
    return models.DeviceAnswer(
        site=state.site,
        device=state.device,
        name=office.device_name(state.site, state.device, state.name, "zh"),
        role=state.role,
        firmware=state.firmware,
        edge=state.edge,
        battery_mv=state.battery_mv,
        last_contact_ms=state.last_contact_ms,
        stored=state.stored,
        complete_to=state.complete_to,
        missing=state.missing,
        lost=state.lost,
        conflicts=state.conflicts,
        chain_key=office.has_key(state.site, state.device),
        verified_to=state.verified_to,
        checked_to=state.checked_to,
        findings=[
            models.FindingAnswer(first=found.first, last=found.last, reason=REASONS[found.reason])
            for found in state.findings
        ],
    )


def log_answer(state: LogState) -> models.LogAnswer:
    """An edge's log for the API."""
    return models.LogAnswer(
        site=state.site,
        edge=state.edge,
        last_pos=state.last_pos,
        signed_pos=state.signed_pos,
        head=state.head,
        head_ms=state.head_ms,
        key=fingerprint(state.public) if state.public else None,
        checked=state.checked,
        findings=[
            models.LogFindingAnswer(reason=LOG_REASONS[found.reason], first=found.first, last=found.last)
            for found in state.findings
        ],
    )


def event_answer(office: Office, event: StoredEvent) -> models.EventAnswer:
    """An event for the API."""
    return models.EventAnswer(
        site=event.site,
        device=event.device,
        boot=event.boot,
        seq=event.seq,
        kind=event.kind,
        kind_name=models.Words(zh=words.kind_name(event.kind, "zh"), en=words.kind_name(event.kind, "en")),
        text=models.Words(zh=event_text(office, event, "zh"), en=event_text(office, event, "en")),
        t_lo_ms=event.best_lo_ms,
        t_hi_ms=event.best_hi_ms,
        first_lo_ms=event.t_lo_ms,
        first_hi_ms=event.t_hi_ms,
        uptime_cs=event.uptime_cs,
        received_ms=event.received_ms,
        payload=event.payload.hex(),
    )


def event_text(office: Office, event: StoredEvent, language: str) -> str:
    """What an event tells beyond its kind."""
    return words.describe(
        event.kind, event.payload, language, lambda uid: office.card_name(event.site, uid, language)
    )


def cursor_text(cursor: Cursor | None) -> str | None:
    """A cursor as it stands in an address."""
    return None if cursor is None else "-".join(map(str, cursor))


def cursor_of(text: str | None) -> Cursor | None:
    """A cursor out of an address. Raises RequestError."""
    if not text:
        return None
    parts = text.split("-")
    if len(parts) != 5 or not all(part.isascii() and part.isdigit() and len(part) < 16 for part in parts):
        raise RequestError("before", "must be the `older` of an earlier answer")
    return Cursor(*map(int, parts))


def ranges(spans: list[Span], limit: int = 8) -> str:
    """Intervals for people: 4,813..4,820, 5,000"""
    shown = [f"{first:,}" if first == last else f"{first:,}..{last:,}" for first, last in spans[:limit]]
    return ", ".join(shown) + (" …" if len(spans) > limit else "")


def when(t_ms: int, offset_min: int) -> datetime | None:
    """A moment in the office's time; None when no calendar has it."""
    try:
        return datetime.fromtimestamp(t_ms / 1000, UTC).astimezone(timezone(timedelta(minutes=offset_min)))
    except (OverflowError, ValueError, OSError):
        return None


def moment(t_ms: int | None, offset_min: int) -> str:
    """Date and time to the second."""
    at = when(t_ms, offset_min) if t_ms else None
    return at.strftime("%Y-%m-%d %H:%M:%S") if at else "–"


def interval(event: StoredEvent, offset_min: int) -> tuple[str, str]:
    """When an event happened: (the middle to the second, how far off that may be)."""
    return _interval(event.best_lo_ms, event.best_hi_ms, offset_min)


def first_interval(event: StoredEvent, offset_min: int) -> str:
    """What was said of it first, where more is known by now; else ""."""
    if (event.t_lo_ms, event.t_hi_ms) == (event.best_lo_ms, event.best_hi_ms):
        return ""
    return " ".join(_interval(event.t_lo_ms, event.t_hi_ms, offset_min))


def _interval(low_ms: int, high_ms: int, offset_min: int) -> tuple[str, str]:
    if high_ms >= UNKNOWN_MS:
        return (moment(low_ms, offset_min), "≥") if low_ms else ("–", "?")
    if not low_ms:
        return moment(high_ms, offset_min), "≤"
    return moment((low_ms + high_ms) // 2, offset_min), "±" + span_text((high_ms - low_ms + 1) // 2)


def span_text(ms: int) -> str:
    """A length of time, short: 12 ms, 1.5 s, 3 min, 2 h, 4 d"""
    if ms < 1_000:
        return f"{ms} ms"
    for size, unit in ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min")):
        if ms >= 2 * size:
            return f"{ms // size} {unit}"
    return f"{ms / 1000:.1f} s"
