"""Layer: what the holder of the control token may ask over HTTP: commands, link keys, firmware."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from aiohttp import web

from edge_agent.errors import CommandRefusedError, ReleaseError
from edge_agent.updates.release import MAX_BODY, Release, unpack
from edge_agent.web.answers import error, json_answer
from edge_agent.web.connections import body_of
from gatelink.messages import Result

ACTIONS = {"open": 1, "close": 2, "stop": 3, "beep": 4}
MAX_WITHIN_MS = 60_000
ROTATION_MS = 15_000


class Control(NamedTuple):
    """What the agent does when asked; the first argument is always the device, times in ms."""

    command: Callable[[int, int, object, int], Awaitable[Result]]
    rotate: Callable[[int, int], Awaitable[tuple[int, bool, str]]]
    revoke: Callable[[int], Awaitable[None]]
    update: Callable[[int, Release | None], Awaitable[None]]


def add_routes(app: web.Application, control: Control) -> None:
    """The routes; who may use them is the guard's business."""

    async def command(request: web.Request) -> web.Response:
        try:
            body = await _body(request)
            device = int(request.match_info["device"])
        except ValueError:
            return error(400, "", "the body is JSON, the device a number")
        if not isinstance(body, dict) or body.get("action") not in tuple(ACTIONS):  # it may have no hash
            return error(400, "action", "one of " + ", ".join(ACTIONS))
        within_ms = body.get("within_ms", 2_000)
        if type(within_ms) is not int or not 1 <= within_ms <= MAX_WITHIN_MS:
            return error(400, "within_ms", f"a whole number from 1 to {MAX_WITHIN_MS}")
        argument = body.get("argument")
        if argument is not None and type(argument) is not int:
            return error(400, "argument", "null or a whole number")
        try:
            result = await control.command(device, ACTIONS[body["action"]], argument, within_ms)
        except CommandRefusedError as refusal:
            return error(409, "", str(refusal))
        except KeyError:
            return error(404, "device", "not provisioned here")
        return json_answer({"v": 1, "cmd_id": result.cmd_id, "code": result.code, "detail": result.detail})

    async def rotation(request: web.Request) -> web.Response:
        try:
            body = await _body(request)
            device = int(request.match_info["device"])
        except ValueError:
            return error(400, "", "the body is JSON, the device a number")
        within_ms = body.get("within_ms", ROTATION_MS) if isinstance(body, dict) else None
        if type(within_ms) is not int or not 0 <= within_ms <= MAX_WITHIN_MS:
            return error(400, "within_ms", f"a whole number from 0 to {MAX_WITHIN_MS}")
        try:
            epoch, done, problem = await control.rotate(device, within_ms)
        except CommandRefusedError as refusal:
            return error(409, "", str(refusal))
        except KeyError:
            return error(404, "device", "not provisioned here, or revoked")
        return json_answer(
            {"v": 1, "epoch": epoch, "state": "done" if done else "pending", "problem": problem}
        )

    async def revocation(request: web.Request) -> web.Response:
        try:
            await control.revoke(int(request.match_info["device"]))
        except ValueError:
            return error(400, "device", "a number")
        except KeyError:
            return error(404, "device", "not provisioned here")
        return json_answer({"v": 1, "revoked": True})

    async def release(request: web.Request) -> web.Response:
        """POST: a release (CBOR) for this device; DELETE: no more of it."""
        try:
            device = int(request.match_info["device"])
            found = unpack(await _release(request)) if request.method == "POST" else None
            await control.update(device, found)
        except ReleaseError as refusal:
            return error(400, "", str(refusal))
        except ValueError:
            return error(400, "device", "a number")
        except KeyError:
            return error(404, "device", "not provisioned here, or no update is under way")
        if found is None:
            return json_answer({"v": 1, "state": "withdrawn"})
        about = found.about
        return json_answer(
            {"v": 1, "state": "sending", "version": about.ver, "seq": about.seq, "bytes": found.size}
        )

    app.router.add_post("/devices/{device}/commands", command)
    app.router.add_post("/devices/{device}/rotate", rotation)
    app.router.add_post("/devices/{device}/revoke", revocation)
    app.router.add_post("/devices/{device}/update", release)
    app.router.add_delete("/devices/{device}/update", release)


async def _body(request: web.Request) -> object:
    """What the request says, {} if nothing. Raises ValueError."""
    try:
        return json.loads(await body_of(request) or b"{}")
    except RecursionError as error:
        raise ValueError("nested too deep") from error


async def _release(request: web.Request) -> bytes:
    """A release is longer than what else is sent here. Raises ReleaseError."""
    try:
        return await body_of(request, MAX_BODY)
    except web.HTTPRequestEntityTooLarge as error:
        raise ReleaseError(f"longer than {MAX_BODY:,} bytes") from error
