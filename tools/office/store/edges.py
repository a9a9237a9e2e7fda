"""Edges, their keys and one-time codes, and who tried secrets, in SQLite: base.Edges."""

from __future__ import annotations

import hmac

import apsw

from tools.office.errors import RequestError
from tools.office.store.base import Alarm, Code, Edge, Redeemed, Step
from tools.office.store.transactions import snapshot, transaction

MAX_ALARMS = 1_000  # sources named for each kind; the tries of further ones are added up under OTHERS
OTHERS = "others"
_EDGE = "SELECT site.id, edge, public_key, enrolled_ms, revoked_ms, seen_ms FROM edge JOIN site ON site.key = edge.site"


class SqliteEdges:
    """base.Edges over the store's two connections."""

    def __init__(self, write: apsw.Connection, read: apsw.Connection) -> None:
        self._write = write
        self._read = read

    def edge(self, site: str, edge: str) -> Edge | None:
        """base.Edges.edge"""
        with snapshot(self._read):
            row = self._read.execute(f"{_EDGE} WHERE site.id = ? AND edge = ?", (site, edge)).fetchone()
        return Edge(*row) if row else None

    def edges(self) -> list[Edge]:
        """base.Edges.edges"""
        with snapshot(self._read):
            return [Edge(*row) for row in self._read.execute(f"{_EDGE} ORDER BY 1, 2")]

    def steps(self, limit: int) -> list[Step]:
        """base.Edges.steps"""
        with snapshot(self._read):
            found = self._read.execute(
                "SELECT site.id, edge, what, public_key, source, at_ms"
                " FROM edge_history JOIN site ON site.key = edge_history.site ORDER BY edge_history.id DESC LIMIT ?",
                (limit,),
            )
            return [Step(*row) for row in found]

    def alarms(self, since_ms: int, limit: int) -> list[Alarm]:
        """base.Edges.alarms"""
        with snapshot(self._read):
            found = self._read.execute(
                "SELECT kind, source, tries, first_ms, last_ms FROM security_alarm WHERE last_ms >= ?"
                " ORDER BY last_ms DESC LIMIT ?",
                (since_ms, limit),
            )
            return [Alarm(*row) for row in found]

    def code(self, site_key: int, edge: str) -> Code | None:
        """base.Edges.code"""
        with transaction(self._write):
            return _code(self._write, site_key, edge)

    def redeem(
        self, site_key: int, edge: str, code_sha256: bytes, public_key: bytes, now_ms: int, source: str
    ) -> Redeemed:
        """base.Edges.redeem"""
        with transaction(self._write):
            code = _code(self._write, site_key, edge)
            if code is None or not hmac.compare_digest(code.code_sha256, code_sha256):
                return Redeemed("wrong")
            present = _key(self._write, site_key, edge)
            if code.used_ms is not None:
                # The answer may have been lost: the one who used the code is told again what it was told.
                same = present is not None and present[0] == public_key and present[1] is None
                return Redeemed("done", code.used_ms) if same else Redeemed("used")
            if now_ms >= code.expires_ms:
                return Redeemed("expired")
            self._write.execute(
                "UPDATE enrolment_code SET used_ms = ? WHERE site = ? AND edge = ?", (now_ms, site_key, edge)
            )
            self._write.execute(
                "INSERT INTO edge (site, edge, public_key, enrolled_ms) VALUES (?1, ?2, ?3, ?4)"
                " ON CONFLICT DO UPDATE SET public_key = ?3, enrolled_ms = ?4, revoked_ms = NULL, seen_ms = NULL",
                (site_key, edge, public_key, now_ms),
            )
            what = "enrolled" if present is None or present[0] == public_key else "replaced"
            _note(self._write, site_key, edge, what, public_key, source, now_ms)
            return Redeemed("done", now_ms)

    def alarm(self, kind: str, source: str, tries: int, now_ms: int) -> None:
        """base.Edges.alarm"""
        with transaction(self._write):
            known = self._write.execute(
                "SELECT 1 FROM security_alarm WHERE kind = ? AND source = ?", (kind, source)
            ).fetchone()
            count = self._write.execute("SELECT count(*) FROM security_alarm WHERE kind = ?", (kind,)).get
            if not known and int(str(count)) >= MAX_ALARMS:
                source = OTHERS
            self._write.execute(
                "INSERT INTO security_alarm VALUES (?1, ?2, ?3, ?4, ?4)"
                " ON CONFLICT DO UPDATE SET tries = tries + ?3, last_ms = ?4",
                (kind, source, tries, now_ms),
            )

    def make_code(self, site_key: int, edge: str, code: Code, now_ms: int) -> None:
        """base.Edges.make_code"""
        with transaction(self._write):
            self._write.execute(
                "INSERT OR REPLACE INTO enrolment_code VALUES (?,?,?,?,?,?,NULL)",
                (site_key, edge, code.code_sha256, code.pin, now_ms, code.expires_ms),
            )
            _note(self._write, site_key, edge, "code", None, "", now_ms)

    def revoke(self, site_key: int, edge: str, now_ms: int) -> bool:
        """base.Edges.revoke"""
        with transaction(self._write):
            self._write.execute(
                "UPDATE enrolment_code SET used_ms = ? WHERE site = ? AND edge = ? AND used_ms IS NULL",
                (now_ms, site_key, edge),
            )
            present = _key(self._write, site_key, edge)
            if present is None:
                return False
            if present[1] is None:
                self._write.execute(
                    "UPDATE edge SET revoked_ms = ? WHERE site = ? AND edge = ?", (now_ms, site_key, edge)
                )
                _note(self._write, site_key, edge, "revoked", present[0], "", now_ms)
            return True


def admit(db: apsw.Connection, site_key: int, edge: str, public_key: bytes | None, now_ms: int) -> None:
    """Within a batch's own transaction: its edge may still send with this key (None: a site's token).

    Raises RequestError: so nothing of an edge comes in once a revocation is on the disk.
    """
    present = _key(db, site_key, edge)
    if public_key is None:
        if present is not None:
            raise RequestError("edge", "is enrolled: only its own key may send for it", 403)
        return
    if present is None or present[0] != public_key:
        raise RequestError("authorization", "not accepted", 401)
    if present[1] is not None:
        raise RequestError("edge", "is revoked: enrol it again", 403)
    db.execute(
        "UPDATE edge SET seen_ms = ? WHERE site = ? AND edge = ?", (now_ms, site_key, edge)
    )


def _code(db: apsw.Connection, site_key: int, edge: str) -> Code | None:
    row = db.execute(
        "SELECT code_sha256, pin, expires_ms, used_ms FROM enrolment_code WHERE site = ? AND edge = ?",
        (site_key, edge),
    ).fetchone()
    return Code(*row) if row else None


def _key(db: apsw.Connection, site_key: int, edge: str) -> tuple[bytes, int | None] | None:
    """(public key, when it was revoked) of an edge."""
    row: tuple[bytes, int | None] | None = db.execute(
        "SELECT public_key, revoked_ms FROM edge WHERE site = ? AND edge = ?", (site_key, edge)
    ).fetchone()
    return row


def _note(
    db: apsw.Connection,
    site_key: int,
    edge: str,
    what: str,
    public_key: bytes | None,
    source: str,
    now_ms: int,
) -> None:
    db.execute(
        "INSERT INTO edge_history (site, edge, what, public_key, source, at_ms) VALUES (?,?,?,?,?,?)",
        (site_key, edge, what, public_key, source, now_ms),
    )
