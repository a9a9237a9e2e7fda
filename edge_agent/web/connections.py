"""Layer: connections to the status address: how many there may be, how long a head, a body, a slow reader may take."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import cast

from aiohttp import web

from edge_agent.logs import Log
from edge_agent.web.answers import JSON, error

MAX_CONNECTIONS = 128
IDLE_S = 20.0  # until a request's head is whole, and between two requests
HANDSHAKE_S = 10.0
BODY_S = 60.0
READER_S = 30.0  # so long the kernel keeps an answer for somebody who does not read it
BACKLOG = 128
MAX_BODY = 4_096

_log = Log("status")


async def listen(inside: web.Server, address: tuple[str, int], tls: ssl.SSLContext | None) -> asyncio.Server:
    """Connections to `address` reach `inside`, as far as there is room. Raises OSError."""
    refused = 0

    def admit() -> asyncio.Protocol:
        nonlocal refused
        if len(inside.connections) < MAX_CONNECTIONS:
            return inside()
        refused += 1
        if refused & (refused - 1) == 0:  # 1, 2, 4, 8 ...: a flood must not fill the log
            _log.warning("connection refused: there are too many", refused=refused)
        return _Refused()

    made = await asyncio.get_running_loop().create_server(
        admit, *address, ssl=tls, ssl_handshake_timeout=HANDSHAKE_S if tls else None, backlog=BACKLOG
    )
    for listener in made.sockets:
        with contextlib.suppress(OSError):  # not Linux
            listener.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(READER_S * 1000)
            )  # inherited
    return made


async def body_of(request: web.Request, limit: int = MAX_BODY) -> bytes:
    """A request's body. Raises web.HTTPException: 413 above `limit` bytes, 408 slower than BODY_S."""
    found = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.content.iter_chunked(65_536):
                found += part
                if len(found) > limit:
                    problem = error(413, "body", f"longer than {limit:,} bytes")
                    raise web.HTTPRequestEntityTooLarge(
                        limit, len(found), text=problem.text, content_type=JSON
                    )
    except TimeoutError as late:
        problem = error(408, "body", f"did not arrive within {BODY_S:.0f} s")
        raise web.HTTPRequestTimeout(text=problem.text, content_type=JSON) from late
    except ConnectionError as gone:
        raise web.HTTPBadRequest from gone  # nobody is there to read it
    return bytes(found)


class _Refused(asyncio.Protocol):
    """Closed at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).abort()
