"""Bodies of requests: never more in memory than allowed, never longer waited for than allowed."""

from __future__ import annotations

import asyncio
import zlib

from fastapi import Request
from starlette.requests import ClientDisconnect

from tools.office.batch import MAX_BODY
from tools.office.errors import RequestError

DEADLINE_S = 60.0
LET_GO_S = 5.0
IDENTITY, GZIP = "identity", "gzip"
GZIP_BITS = 31  # zlib's wbits for exactly one gzip member


async def read(
    request: Request, content_type: str | None, limit: int, remedy: str, *encodings: str
) -> bytes:
    """The body as it came. Raises RequestError.

    415 another type or encoding, 413 above `limit` bytes, 408 too slow, 400 the sender went away.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type is not None and kind != content_type:
        raise RequestError("content-type", f"must be {content_type}", 415)
    if encoding(request) not in (encodings or (IDENTITY,)):
        others = [one for one in encodings if one != IDENTITY]
        raise RequestError("content-encoding", f"must be {', '.join([*others, ''])}or left out", 415)
    too_large = _too_large(limit, remedy)
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > limit:
        raise too_large
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(DEADLINE_S):
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise too_large
                parts.append(part)
    except TimeoutError as error:
        raise RequestError("body", f"did not arrive within {DEADLINE_S:.0f} s", 408) from error
    except ClientDisconnect as error:
        raise RequestError("body", "ended early", 400) from error  # nobody is there to read it
    return b"".join(parts)


def encoding(request: Request) -> str:
    """How the body is packed."""
    return request.headers.get("content-encoding", IDENTITY).strip().lower()


def unzip(body: bytes, limit: int, remedy: str) -> bytes:
    """What was compressed, never more of it than `limit` in memory. Raises RequestError."""
    machine = zlib.decompressobj(wbits=GZIP_BITS)
    try:
        found = machine.decompress(body, limit + 1)
    except zlib.error as error:
        raise RequestError("body", f"is no gzip: {error}", 400) from error
    if len(found) > limit:
        raise _too_large(limit, remedy)
    if not machine.eof or machine.unused_data:
        raise RequestError("body", "is no gzip: " + ("bytes follow it" if machine.eof else "it ends early"), 400)
    return found


def _too_large(limit: int, remedy: str) -> RequestError:
    return RequestError("body", f"must have at most {limit} bytes: {remedy}", 413)


async def let_go(request: Request) -> None:
    """Take in what a refused sender still sends, without keeping it: else it sees a reset instead of the reason."""
    size = 0
    try:
        async with asyncio.timeout(LET_GO_S):
            async for part in request.stream():
                size += len(part)
                if size > MAX_BODY:
                    return
    except (TimeoutError, ClientDisconnect):
        return
