"""Layer: the way of an enrolled edge to its office: only to the pinned server, every request signed by its own key."""

from __future__ import annotations

import time

import aiohttp

from edge_agent import enrolment
from edge_agent.config import Office
from edge_agent.enrolment import Enrolled
from edge_agent.errors import ConfigError, EnrolmentError, OfficeDeniedError, OfficeUnreachableError
from edge_agent.identity import load_or_make
from edge_agent.logs import Log
from edge_agent.pinning import PIN_BYTES, Pins
from edge_agent.sync import signing, wire
from edge_agent.sync.post import HttpPost

NOT_ENROLLED, REVOKED, UNKNOWN, OTHER_OFFICE = "not_enrolled", "revoked", "unknown", "other_office"
PROBLEMS = {
    NOT_ENROLLED: "not enrolled at an office: gatepost edge enrol",
    REVOKED: "revoked by the office: enrol again (everything is kept here)",
    UNKNOWN: "the office does not know this edge's key: enrol again (everything is kept here)",
    OTHER_OFFICE: "the server at the office's address has another key than the office had at the enrolment",
}
RENEW_S = signing.NONCE_S - 60  # a nonce older than that is asked for anew

_log = Log("office")


class SignedPost(HttpPost):
    """Goes by data_dir/office.toml; a new enrolment counts from the next send() on. Raises EdgeError."""

    def __init__(self, office: Office, site: str) -> None:
        super().__init__(office, site)
        self._site, self._edge = site, office.edge
        self._data_dir = office.data_dir
        self._identity = load_or_make(office.data_dir)
        self._pins = Pins()
        self._known: Enrolled | None = None
        self._read_at: tuple[int, int] | None = None  # inode and time of the office.toml that was read
        self._nonce = ""
        self._nonce_at = 0.0
        self._announced = ""

    async def _tls(self) -> aiohttp.Fingerprint:
        return self._pins

    async def _send(self, path: str, body: bytes) -> tuple[int, bytes]:
        self._reload()
        if self._known is None:
            raise _denied(NOT_ENROLLED)
        try:
            status, answer = await self._send_signed(path, body)
        except aiohttp.ServerFingerprintMismatch as error:
            raise _denied(OTHER_OFFICE) from error
        except (aiohttp.ClientError, OSError):
            self._nonce = (
                ""  # whatever happened: the next try begins with a small question, not with a long body
            )
            raise
        if status in (401, 403):
            field = wire.refusal(status, answer).field
            if field == "nonce":
                raise OfficeUnreachableError("takes no nonce for long: it was started anew, or they are several")
            raise _denied(REVOKED if (status, field) == (403, "edge") else UNKNOWN)
        if status == 200:
            self._settle_pins()
        return status, answer

    async def _send_signed(self, path: str, body: bytes) -> tuple[int, bytes]:
        status, answer = 0, b""
        for _ in range(2):  # a nonce that the office no longer takes comes back with a fresh one
            if not self._nonce or time.monotonic() - self._nonce_at > RENEW_S:
                status, answer = await self._ask("GET", signing.NONCE_PATH, None, "")
                if not self._nonce:
                    raise OfficeUnreachableError(f"answers, but not as an office does (HTTP {status})")
            proof = signing.sign(self._identity, self._edge, self._nonce, "POST", path, body)
            status, answer = await self._ask("POST", path, body, proof)
            if status != 401 or wire.refusal(status, answer).field != "nonce":
                break
        return status, answer

    def _heard(self, answer: aiohttp.ClientResponse) -> None:
        nonce = answer.headers.get(signing.NONCE_HEADER, "")
        if signing.is_nonce(nonce):
            self._nonce, self._nonce_at = nonce, time.monotonic()
        self._announced = answer.headers.get(signing.NEXT_PIN_HEADER, "")

    def _settle_pins(self) -> None:
        """The office's present key and the one that it announces are remembered; an older one is forgotten."""
        known, present = self._known, self._pins.seen
        self._reload()
        if known is not self._known:
            return  # enrolled anew meanwhile: this was the former office's answer
        if known is None or not known.pins or not present:
            return
        try:
            announced = bytes.fromhex(self._announced)
        except ValueError:
            announced = b""
        pins = (present, announced) if len(announced) == PIN_BYTES and announced != present else (present,)
        if pins == known.pins:
            return
        try:
            enrolment.save(self._data_dir, known._replace(pins=pins))
        except EnrolmentError as error:
            _log.warning("the office's next key can't be kept", problem=str(error))
            return
        _log.info("the office's keys", pins=[pin.hex() for pin in pins])
        self._reload()

    def _reload(self) -> None:
        """office.toml as it is now, read when it was replaced. Raises OfficeUnreachableError if it can't be used."""
        try:
            found = (self._data_dir / enrolment.FILE_NAME).stat()
        except FileNotFoundError:
            found = None
        at = (found.st_ino, found.st_mtime_ns) if found else None
        if at == self._read_at:
            return
        try:
            self._known = enrolment.load(self._data_dir, self._site, self._edge)
        except ConfigError as error:
            raise OfficeUnreachableError(str(error)) from error
        self._read_at = at
        self._url = self._known.url if self._known else ""
        self._pins.accepted = self._known.pins if self._known else ()
        self._nonce = ""


def _denied(state: str) -> OfficeDeniedError:
    return OfficeDeniedError(state, PROBLEMS[state])
