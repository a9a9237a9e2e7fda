"""Layer: the running agent -> the JSON of GET /status."""

from __future__ import annotations

import asyncio
from typing import Any

import apsw

from edge_agent import enrolment
from edge_agent.clock import Clock
from edge_agent.config import Config
from edge_agent.counters import Rejects
from edge_agent.ingest import Ingest
from edge_agent.integrity.keeper import Keeper
from edge_agent.link import Session
from edge_agent.room import Room
from edge_agent.store import outbox
from edge_agent.store.database import Database
from edge_agent.store.outbox import Refused
from edge_agent.switchboard import Switchboard
from edge_agent.sync.uploader import Uploader
from edge_agent.transports.port import Port
from edge_agent.updates.courier import Courier
from edge_agent.web import words

# Lanes, when the oldest event that waits in them happened, messages kept as they came, refused rows and the first.
Stored = tuple[dict[str, outbox.Lane], int | None, int, tuple[int, Refused | None]]


class Reporter:
    """Reads what the parts count; the outbox is read over a connection of its own, off the loop."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        database: Database,
        switchboard: Switchboard,
        rejects: Rejects,
        ports: list[Port],
        ingest: Ingest,
        uploader: Uploader | None,
        courier: Courier,
        keeper: Keeper | None,
        room: Room,
    ) -> None:
        self._config = config
        self._clock = clock
        self._database = database
        self._switchboard = switchboard
        self._rejects = rejects
        self._ports = ports
        self._ingest = ingest
        self._uploader = uploader
        self._courier = courier
        self._keeper = keeper
        self._room = room
        self._started_ms = clock.now_ms()
        self._known: Stored | None = None  # as it was read last

    async def snapshot(self) -> dict[str, Any]:
        """Everything; see README, "Status"."""
        now_ms = self._clock.now_ms()
        disk = self._room.describe()
        unread = ""
        try:
            self._known = await asyncio.to_thread(self._stored)
        except apsw.Error as error:
            if self._known is None:
                raise
            unread = f"can't be read: {error}"  # what was known last is shown with it: now the page is needed most
        lanes, oldest_ms, held_raw, refusals = self._known
        waiting = {name: lane.appended - lane.delivered for name, lane in lanes.items()}
        age = now_ms - oldest_ms if oldest_ms is not None else None
        return {
            "v": 1,
            "site": self._config.site,
            "edge": self._config.edge,
            "now_ms": now_ms,
            "started_ms": self._started_ms,
            "ports": [self._port(port) for port in self._ports],
            "devices": [self._device(session, now_ms) for session in self._switchboard.sessions.values()],
            "revoked": [
                {"id": device, "rejects": dict(self._rejects.by_device.get(device, {}))}
                for device in sorted(self._switchboard.revoked)
            ],
            "rejects": dict(self._rejects.total),
            "unprovisioned": [{"device": d, "frames": n} for d, n in self._rejects.strangers.items()],
            "backlog": {
                "events": waiting["normal"] + waiting["alarm"],
                "alarms": waiting["alarm"],
                "oldest_ms": oldest_ms,
                "words": words.backlog(
                    waiting["normal"], waiting["alarm"], age, disk["free_bytes"], disk["days_left"]
                ),
            },
            "store": {
                "state": "stalled" if self._ingest.stalled or unread else "ok",
                "problem": self._ingest.stalled or unread,
                "events": sum(lane.appended for lane in lanes.values()),
                "commits": self._ingest.commits,
                "duplicates": self._ingest.duplicates,
                "waiting_frames": self._ingest.waiting,
                "held_raw": held_raw,
                "disk_free_bytes": disk["free_bytes"],
            },
            "disk": disk,
            "office": self._office(_refused(*refusals)),
            "integrity": self._keeper.describe() if self._keeper is not None else None,
        }

    def _stored(self) -> Stored:
        connection = self._database.reader()
        try:
            lanes = outbox.lanes(connection)
            oldest = [outbox.oldest(connection, name, lane) for name, lane in lanes.items()]
            refusals = outbox.refusals(connection)
            held = connection.execute("SELECT count(*) FROM quarantine").get
        finally:
            connection.close()
        known = [found[1] for found in oldest if found is not None]
        return lanes, min(known, default=None), int(held) if isinstance(held, int) else 0, refusals

    def _port(self, port: Port) -> dict[str, Any]:
        told = port.describe()
        for dock in told.get("docks", []):
            dock["rejects"] = dict(self._rejects.by_port.get(dock["dock"], {}))
        return {
            "name": port.name,
            "kind": port.kind,
            "where": port.where,
            "up": port.up,
            "frames_in": port.frames_in,
            "frames_out": port.frames_out,
            "dropped_out": port.dropped_out,
            "losses": port.losses,
            "rejects": dict(self._rejects.by_port.get(port.name, {})),
            **told,
        }

    def _device(self, session: Session, now_ms: int) -> dict[str, Any]:
        heard = session.last_contact_ms or None
        receipt = self._uploader.receipts.get(session.device) if self._uploader else None
        return {
            "id": session.device,
            "name": session.config.name,
            "role": {1: "tag", 2: "barrier"}[session.config.role],
            "firmware": session.firmware,
            "online": session.online,
            "port": session.port_name,
            "last_contact_ms": heard,
            "words": words.contact(now_ms - heard if heard else None, session.online),
            "battery_mv": session.battery_mv,
            "key": session.rotation.describe(),
            "update": self._courier.describe(session.device),
            "boot": session.boot,
            "frames": session.frames,
            "acked_seq": session.acked_seq,
            "gaps": [list(gap) for gap in session.gaps],
            "pending": session.pending,
            "refused": list(session.refused),
            "rejects": dict(self._rejects.by_device.get(session.device, {})),
            "office": {"complete_to": receipt[0], "missing": receipt[1]} if receipt else None,
        }

    def _office(self, refused: dict[str, Any]) -> dict[str, Any] | None:
        uploader = self._uploader
        if uploader is None or self._config.office is None:
            return None
        config, office = self._config, self._config.office
        url = office.url if office.token else enrolment.address(config.data_dir, config.site, config.edge)
        denied = next((lane.denied for lane in uploader.lanes.values() if lane.denied), "")
        problem = next((lane.error for lane in uploader.lanes.values() if lane.error), "")
        return {
            "url": url,
            "reachable": not problem,
            "problem": problem,
            "denied": denied,
            "last_receipt_ms": uploader.last_receipt_ms,
            "uploads": uploader.uploads,
            "refused": refused,
            "lanes": {
                name: {"cursor": lane.cursor, "delivered": lane.delivered, "failures": lane.failures}
                for name, lane in uploader.lanes.items()
            },
        }


def _refused(rows: int, first: Refused | None) -> dict[str, Any]:
    """Rows that the office refuses for good: kept here, tried again daily."""
    said = {"pos": first.pos, "reason": first.reason, "since_ms": first.since_ms} if first else None
    return {"rows": rows, "first": said}
