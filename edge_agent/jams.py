"""Layer: says it, as an alarm, when somebody keeps a bus busy so that no device gets through; and when that is over."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from edge_agent import logs, own_events
from edge_agent.transports.port import Port

_log = logs.Log("bus")


class Jams:
    """record: an event of the edge."""

    def __init__(self, ports: Iterable[Port], record: Callable[[bytes], None]) -> None:
        self._ports = ports
        self._record = record
        self._jammed: set[str] = set()

    def look(self) -> None:
        """Call it each second or so."""
        for port in self._ports:
            if port.jammed == (port.name in self._jammed):
                continue
            self._jammed ^= {port.name}
            _log.warning("bus jammed" if port.jammed else "bus quiet again", port=port.name)
            kind = own_events.BUS_JAMMED if port.jammed else own_events.BUS_QUIET
            self._record(own_events.own(kind, port.name))
