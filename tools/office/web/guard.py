"""Before every request: who may look, which host was meant; after it: the headers that keep a browser strict."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from fastapi import Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from edge_agent import throttle
from edge_agent.sync.signing import NONCE_PATH
from tools.office.config import LOOPBACK
from tools.office.errors import StoreError
from tools.office.gate import WaitError
from tools.office.service import Office

VIEWER_COOKIE = "viewer"
OPEN_PATHS = ("/healthz", "/login", "/gatepost.css", NONCE_PATH)
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

Next = Callable[[Request], Awaitable[Response]]


def bearer(request: Request) -> str:
    """The token of the Authorization header, or nothing."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def source_of(request: Request) -> str:
    """Where a request comes from, as wrong tries are counted; behind a proxy everybody is the proxy."""
    return throttle.source_of(request.client.host if request.client else None)


def refusal(status: int, field: str, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error as every answer of the API gives it."""
    return JSONResponse({"error": {"field": field, "message": message}}, status, headers)


class Guard:
    """The middleware."""

    def __init__(self, office: Office) -> None:
        self._office = office

    async def __call__(self, request: Request, following: Next) -> Response:
        """Refuse, or hand on and add the headers."""
        answer = await self._refused(request) or await following(request)
        for name, value in HEADERS.items():
            answer.headers.setdefault(name, value)
        return answer

    async def _refused(self, request: Request) -> Response | None:
        if request.method == "POST":  # uploads carry their own token
            return None
        # Without a token only this machine is served; a foreign page that has its own name point here must not read.
        if self._office.config.viewer_sha256 is None:
            if _host(request) not in LOOPBACK:
                return refusal(421, "host", "this server answers to 127.0.0.1 and localhost only")
            return None
        path = request.url.path
        if path in OPEN_PATHS:
            return None
        gate = self._office.gate
        if gate.has_pass(request.cookies.get(VIEWER_COOKIE, "")):
            return None
        try:
            if await gate.may_look(bearer(request), source_of(request)):
                return None
        except WaitError as error:
            return refusal(429, error.field, error.message, {"Retry-After": str(error.wait_s)})
        except StoreError as error:
            return refusal(503, "store", str(error), {"Retry-After": "1"})
        if path.startswith("/api/") or path == "/openapi.json":
            return refusal(401, "authorization", "not accepted", {"WWW-Authenticate": "Bearer"})
        return RedirectResponse("/login", 303)


def _host(request: Request) -> str | None:
    try:
        return urlsplit("//" + request.headers.get("host", "")).hostname
    except ValueError:
        return None
