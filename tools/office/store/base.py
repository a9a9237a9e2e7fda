"""What the office asks of a database. Every backend passes tests/store_suite.py; nothing else may be relied on.

Calls block. `take` and `check` come from one thread, the writer's; all others may come from any one other thread.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from edge_agent.integrity.statement import FINDINGS, Answer
from tools.office.batch import Batch
from tools.office.chain import Chain
from tools.office.head import Statement
from tools.office.intervals import Span

MISFIT, UNPROVEN, DOUBLE = 0, 1, 2  # reasons of a finding
# reasons of a finding in an edge's log: a position came again with another content; a head contradicts an earlier one,
# covers less than an earlier one, covers rows that never came, has a root that the rows don't give; its signature does
# not fit; it was signed with another key than this edge's; the log goes on far away, as a restored store does; the edge
# itself states that it has no row there
AGAIN, FORKED, SHRUNKEN, ABSENT, UNLIKE, FORGED, OTHER_KEY, RESTARTED, GAP = range(9)
LOG_REASONS = FINDINGS


class Account(NamedTuple):
    """How complete a device is: nothing is missing up to complete_to; `missing` are the gaps above, oldest first."""

    complete_to: int
    missing: list[Span]


@dataclass(frozen=True)
class Taken:
    """What became of a batch: it is on the disk."""

    events: int
    added: int
    conflicts: int
    devices: dict[int, Account]


@dataclass(frozen=True)
class Finding:
    """An interval of events that the chain does not prove, and why (MISFIT, UNPROVEN, DOUBLE)."""

    first: int
    last: int
    reason: int


@dataclass(frozen=True)
class DeviceState:
    """Everything that is known of one device."""

    site: str
    device: int
    edge: str
    role: int | None
    name: str
    firmware: str | None
    battery_mv: int | None
    last_contact_ms: int | None
    stored: int  # highest sequence number accounted for
    complete_to: int
    missing: list[Span] = field(default_factory=list)
    lost: list[Span] = field(default_factory=list)
    conflicts: int = 0
    checked_to: int = 0
    verified_to: int = 0
    findings: list[Finding] = field(default_factory=list)


class LogFinding(NamedTuple):
    """Positions of an edge's log of which something contradicts, and what (AGAIN ... GAP)."""

    reason: int
    first: int
    last: int


class LogState(NamedTuple):
    """What is known of an edge's log: rows that came, its newest head (0 and None where there is none), findings."""

    site: str
    edge: str
    last_pos: int
    head: int
    signed_pos: int
    head_ms: int | None
    public: bytes | None
    checked: bool  # all heads were compared with the rows
    findings: list[LogFinding]


class StoredEvent(NamedTuple):
    """One event as it came."""

    site: str
    device: int
    seq: int
    boot: int
    kind: int
    uptime_cs: int
    t_lo_ms: int
    t_hi_ms: int
    received_ms: int
    payload: bytes
    best_lo_ms: int  # the best that is known by now; t_lo_ms and t_hi_ms are what was said first
    best_hi_ms: int


class Cursor(NamedTuple):
    """A place in the list of events by time: those before it come next."""

    t_hi_ms: int
    site_key: int
    device: int
    seq: int
    boot: int


class Page(NamedTuple):
    """One page of events, latest first; `older` continues it, None when this was the last."""

    events: list[StoredEvent]
    older: Cursor | None


class Edge(NamedTuple):
    """An edge that was enrolled; public_key: Ed25519, 32 bytes."""

    site: str
    edge: str
    public_key: bytes
    enrolled_ms: int
    revoked_ms: int | None
    seen_ms: int | None  # its last batch since then


class Code(NamedTuple):
    """A one-time code as the office keeps it; pin: what its line said of the certificate."""

    code_sha256: bytes
    pin: bytes
    expires_ms: int
    used_ms: int | None = None


class Redeemed(NamedTuple):
    """What became of a code that was shown: done, wrong, expired or used (by another key)."""

    outcome: str
    enrolled_ms: int = 0


class Step(NamedTuple):
    """One entry of the edges' history; what: code, enrolled, replaced, revoked."""

    site: str
    edge: str
    what: str
    public_key: bytes | None
    source: str
    at_ms: int


class Alarm(NamedTuple):
    """Wrong tries of one kind from one source that had to wait."""

    kind: str
    source: str
    tries: int
    first_ms: int
    last_ms: int


class Edges(Protocol):
    """Who may send by a key of its own. code, redeem, alarm, make_code, revoke: on the writer's thread."""

    def edge(self, site: str, edge: str) -> Edge | None:
        """One edge as it is now, whichever process changed it."""

    def edges(self) -> list[Edge]:
        """All, by site and id."""

    def steps(self, limit: int) -> list[Step]:
        """The history, latest first."""

    def alarms(self, since_ms: int, limit: int) -> list[Alarm]:
        """Alarms with a try since then, latest first."""

    def code(self, site_key: int, edge: str) -> Code | None:
        """The latest code made for an edge."""

    def redeem(
        self, site_key: int, edge: str, code_sha256: bytes, public_key: bytes, now_ms: int, source: str
    ) -> Redeemed:
        """Enrol an edge with this key if this is its code, unused and in time: one transaction, once."""

    def alarm(self, kind: str, source: str, tries: int, now_ms: int) -> None:
        """Add so many wrong tries to what is known of a source; sources are bounded."""

    def make_code(self, site_key: int, edge: str, code: Code, now_ms: int) -> None:
        """A new code; an earlier one of the same edge counts no longer."""

    def revoke(self, site_key: int, edge: str, now_ms: int) -> bool:
        """No batch of this edge comes in once this returned, and no code of it counts; False: there is no such edge."""


class Store(Protocol):
    """The narrow interface."""

    edges: Edges

    def site_key(self, site: str) -> int:
        """The number of a site, made when it is new."""

    def take(self, batch: Batch, stored_ms: int, public_key: bytes | None = None) -> Taken:
        """Store a batch in one transaction, on the disk when this returns. Raises StoreError: nothing was done.

        public_key: whose signature came with it. Raises RequestError when its edge may not send, or only signed, or
        when the site would have more than batch.MAX_DEVICES devices.
        """

    def check(self, site_key: int, device: int, chain: Chain, now_ms: int, limit: int) -> bool:
        """Follow a device's chain over about `limit` events more; True when there is more to do at once."""

    def take_head(self, site_key: int, said: Statement, now_ms: int, public_key: bytes | None = None) -> Answer:
        """Keep a signed head of an edge's log, and say what it contradicts; public_key as for take().

        Raises StoreError, RequestError: nothing was done.
        """

    def check_heads(self, now_ms: int, limit: int) -> bool:
        """Compare heads with about `limit` rows of a log more; True when there is more to do at once."""

    def logs(self, site: str | None = None) -> list[LogState]:
        """The edges' logs, by site and edge."""

    def unchecked(self) -> list[tuple[int, int]]:
        """(site key, device) whose chain may have more to follow, for the start."""

    def devices(self, site: str | None = None, device: int | None = None) -> list[DeviceState]:
        """The devices, by site and number."""

    def events(
        self, site: str | None, device: int | None, kinds: tuple[int, ...], before: Cursor | None, limit: int
    ) -> Page:
        """The latest events, optionally of one site, one device, some kinds, older than a cursor."""

    def history(self, site: str, device: int, after_seq: int, limit: int) -> list[StoredEvent]:
        """A device's events in its own order, beginning after a sequence number."""

    def close(self) -> None:
        """Let go of the database; nothing may be under way."""
