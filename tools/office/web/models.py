"""The shapes of the JSON that the office gives; OpenAPI is made from them. Times are ms since 1970, UTC."""

from __future__ import annotations

from pydantic import BaseModel, Field


class ErrorText(BaseModel):
    """What is wrong, where, and what would be right."""

    field: str
    message: str


class ErrorAnswer(BaseModel):
    """Every refusal."""

    error: ErrorText


class DeviceReceipt(BaseModel):
    """Nothing is missing up to complete_to; `missing` are the gaps above it, [first, last], at most 64."""

    complete_to: int
    missing: list[tuple[int, int]]


class Receipt(BaseModel):
    """The lane's rows are on the office's disk up to `through`."""

    v: int
    lane: str
    through: int
    devices: dict[str, DeviceReceipt]


class HeadAnswer(BaseModel):
    """What became of a head: taken, known, named (it contradicts: findings), prove (from that size, please)."""

    v: int
    state: str
    number: int = Field(description="of the newest head that is held, 0 for none")
    size: int = Field(description="rows that it covers")
    findings: list[str]


class LogFindingAnswer(BaseModel):
    """Positions of an edge's log. reason: again, forked, shrunken, absent, unlike, forged or other_key."""

    reason: str
    first: int
    last: int


class LogAnswer(BaseModel):
    """An edge's log, as far as it came and as far as it is signed."""

    site: str
    edge: str
    last_pos: int
    signed_pos: int = Field(description="the newest head covers the rows up to here")
    head: int = Field(description="number of the newest head, 0 for none")
    head_ms: int | None
    key: str | None = Field(description="fingerprint of the key that signed it")
    checked: bool = Field(description="whether every head was compared with the rows that came")
    findings: list[LogFindingAnswer]


class FindingAnswer(BaseModel):
    """Events that the chain does not prove. reason: misfit, unproven or double."""

    first: int
    last: int
    reason: str


class DeviceAnswer(BaseModel):
    """One device and its proof of completeness."""

    site: str
    device: int
    name: str
    role: int | None = Field(description="1 tag, 2 barrier")
    firmware: str | None
    edge: str
    battery_mv: int | None
    last_contact_ms: int | None
    stored: int = Field(description="highest sequence number that is accounted for")
    complete_to: int
    missing: list[tuple[int, int]]
    lost: list[tuple[int, int]] = Field(description="declared by the device to be gone from its journal")
    conflicts: int = Field(description="events that came again with another content; the first content stands")
    chain_key: bool = Field(description="whether the office holds the device's event key")
    verified_to: int = Field(description="the event chain fits up to here without a finding")
    checked_to: int = Field(description="the event chain was followed up to here")
    findings: list[FindingAnswer]


class SiteAnswer(BaseModel):
    """One site."""

    id: str
    name_zh: str
    name_en: str
    devices: int
    complete: bool = Field(description="whether nothing is missing from any of its devices")


class Words(BaseModel):
    """The same in both languages."""

    zh: str
    en: str


class EventAnswer(BaseModel):
    """One event; it happened between t_lo_ms (0: not known) and t_hi_ms (2^48-1: not known), as is known by now."""

    site: str
    device: int
    boot: int
    seq: int
    kind: int
    kind_name: Words
    text: Words
    t_lo_ms: int
    t_hi_ms: int
    first_lo_ms: int = Field(description="t_lo_ms as it was said first; that never changes")
    first_hi_ms: int = Field(description="t_hi_ms as it was said first")
    uptime_cs: int
    received_ms: int
    payload: str = Field(description="the bytes that the device signed, in hexadecimal digits")


class EventsAnswer(BaseModel):
    """One page of events, latest first; give `older` as `before` to go on, null at the end."""

    events: list[EventAnswer]
    older: str | None


class HistoryAnswer(BaseModel):
    """Events of one device in its own order; `next_after` goes on, null at the end."""

    events: list[EventAnswer]
    next_after: int | None


class Nonce(BaseModel):
    """What an edge has to sign its next request with."""

    v: int
    nonce: str


class Enrolled(BaseModel):
    """An edge may send by its key from now on."""

    v: int
    site: str
    edge: str
    enrolled_ms: int


class EdgeAnswer(BaseModel):
    """An edge with a key of its own."""

    site: str
    edge: str
    key: str = Field(description="fingerprint of its public key")
    enrolled_ms: int
    revoked_ms: int | None
    seen_ms: int | None = Field(description="its last batch")


class StepAnswer(BaseModel):
    """What was done with an edge's key. what: code, enrolled, replaced or revoked."""

    site: str
    edge: str
    what: str
    key: str | None
    source: str
    at_ms: int


class AlarmAnswer(BaseModel):
    """Wrong tries that had to wait. kind: login, token, code, edge or code_used."""

    kind: str
    source: str
    tries: int
    first_ms: int
    last_ms: int


class EdgesAnswer(BaseModel):
    """The edges, what was done with their keys (latest first), wrong tries of the last 30 days."""

    edges: list[EdgeAnswer]
    steps: list[StepAnswer]
    alarms: list[AlarmAnswer]


class Health(BaseModel):
    """The server answers."""

    ok: bool
    now_ms: int
