"""What edges send: their enrolment, batches. Who it is first, then at most so many bytes, then all or nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from edge_agent.enrolment import VERSION
from edge_agent.sync.signing import NEXT_PIN_HEADER, NONCE_HEADER, NONCE_PATH
from tools.office.batch import MAX_BODY
from tools.office.errors import RequestError, StoreError
from tools.office.gate import Sender, WaitError, request_of
from tools.office.head import MAX_BODY as MAX_HEAD
from tools.office.service import Office
from tools.office.web import body
from tools.office.web.guard import refusal, source_of
from tools.office.web.models import Enrolled, ErrorAnswer, HeadAnswer, Nonce, Receipt

CONTENT_TYPE = "application/cbor"
JSON = "application/json"
MAX_ENROLMENT = 2_048
FEWER = "send fewer rows at once"
Take = Callable[[str, bytes, Sender], Awaitable[dict[str, object]]]


def router(office: Office) -> APIRouter:
    """POST /api/v1/sites/{site}/batches and .../edges/{edge}/enrolment, GET /api/v1/nonce"""
    routes = APIRouter(tags=["upload"])
    refusals = {code: {"model": ErrorAnswer} for code in (400, 401, 403, 408, 413, 415, 422, 429, 503)}

    def to_edge(answer: Response) -> Response:
        """What an edge needs for its next request stands in every answer to one."""
        answer.headers[NONCE_HEADER] = office.gate.nonces.now()
        if office.next_pin:
            answer.headers[NEXT_PIN_HEADER] = office.next_pin
        return answer

    def refused(error: RequestError | StoreError) -> Response:
        if isinstance(error, StoreError):
            return to_edge(refusal(503, "store", str(error), {"Retry-After": "1"}))
        headers: dict[str, str] = {}
        if error.status in (408, 413, 415):
            headers["Connection"] = "close"  # the body was not read: the connection can't be used again
        if error.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if isinstance(error, WaitError):
            headers["Retry-After"] = str(error.wait_s)
        return to_edge(refusal(error.status, error.field, error.message, headers))

    async def handed_in(site: str, request: Request, limit: int, take: Take) -> Response:
        """What an edge sends for its site: who it is, then the body, then `take`."""
        try:
            proof = request.headers.get("authorization", "")
            sender = await office.gate.sender(site, proof, "POST", request.scope["path"], source_of(request))
        except (RequestError, StoreError) as error:
            await body.let_go(request)
            return refused(error)
        try:
            raw = await body.read(request, CONTENT_TYPE, limit, FEWER, body.IDENTITY, body.GZIP)
            sender.check_body(raw)
            if body.encoding(request) == body.GZIP:
                raw = await asyncio.to_thread(body.unzip, raw, limit, FEWER)
            return to_edge(JSONResponse(await take(site, raw, sender)))
        except (RequestError, StoreError) as error:
            return refused(error)

    @routes.get(NONCE_PATH, response_model=Nonce, summary="What an edge has to sign its next request with")
    async def nonce() -> Response:
        return to_edge(JSONResponse({"v": VERSION, "nonce": office.gate.nonces.now()}))

    @routes.post(
        "/api/v1/sites/{site}/batches",
        response_model=Receipt,
        responses=refusals,  # type: ignore[arg-type]  # FastAPI asks for dict[int | str, ...], which is invariant
        summary="Store one batch of a site's events; the receipt says what is missing",
        openapi_extra={
            "requestBody": {"required": True, "content": {CONTENT_TYPE: {"schema": {"type": "string"}}}}
        },
    )
    async def take(site: str, request: Request) -> Response:
        return await handed_in(site, request, MAX_BODY, office.take)

    @routes.post(
        "/api/v1/sites/{site}/edges/{edge}/enrolment",
        response_model=Enrolled,
        responses=refusals,  # type: ignore[arg-type]  # see above
        summary="Let an edge in by its one-time code; from then on it sends by its own key",
        openapi_extra={"requestBody": {"required": True, "content": {JSON: {"schema": {"type": "object"}}}}},
    )
    async def enrol(site: str, edge: str, request: Request) -> Response:
        try:
            raw = await body.read(request, JSON, MAX_ENROLMENT, "a code, a key and a proof need no more")
            wanted = request_of(_flat_json(raw))
            since_ms = await office.gate.enrol(site, edge, wanted, source_of(request))
        except (RequestError, StoreError) as error:
            return refused(error)
        return to_edge(JSONResponse({"v": VERSION, "site": site, "edge": edge, "enrolled_ms": since_ms}))

    @routes.post(
        "/api/v1/sites/{site}/heads",
        response_model=HeadAnswer,
        responses=refusals,  # type: ignore[arg-type]  # as above
        summary="Keep a signed head of an edge's log; the answer says what it contradicts",
        openapi_extra={"requestBody": {"required": True, "content": {CONTENT_TYPE: {"schema": {"type": "string"}}}}},
    )
    async def take_head(site: str, request: Request) -> Response:
        return await handed_in(site, request, MAX_HEAD, office.take_head)

    return routes


def _flat_json(raw: bytes) -> object:
    """One object without any within. Raises RequestError."""
    if raw.count(b"{") + raw.count(b"[") > 1:
        raise RequestError("body", "must be one flat object", 400)
    try:
        return json.loads(raw)
    except ValueError as error:
        raise RequestError("body", "must be JSON", 400) from error
