"""Takes a site's batches: the token first, then at most MAX_BODY bytes, also unpacked, then all or nothing."""

from __future__ import annotations

import asyncio
import zlib

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from tools.office.batch import MAX_BODY
from tools.office.errors import RequestError, StoreError
from tools.office.head import MAX_BODY as MAX_HEAD
from tools.office.service import Office
from tools.office.web.guard import bearer, refusal
from tools.office.web.models import ErrorAnswer, HeadAnswer, Receipt

BODY_DEADLINE_S = 60.0
CONTENT_TYPE = "application/cbor"
IDENTITY, GZIP = "identity", "gzip"
GZIP_BITS = 31  # zlib's wbits for exactly one gzip member


def router(office: Office) -> APIRouter:
    """POST /api/v1/sites/{site}/batches"""
    routes = APIRouter(tags=["upload"])
    refusals = {code: {"model": ErrorAnswer} for code in (400, 401, 408, 413, 415, 422, 503)}

    @routes.post(
        "/api/v1/sites/{site}/batches",
        response_model=Receipt,
        responses=refusals,  # type: ignore[arg-type]  # FastAPI asks for dict[int | str, ...], which is invariant
        summary="Store one batch of a site's events; the receipt says what is missing",
        openapi_extra={"requestBody": {"required": True, "content": {CONTENT_TYPE: {"schema": {"type": "string"}}}}},
    )
    async def take(site: str, request: Request) -> Response:
        if not office.may_send(site, bearer(request)):
            # The body was not read: the connection can't be used again.
            return refusal(401, "authorization", "not accepted", {"WWW-Authenticate": "Bearer", "Connection": "close"})
        try:
            body = await _body(request)
            if _encoding(request) == GZIP:
                body = await asyncio.to_thread(unzip, body)
            return JSONResponse(await office.take(site, body))
        except RequestError as error:
            closing = {"Connection": "close"} if error.status in (408, 413, 415) else None
            return refusal(error.status, error.field, error.message, closing)
        except StoreError as error:
            return refusal(503, "store", str(error), {"Retry-After": "1"})

    @routes.post(
        "/api/v1/sites/{site}/heads",
        response_model=HeadAnswer,
        responses=refusals,  # type: ignore[arg-type]  # as above
        summary="Keep a signed head of an edge's log; the answer says what it contradicts",
        openapi_extra={"requestBody": {"required": True, "content": {CONTENT_TYPE: {"schema": {"type": "string"}}}}},
    )
    async def take_head(site: str, request: Request) -> Response:
        if not office.may_send(site, bearer(request)):
            return refusal(401, "authorization", "not accepted", {"WWW-Authenticate": "Bearer", "Connection": "close"})
        try:
            return JSONResponse(await office.take_head(site, await _body(request, MAX_HEAD)))
        except RequestError as error:
            closing = {"Connection": "close"} if error.status in (408, 413, 415) else None
            return refusal(error.status, error.field, error.message, closing)
        except StoreError as error:
            return refusal(503, "store", str(error), {"Retry-After": "1"})

    return routes


async def _body(request: Request, limit: int = MAX_BODY) -> bytes:
    """The body, never more of it than `limit` in memory. Raises RequestError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != CONTENT_TYPE:
        raise RequestError("content-type", f"must be {CONTENT_TYPE}", 415)
    if _encoding(request) not in (IDENTITY, GZIP):
        raise RequestError("content-encoding", f"must be {GZIP}, or left out", 415)
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise _too_large(limit)
                parts.append(part)
    except TimeoutError as error:
        raise RequestError("body", f"did not arrive within {BODY_DEADLINE_S:.0f} s", 408) from error
    return b"".join(parts)


def _encoding(request: Request) -> str:
    return request.headers.get("content-encoding", IDENTITY).strip().lower()


def unzip(body: bytes) -> bytes:
    """What was compressed, never more of it than MAX_BODY in memory. Raises RequestError."""
    machine = zlib.decompressobj(wbits=GZIP_BITS)
    try:
        found = machine.decompress(body, MAX_BODY + 1)
    except zlib.error as error:
        raise RequestError("body", f"is no gzip: {error}", 400) from error
    if len(found) > MAX_BODY:
        raise _too_large(MAX_BODY)
    if not machine.eof or machine.unused_data:
        raise RequestError("body", "is no gzip: " + ("bytes follow it" if machine.eof else "it ends early"), 400)
    return found


def _too_large(limit: int) -> RequestError:
    return RequestError("body", f"must have at most {limit} bytes: send fewer rows at once", 413)
