"""Layer: what the parts of the agent report -> its log and events of its own; decides nothing."""

from __future__ import annotations

from collections.abc import Callable

from edge_agent import own_events
from edge_agent.logs import Log
from edge_agent.planning import Notice, Plan
from edge_agent.store.outbox import Refused
from edge_agent.transports.port import Port


class Chronicle:
    """`record` takes the payload of an event of the edge itself."""

    def __init__(self, log: Log, record: Callable[[bytes], None]) -> None:
        self._log = log
        self._record = record
        self._up: dict[str, bool] = {}

    def noticed(self, plan: Plan) -> None:
        """What a commit found out about devices."""
        for notice, device, first, last in plan.notices:
            self._log.warning(notice, device=device, first=first, last=last)
            if notice == Notice.SEQ_RESTARTED:
                self._record(own_events.own(own_events.SEQ_RESTARTED, device, first))
            elif notice == Notice.NEVER_SEEN:
                self._record(own_events.own(own_events.NEVER_SEEN, device, first, last))
            elif notice == Notice.HELD_RAW:
                self._record(own_events.own(own_events.HELD_RAW, device, first))

    def port_up(self, port: Port, why: str) -> None:
        """A port is open."""
        self._port(port, why, up=True)

    def port_lost(self, port: Port, why: str) -> None:
        """A port is gone, or can't be opened."""
        self._port(port, why, up=False)

    def _port(self, port: Port, why: str, *, up: bool) -> None:
        before = self._up.get(port.name)
        self._up[port.name] = up
        self._log.info("port up" if up else "port lost", port=port.name, why=why)
        if before is not None and before != up:
            self._record(own_events.own(own_events.PORT, port.name, int(up)))

    def online(self, device: int) -> None:
        """A device was heard after silence."""
        self._log.info("device online", device=device)
        self._record(own_events.own(own_events.DEVICE, device, 1))

    def offline(self, device: int) -> None:
        """A device was silent for too long."""
        self._log.info("device offline", device=device)
        self._record(own_events.own(own_events.DEVICE, device, 0))

    def outage(self, error: str | None) -> None:
        """The office is not reached, or (None) is reached again."""
        if error is not None:
            self._log.warning("office not reached", error=error)
        else:
            self._log.info("office reached")

    def refused(self, row: Refused) -> None:
        """The office does not take a row."""
        self._log.error(
            "the office refuses a row: set aside, tried again daily", pos=row.pos, reason=row.reason
        )

    def guessing(self, source: str, tries: int) -> None:
        """Somebody tries secrets at the status address."""
        self._log.warning("wrong tokens at the status address", source=source, tries=tries)
        self._record(own_events.own(own_events.WRONG_TRIES, source, tries))
