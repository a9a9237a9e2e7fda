"""Layer: HTTP on [status].listen: GET /status (JSON); POST /devices/{id}/commands for holders of the control token."""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from edge_agent.errors import CommandRefusedError, ReleaseError
from edge_agent.updates.release import MAX_BODY as MAX_BODY_RELEASE
from edge_agent.updates.release import Release, unpack
from gatelink.messages import Result

Snapshot = Callable[[], Awaitable[dict[str, Any]]]
Issue = Callable[[int, int, object, int], Awaitable[Result]]
Rotate = Callable[[int, int], Awaitable[tuple[int, bool, str]]]
Revoke = Callable[[int], Awaitable[None]]
Update = Callable[[int, Release | None], Awaitable[None]]
ACTIONS = {"open": 1, "close": 2, "stop": 3, "beep": 4}
MAX_BODY = 4_096
MAX_WITHIN_MS = 60_000
ROTATION_MS = 15_000


class StatusServer:
    """Serves until stop(). Raises OSError from start() when the address can't be had."""

    def __init__(
        self,
        listen: tuple[str, int],
        token: str,
        snapshot: Snapshot,
        issue: Issue,
        rotate: Rotate,
        revoke: Revoke,
        update: Update,
    ) -> None:
        self._listen = listen
        self._token = token
        self._snapshot = snapshot
        self._issue = issue
        self._rotate = rotate
        self._revoke = revoke
        self._update = update
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self) -> None:
        """Begins to listen; `port` is then the real one."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_get("/status", self._status)
        app.router.add_post("/devices/{device}/commands", self._command)
        app.router.add_post("/devices/{device}/rotate", self._rotation)
        app.router.add_post("/devices/{device}/revoke", self._revocation)
        app.router.add_post("/devices/{device}/update", self._release)
        app.router.add_delete("/devices/{device}/update", self._release)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, *self._listen)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Closes."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _status(self, _: web.Request) -> web.Response:
        return _json(await self._snapshot())

    def _refused(self, request: web.Request) -> web.Response | None:
        if not self._token:
            return _error(403, "", "commands are off: set [status] control_token_file")
        sent = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(sent.encode(), self._token.encode()):
            return _error(401, "Authorization", "the control token is missing or wrong")
        return None

    async def _rotation(self, request: web.Request) -> web.Response:
        refused = self._refused(request)
        if refused is not None:
            return refused
        try:
            body = json.loads(await request.read() or b"{}")
            device = int(request.match_info["device"])
        except ValueError:
            return _error(400, "", "the body is JSON, the device a number")
        within_ms = body.get("within_ms", ROTATION_MS) if isinstance(body, dict) else None
        if type(within_ms) is not int or not 0 <= within_ms <= MAX_WITHIN_MS:
            return _error(400, "within_ms", f"a whole number from 0 to {MAX_WITHIN_MS}")
        try:
            epoch, done, problem = await self._rotate(device, within_ms)
        except CommandRefusedError as error:
            return _error(409, "", str(error))
        except KeyError:
            return _error(404, "device", "not provisioned here, or revoked")
        return _json({"v": 1, "epoch": epoch, "state": "done" if done else "pending", "problem": problem})

    async def _revocation(self, request: web.Request) -> web.Response:
        refused = self._refused(request)
        if refused is not None:
            return refused
        try:
            await self._revoke(int(request.match_info["device"]))
        except ValueError:
            return _error(400, "device", "a number")
        except KeyError:
            return _error(404, "device", "not provisioned here")
        return _json({"v": 1, "revoked": True})

    async def _release(self, request: web.Request) -> web.Response:
        """POST: a release (CBOR) for this device; DELETE: no more of it."""
        refused = self._refused(request)
        if refused is not None:
            return refused
        try:
            device = int(request.match_info["device"])
            release = unpack(await _whole(request)) if request.method == "POST" else None
            await self._update(device, release)
        except ReleaseError as error:
            return _error(400, "", str(error))
        except ValueError:
            return _error(400, "device", "a number")
        except KeyError:
            return _error(404, "device", "not provisioned here, or no update is under way")
        if release is None:
            return _json({"v": 1, "state": "withdrawn"})
        about = release.about
        return _json(
            {"v": 1, "state": "sending", "version": about.ver, "seq": about.seq, "bytes": release.size}
        )

    async def _command(self, request: web.Request) -> web.Response:
        refused = self._refused(request)
        if refused is not None:
            return refused
        try:
            body = json.loads(await request.read())
            device = int(request.match_info["device"])
        except ValueError:
            return _error(400, "", "the body is JSON, the device a number")
        if not isinstance(body, dict) or body.get("action") not in ACTIONS:
            return _error(400, "action", "one of " + ", ".join(ACTIONS))
        within_ms = body.get("within_ms", 2_000)
        if type(within_ms) is not int or not 1 <= within_ms <= MAX_WITHIN_MS:
            return _error(400, "within_ms", f"a whole number from 1 to {MAX_WITHIN_MS}")
        argument = body.get("argument")
        if argument is not None and type(argument) is not int:
            return _error(400, "argument", "null or a whole number")
        try:
            result = await self._issue(device, ACTIONS[body["action"]], argument, within_ms)
        except CommandRefusedError as error:
            return _error(409, "", str(error))
        except KeyError:
            return _error(404, "device", "not provisioned here")
        return _json({"v": 1, "cmd_id": result.cmd_id, "code": result.code, "detail": result.detail})


async def _whole(request: web.Request) -> bytes:
    """A release is longer than what else is sent here. Raises ReleaseError."""
    body = bytearray()
    async for part in request.content.iter_chunked(65_536):
        body += part
        if len(body) > MAX_BODY_RELEASE:
            raise ReleaseError(f"longer than {MAX_BODY_RELEASE:,} bytes")
    return bytes(body)


def _json(value: dict[str, Any], status: int = 200) -> web.Response:
    text = json.dumps(value, ensure_ascii=False)
    return web.Response(text=text, status=status, content_type="application/json")


def _error(status: int, field: str, message: str) -> web.Response:
    return _json({"error": {"field": field, "message": message}}, status)
