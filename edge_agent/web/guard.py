"""Layer: before every request: who may look and who may command, how often a wrong secret may be tried."""

from __future__ import annotations

import hmac
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from edge_agent.config import LOOPBACK
from edge_agent.throttle import FREE_TRIES, Throttle, source_of
from edge_agent.web.answers import error

COOKIE = "gatepost"
SESSION_S = 12 * 3_600.0
MAX_SESSIONS = 64
OPEN_PATHS = ("/login", "/healthz", "/static/gatepost.css", "/static/icon.svg")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self';"
    " img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

Guessing = Callable[[str, int], None]  # source, wrong tries so far


class Guard:
    """Viewers by token (bearer, or a session that /login opened), commands by the control token.

    Without a viewer token only this machine is served, under its own names, so that a foreign page can't read it.
    `on_guessing` is called whenever a source has used up its tries. They are counted for each secret by itself: who
    knows the viewer token must not get new tries at the control token by it. But whoever has to wait waits for both.
    """

    def __init__(
        self,
        viewer_token: str,
        control_token: str,
        on_guessing: Guessing,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._viewer = viewer_token
        self._control = control_token
        self._on_guessing = on_guessing
        self._now_s = now_s
        self._throttles = {secret: Throttle() for secret in (viewer_token, control_token)}
        self._sessions: OrderedDict[str, float] = OrderedDict()  # id -> when it ends
        self.wrong = 0
        self.alarms = 0

    @property
    def open(self) -> bool:
        """No viewer token: whoever is on this machine may look."""
        return not self._viewer

    def middleware(self) -> Middleware:
        """For aiohttp."""

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            answer = self._refused(request)
            if answer is None:
                answer = await handler(request)
            if not answer.prepared:
                for name, value in HEADERS.items():
                    answer.headers.setdefault(name, value)
            return answer

        return guard

    def login(self, request: web.Request, token: str) -> str | None:
        """A new session's id for the right token, None for a wrong one; the throttle was asked before."""
        if self._viewer and not self._same(request, token, self._viewer):
            return None
        session = secrets.token_urlsafe(24)
        self._sessions[session] = self._now_s() + SESSION_S
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return session

    def wait_s(self, request: web.Request) -> float:
        """Seconds that this request's source has to wait before its secrets are looked at."""
        source, now_s = source_of(request.remote), self._now_s()
        return max(throttle.wait_s(source, now_s) for throttle in self._throttles.values())

    def _refused(self, request: web.Request) -> web.StreamResponse | None:
        if self.open and _host(request) not in LOOPBACK:
            return error(421, "host", "without a viewer token this agent answers to 127.0.0.1 and localhost only")
        if request.path in OPEN_PATHS:
            return None
        if request.path.startswith("/devices/"):
            if not self._control:
                return error(403, "", "commands are off: set [status] control_token_file")
            return self._by_bearer(request, self._control, "the control token is missing or wrong")
        if self.open or self._has_session(request):
            return None
        answer = self._by_bearer(request, self._viewer, "the viewer token is missing or wrong")
        if answer is not None and answer.status == 401 and request.path == "/":
            raise web.HTTPSeeOther("/login")
        return answer

    def _by_bearer(self, request: web.Request, token: str, problem: str) -> web.Response | None:
        scheme, _, sent = request.headers.get("Authorization", "").partition(" ")
        challenge = {"WWW-Authenticate": "Bearer"}
        if scheme.lower() != "bearer" or not sent:
            return error(401, "Authorization", problem, challenge)
        wait_s = self.wait_s(request)
        if wait_s:
            text = f"too many wrong tries; try again in {math.ceil(wait_s)} s"
            return error(429, "Authorization", text, {"Retry-After": str(math.ceil(wait_s))})
        return None if self._same(request, sent.strip(), token) else error(401, "Authorization", problem, challenge)

    def _same(self, request: web.Request, sent: str, token: str) -> bool:
        source, throttle = source_of(request.remote), self._throttles[token]
        # aiohttp keeps a header's bytes that are no UTF-8 as surrogates.
        if hmac.compare_digest(sent.encode(errors="surrogateescape"), token.encode()):
            throttle.right(source)
            return True
        self.wrong += 1
        tries = throttle.wrong(source, self._now_s())
        if tries >= FREE_TRIES:
            self.alarms += 1
            self._on_guessing(source, tries)
        return False

    def _has_session(self, request: web.Request) -> bool:
        session = request.cookies.get(COOKIE, "")
        ends_s = self._sessions.get(session)
        if ends_s is None:
            return False
        now_s = self._now_s()
        if ends_s < now_s:
            del self._sessions[session]
            return False
        self._sessions[session] = now_s + SESSION_S
        self._sessions.move_to_end(session)
        return True


def _host(request: web.Request) -> str | None:
    try:
        return urlsplit("//" + request.headers.get("Host", "")).hostname
    except ValueError:
        return None
