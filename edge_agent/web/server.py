"""Layer: HTTP on [status].listen: the page, its stream, /status, /metrics, and what control.py offers."""

from __future__ import annotations

import asyncio
import math
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from aiohttp import web

from edge_agent.web import connections, metrics
from edge_agent.web import control as controlling
from edge_agent.web.answers import json_answer
from edge_agent.web.control import Control
from edge_agent.web.feed import Feed
from edge_agent.web.guard import COOKIE, SESSION_S, Guard
from edge_agent.web.language import LANGUAGE_COOKIE, language_of
from edge_agent.web.page import STATIC, Page
from edge_agent.web.stream import Stream

MAX_LINE, MAX_HEADER = 4_096, 8_190
YEAR_S = 365 * 86_400
FRESH_S = 0.5  # a snapshot so young is as good as a new one

Snapshot = Callable[[], Awaitable[dict[str, Any]]]


class Listen(NamedTuple):
    """Where to listen, and the certificate and key for https (None: http)."""

    address: tuple[str, int]
    tls: tuple[Path, Path] | None


class StatusServer:
    """Serves until stop(). Raises OSError or ssl.SSLError from start() when address or certificate can't be used."""

    def __init__(
        self, listen: Listen, guard: Guard, snapshot: Snapshot, feed: Feed, page: Page, control: Control
    ) -> None:
        self._listen = listen
        self._guard = guard
        self._taken = snapshot
        self._feed = feed
        self._page = page
        self._control = control
        self._stream = Stream(feed, page, self.snapshot)
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self._last: tuple[float, dict[str, Any]] | None = None
        self._asking = asyncio.Lock()
        self.port = 0

    async def start(self) -> None:
        """Begins to listen; `port` is then the real one."""
        app = web.Application(
            middlewares=[self._guard.middleware()],
            handler_args={
                "max_line_size": MAX_LINE,
                "max_field_size": MAX_HEADER,
                "auto_decompress": False,  # nobody packs what he sends here: a body that swells is not unpacked
                "keepalive_timeout": connections.IDLE_S,
            },
        )
        app.router.add_get("/", self._whole)
        app.router.add_get("/events", self._events)
        app.router.add_get("/status", self._status)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/login", self._login)
        app.router.add_post("/login", self._enter)
        app.router.add_static("/static", STATIC)
        controlling.add_routes(app, self._control)
        tls = None
        if self._listen.tls is not None:
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            tls.load_cert_chain(*self._listen.tls)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        assert self._runner.server is not None
        self._server = await connections.listen(self._runner.server, self._listen.address, tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Closes."""
        if self._server is not None:
            self._server.close()
        await self._stream.stop()
        if self._runner is not None:
            await self._runner.cleanup()

    async def snapshot(self) -> dict[str, Any]:
        """The whole status, as /status tells it; however many ask, the store is read once."""
        async with self._asking:
            if self._last is None or time.monotonic() - self._last[0] > FRESH_S:
                guard = {"wrong": self._guard.wrong, "alarms": self._guard.alarms}
                self._last = (time.monotonic(), {**await self._taken(), "guard": guard})
            return self._last[1]

    async def _whole(self, request: web.Request) -> web.Response:
        language = _language(request)
        newest = self._feed.newest
        seen = self._feed.after(0)
        text = self._page.whole(await self.snapshot(), seen, newest, language)
        return _html(request, text)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        return await self._stream.serve(request, _language(request))

    async def _status(self, _: web.Request) -> web.Response:
        self._last = None  # whoever asks for the figures gets those of now
        return json_answer(await self.snapshot())

    async def _metrics(self, _: web.Request) -> web.Response:
        body = metrics.text(await self.snapshot())
        return web.Response(body=body, headers={"Content-Type": metrics.CONTENT_TYPE})

    async def _healthz(self, _: web.Request) -> web.Response:
        return json_answer({"v": 1, "running": True})

    async def _login(self, request: web.Request) -> web.Response:
        if self._guard.open:
            raise web.HTTPSeeOther("/")
        return _html(request, self._page.login(_language(request), ""))

    async def _enter(self, request: web.Request) -> web.Response:
        language = _language(request)
        wait_s = self._guard.wait_s(request)
        if wait_s:
            text = self._page.login(language, "login_wait", math.ceil(wait_s))
            return _html(request, text, 429)
        form = parse_qs((await connections.body_of(request)).decode("utf-8", "replace"))
        session = self._guard.login(request, form.get("token", [""])[0].strip())
        if session is None:
            return _html(request, self._page.login(language, "login_wrong"), 401)
        answer = web.Response(status=303, headers={"Location": "/"})
        answer.set_cookie(
            COOKIE, session, max_age=int(SESSION_S), httponly=True, samesite="Strict",
            secure=self._listen.tls is not None,
        )  # fmt: skip
        return answer


def _language(request: web.Request) -> str:
    return language_of(
        request.query.get("lang"),
        request.cookies.get(LANGUAGE_COOKIE),
        request.headers.get("Accept-Language", ""),
    )


def _html(request: web.Request, text: str, status: int = 200) -> web.Response:
    language = _language(request)
    answer = web.Response(text=text, status=status, content_type="text/html")
    answer.headers["Content-Language"] = "zh-CN" if language == "zh" else "en"
    answer.headers["Vary"] = "Accept-Language, Cookie"
    if "lang" in request.query:
        answer.set_cookie(LANGUAGE_COOKIE, language, max_age=YEAR_S, httponly=True, samesite="Lax")
    return answer
