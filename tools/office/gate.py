"""Who may come in: viewers by a token, sites by theirs, edges by their key; wrong tries wait and raise an alarm."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from hashlib import sha256
from typing import NamedTuple, Protocol, TypeVar

from edge_agent.enrolment import VERSION, proof_text
from edge_agent.identity import fingerprint, verify
from edge_agent.logs import Log
from edge_agent.one_time_code import CODE_SYMBOLS, Ticket
from edge_agent.sync import signing
from edge_agent.throttle import FREE_TRIES, Throttle
from tools.office.config import Config
from tools.office.errors import RequestError
from tools.office.store.base import Edges

_T = TypeVar("_T")
_NOBODY = bytes(32)
_log = Log("office")


class Run(Protocol):
    """Runs a call of the store on one of its threads."""

    async def __call__(self, call: Callable[..., _T], *args: object) -> _T:
        """What the call returns or raises."""


class WaitError(RequestError):
    """Too many wrong tries: nothing is looked at before so many seconds are over."""

    def __init__(self, wait_s: float) -> None:
        self.wait_s = int(wait_s) + 1
        super().__init__("authorization", f"too many wrong tries: wait {self.wait_s} s", 429)


class Sender(NamedTuple):
    """Who sends a batch: an edge with its key, which vouches for these bytes; or a site by its token (all None)."""

    edge: str | None = None
    public_key: bytes | None = None
    body_sha256: str | None = None

    def check_body(self, body: bytes) -> None:
        """Raises RequestError when these are not the bytes that were signed."""
        if self.body_sha256 is not None and sha256(body).hexdigest() != self.body_sha256:
            raise RequestError("body", "is not what was signed", 401)


class Request(NamedTuple):
    """An edge that wants to be enrolled."""

    code: str
    public_key: bytes
    proof: bytes


class Nonces:
    """Numbers that only this process gives out; a signature over an old one is refused, so no request comes again."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._key = secrets.token_bytes(32)
        self._clock_s = clock_s

    def now(self) -> str:
        """Good for signing.NONCE_S at least, and at most twice as long."""
        return self._of(int(self._clock_s() // signing.NONCE_S))

    def good(self, nonce: str) -> bool:
        """Whether this process gave it out lately."""
        period = int(self._clock_s() // signing.NONCE_S)
        return any(hmac.compare_digest(nonce.encode(), self._of(period - back).encode()) for back in (0, 1))

    def _of(self, period: int) -> str:
        return hmac.digest(self._key, str(period).encode(), "sha256").hex()[:32]


class Gate:
    """Every check of a secret. session_key: what browsers' passes are made of; viewer_pass: their cookie."""

    def __init__(
        self,
        config: Config,
        edges: Edges,
        site_keys: dict[str, int],
        now_ms: Callable[[], int],
        read: Run,
        write: Run,
        session_key: bytes,
    ) -> None:
        self._config = config
        self._edges = edges
        self._site_keys = site_keys
        self._now_ms = now_ms
        self._read = read
        self._write = write
        # In memory only: after a restart a source has FREE_TRIES again, the alarm stays. Nobody outside can restart us.
        self._throttles = {kind: Throttle() for kind in ("login", "token", "code", "edge")}
        self.nonces = Nonces()
        # What a browser keeps instead of the token. Can't be guessed, so who is in stays in while others guess.
        self.viewer_pass = hmac.digest(session_key, config.viewer_sha256 or b"", "sha256").hex()

    # People and programs that look.

    def has_pass(self, cookie: str) -> bool:
        """Whether this browser has signed in, or need not."""
        if self._config.viewer_sha256 is None:
            return True
        return hmac.compare_digest(cookie.encode(), self.viewer_pass.encode())

    async def may_look(self, token: str, source: str) -> bool:
        """Whether this token opens the pages. Raises WaitError after wrong ones."""
        expected = self._config.viewer_sha256
        if expected is None:
            return True
        if not token:
            return False
        self._wait("login", source)
        good = hmac.compare_digest(sha256(token.encode()).digest(), expected)
        await self._tried("login", source, good=good)
        return good

    # Sites and edges that send.

    async def sender(self, site: str, header: str, method: str, path: str, source: str) -> Sender:
        """Who sends, before a byte of the body is read. Raises RequestError, WaitError, StoreError."""
        scheme, _, token = header.partition(" ")
        if scheme == signing.SCHEME:
            return await self._signed(site, header, method, path)
        if scheme.lower() != "bearer" or not token.strip():
            raise RequestError("authorization", "not accepted", 401)
        key = f"{source} {site}" if site in self._config.sites else source
        self._wait("token", key)
        known = self._config.sites.get(site)
        expected = known.token_sha256 if known else None
        given = sha256(token.strip().encode()).digest()
        good = hmac.compare_digest(given, expected or _NOBODY) and expected is not None
        await self._tried("token", key, good=good)
        if not good:
            raise RequestError("authorization", "not accepted", 401)
        return Sender()

    async def _signed(self, site: str, header: str, method: str, path: str) -> Sender:
        proof = signing.parse(header)
        edge = (
            await self._read(self._edges.edge, site, proof.edge)
            if proof and site in self._config.sites
            else None
        )
        # A signature can't be guessed: no throttle. It is checked for a stranger, too, to take as long.
        known = edge.public_key if edge is not None else _NOBODY
        if proof is None or not signing.valid(proof, known, method, path) or edge is None:
            raise RequestError("authorization", "not accepted", 401)
        if edge.revoked_ms is not None:
            _log.warning("a revoked edge wants to send", site=site, edge=proof.edge)
            raise RequestError("edge", "is revoked: enrol it again", 403)
        if not self.nonces.good(proof.nonce):
            raise RequestError("nonce", "is too old: sign again with the one in this answer", 401)
        return Sender(proof.edge, known, proof.body_sha256)

    async def enrol(self, site: str, edge: str, request: Request, source: str) -> int:
        """Let an edge in by its one-time code -> since when. Raises RequestError, WaitError, StoreError."""
        self._wait_to_enrol(site, edge, source)
        site_key = self._site_keys.get(site, -1)
        made = await self._write(self._edges.code, site_key, edge)
        self._wait_to_enrol(site, edge, source)  # others were judged meanwhile; from here to the count nothing waits
        given = sha256(request.code.encode()).digest()
        expected = made.code_sha256 if made is not None else _NOBODY
        if not hmac.compare_digest(given, expected) or made is None:
            await self._tried("code", source, good=False)
            if made is not None:
                await self._tried("edge", f"{site}/{edge}", good=False)
            _log.warning("wrong code", site=site, edge=edge, source=source)
            raise RequestError("code", "is not right: it may be mistyped, or a newer one was made", 401)
        ticket = Ticket("", site, edge, request.code, made.pin)
        if not verify(request.public_key, request.proof, proof_text(ticket, request.public_key)):
            raise RequestError("proof", "does not fit the key and this office's certificate", 401)
        found = await self._write(
            self._edges.redeem, site_key, edge, given, request.public_key, self._now_ms(), source
        )
        if found.outcome == "done":
            for kind, key in (("code", source), ("edge", f"{site}/{edge}")):
                self._throttles[kind].right(key)
            shown = fingerprint(request.public_key)
            _log.info("edge enrolled", site=site, edge=edge, key=shown, source=source)
            return found.enrolled_ms
        if found.outcome == "used":
            # Whoever shows it now knows the code, and somebody else used it: one of the two is not who was meant.
            await self._alarm("code_used", f"{site}/{edge} {source}", 1)
        problems = {
            "used": "was used already, by another key: revoke this edge if that was not yours, and make a new code",
            "expired": "has expired: make a new one",
        }
        raise RequestError("code", problems.get(found.outcome, "is not right: a newer one was made"), 401)

    # Wrong tries.

    def _wait_to_enrol(self, site: str, edge: str, source: str) -> None:
        self._wait("code", source)
        self._wait("edge", f"{site}/{edge}")

    def _wait(self, kind: str, key: str) -> None:
        wait_s = self._throttles[kind].wait_s(key, time.monotonic())
        if wait_s > 0:
            raise WaitError(wait_s)

    async def _tried(self, kind: str, key: str, *, good: bool) -> None:
        throttle = self._throttles[kind]
        if good:
            throttle.right(key)
            return
        tries = throttle.wrong(key, time.monotonic())
        if tries >= FREE_TRIES:
            await self._alarm(kind, key, FREE_TRIES if tries == FREE_TRIES else 1)

    async def _alarm(self, kind: str, source: str, tries: int) -> None:
        _log.error("wrong tries of a secret", kind=kind, source=source, tries=tries)
        await self._write(self._edges.alarm, kind, source, tries, self._now_ms())


def request_of(body: object) -> Request:
    """A decoded JSON body -> the request. Raises RequestError naming the field."""
    if not isinstance(body, dict):
        raise RequestError("body", "must be an object")
    if body.keys() != {"v", "code", "public_key", "proof"}:
        raise RequestError("body", "must have exactly v, code, public_key, proof")
    if body["v"] != VERSION or isinstance(body["v"], bool):
        raise RequestError("v", f"must be {VERSION}")
    code = body["code"]
    if not isinstance(code, str) or len(code) != CODE_SYMBOLS or not code.isascii():
        raise RequestError("code", f"must be {CODE_SYMBOLS} symbols")
    return Request(code, _hex(body, "public_key", 32), _hex(body, "proof", 64))


def _hex(body: dict[str, object], field: str, size: int) -> bytes:
    text = body[field]
    try:
        found = bytes.fromhex(text) if isinstance(text, str) and len(text) == 2 * size else b""
    except ValueError:
        found = b""
    if len(found) != size:
        raise RequestError(field, f"must be {2 * size} hexadecimal digits")
    return found
