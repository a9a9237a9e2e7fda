"""Layer: which session a frame belongs to; and the answers after a commit."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter

from edge_agent.clock import Clock
from edge_agent.counters import Rejects
from edge_agent.link import Session
from edge_agent.planning import Plan
from edge_agent.transports.port import Address, Port
from gatelink import cose, reasons
from gatelink.errors import FrameError

_kid = itemgetter(slice(8, 12))


def _by_kid(frames: list[bytes]) -> Iterable[tuple[bytes, list[bytes]]]:
    """Neighbours that claim to come from one device; nearly always all of them."""
    kids = list(map(_kid, frames))
    if kids.count(kids[0]) == len(kids):
        return ((kids[0], frames),)
    return ((kid, list(group)) for kid, group in groupby(frames, _kid))


class Switchboard:
    """Frames of all ports -> sessions by device number; strangers are counted and have no effect."""

    def __init__(self, clock: Clock, rejects: Rejects) -> None:
        self._clock = clock
        self._rejects = rejects
        self.sessions: dict[int, Session] = {}
        self._by_kid: dict[bytes, Session] = {}
        self.revoked: set[int] = set()

    def add(self, session: Session) -> None:
        """From now on this device is known."""
        self.sessions[session.device] = session
        self._by_kid[session.device.to_bytes(4, "big")] = session

    def revoke(self, device: int) -> None:
        """This device's key was dropped: its frames are counted and not looked into."""
        self.revoked.add(device)
        self.sessions.pop(device, None)
        self._by_kid.pop(device.to_bytes(4, "big"), None)

    def frames(self, port: Port, address: Address, frames: list[bytes]) -> None:
        """Frames of one port, as they came in."""
        self._clock.look()
        now_ms = self._clock.now_ms()
        # Only a guess from where the device number stands in a good frame; the session checks the whole header.
        for kid, group in _by_kid(frames):
            session = self._by_kid.get(kid)
            if session is not None:
                session.receive(port, address, group, now_ms)
            else:
                for frame in group:
                    self._strange(port, frame)

    def _strange(self, port: Port, frame: bytes) -> None:
        try:
            device, _ = cose.peek(frame)
        except FrameError as error:
            self._rejects.add(error.reason, port.name)
        else:
            if device in self.revoked:
                self._rejects.add(reasons.REVOKED, port.name, device)
                return
            self._rejects.add(reasons.UNKNOWN_DEVICE, port.name)
            self._rejects.stranger(device)

    def refused(self, port: Port, reason: str, count: int) -> None:
        """A port could not make frames of what came in."""
        self._rejects.add(reason, port.name, None, count)

    def committed(self, plan: Plan) -> None:
        """A transaction is durable: one answer per device, however many frames it sent."""
        for device, ledger in plan.ledgers.items():
            session = self.sessions.get(device)
            if session is not None:
                session.committed(ledger, hello=plan.hellos.get(device), answer=device in plan.answered)

    def check_silence(self, offline_after_ms: int) -> None:
        """Finds devices that went silent."""
        self._clock.look()
        steady_ms = self._clock.uptime_ms()
        for session in self.sessions.values():
            session.check_silence(steady_ms, offline_after_ms)
