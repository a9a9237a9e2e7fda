"""Layer: which tag is in which dock, how far it is, and that it may be taken; says so once per stay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

from edge_agent import logs, own_events
from edge_agent.clock import Clock
from edge_agent.link import Session
from edge_agent.transports.docks import Dock, Docks
from edge_agent.transports.port import Port
from edge_agent.web import words

WAITING, STRANGER, SYNCING, RELEASED, PROBLEM, EMPTY = (
    "waiting", "stranger", "syncing", "released", "problem", "empty",
)  # fmt: skip
MAX_NAME = 20  # bytes of a dock's name that an event has room for
AWAY_MS = 150_000  # a tag in a dock says something each minute; silent for longer it is no longer there
_log = logs.Log("docks")


class Stay(NamedTuple):
    """One device in one dock. since_seq: what the edge had when it came."""

    device: int
    since_seq: int
    released: bool


class Docking:
    """record: an event of the edge."""

    def __init__(
        self, sessions: Mapping[int, Session], record: Callable[[bytes], None], clock: Clock
    ) -> None:
        self._sessions = sessions
        self._record = record
        self._clock = clock
        self._stays: dict[Dock, Stay] = {}
        self._upto: dict[int, int] = {}  # device -> what the edge had when its last stay ended

    def follow(self, ports: Iterable[Port]) -> None:
        """The docks among these are looked after from now on."""
        for port in ports:
            if not isinstance(port, Docks):
                continue
            port.known = self._sessions.__contains__
            port.on_look = self.look
            port.on_heard = self.heard
            port.on_lost = self._end
            port.on_problem = _said
            port.tell = partial(self.describe, port)

    def heard(self, dock: Dock, device: int) -> None:
        """Frames that named a device came in there."""
        session = self._sessions.get(device)
        if session is None or session.port is not dock:
            return  # they were not authentic
        stay = self._stays.get(dock)
        if stay is None or stay.device != device:
            self._end(dock)
            since = max(session.port_since_seq, self._upto.get(device, 0))
            stay = self._stays[dock] = Stay(device, since, released=False)
        elif session.acked_seq < stay.since_seq:  # its journal was replaced: what it brings now counts from there
            stay = self._stays[dock] = stay._replace(since_seq=session.acked_seq)
        self._release(dock, stay, session)

    def look(self) -> None:
        """Releases what is done, and ends stays of which nothing is heard any more."""
        for dock, stay in list(self._stays.items()):
            session = self._here(dock)
            if session is None:
                self._end(dock)
            else:
                self._release(dock, stay, session)

    def _here(self, dock: Dock) -> Session | None:
        stay = self._stays.get(dock)
        session = self._sessions.get(stay.device) if stay is not None else None
        if session is None or session.port is not dock or self._clock.uptime_ms() - session.heard_ms > AWAY_MS:
            return None
        return session

    def _end(self, dock: Dock) -> None:
        stay = self._stays.get(dock)
        if stay is None:
            return
        session = self._sessions.get(stay.device)
        if session is not None:
            self._release(dock, stay, session)  # it may have been taken out the moment its light was green
            self._upto[stay.device] = session.acked_seq
        del self._stays[dock]

    def _release(self, dock: Dock, stay: Stay, session: Session) -> None:
        if stay.released or not self._done(session):
            return
        self._stays[dock] = stay._replace(released=True)
        name = dock.label.encode()[-MAX_NAME:].decode(errors="ignore")
        # A hello may have moved the watermark back just now: nothing of that was taken here.
        taken = max(session.acked_seq - stay.since_seq, 0)
        _log.info("released", dock=dock.label, device=session.device, events=taken)
        self._record(own_events.own(own_events.DOCKED, session.device, name, taken))

    def _done(self, session: Session) -> bool:
        """The edge has everything, and the device's clock by its anchor (unless there is no time to be had here)."""
        newest = session.newest_seq
        if newest is None or session.acked_seq < newest or session.gaps or not session.online:
            return False
        return session.moments.book.anchored(session.boot) or self._clock.error_ms is None

    def describe(self, docks: Docks) -> list[dict[str, Any]]:
        """Every dock for the status, those that were there before as empty."""
        found = [self._dock(dock, self._here(dock)) for dock in docks.docks.values()]
        return found + [_shown(label, EMPTY) for label in docks.empty]

    def _dock(self, dock: Dock, session: Session | None) -> dict[str, Any]:
        if not dock.up:
            return _shown(dock.label, PROBLEM if dock.problem else WAITING, problem=dock.problem)
        if session is None:
            if dock.stranger is None:
                return _shown(dock.label, WAITING)
            return _shown(dock.label, STRANGER, device=dock.stranger, name=str(dock.stranger))
        to_go = max((session.newest_seq or 0) - session.acked_seq, 0)
        return _shown(
            dock.label,
            RELEASED if self._done(session) else SYNCING,
            device=session.device,
            name=session.config.name or str(session.device),
            to_go=to_go,
        )


def _said(dock: Dock) -> None:
    _log.info("dock not to be used", dock=dock.label, why=dock.problem)


def _shown(
    label: str, state: str, *, device: int | None = None, name: str = "", to_go: int = 0, problem: str = ""
) -> dict[str, Any]:
    return {
        "dock": label,
        "state": state,
        "device": device,
        "to_go": to_go,
        "problem": problem,
        "words": words.dock(state, name, to_go, problem),
    }
