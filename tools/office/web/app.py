"""Puts the parts of the web side together; the only file of it that knows every one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from tools.office.errors import RequestError, StoreError
from tools.office.service import Office
from tools.office.web import api, edges, pages, upload
from tools.office.web.guard import Guard, refusal

DESCRIPTION = "Receives batches of events from the sites' edge agents and shows what it holds."


def build(office: Office) -> FastAPI:
    """The application; it starts the office and closes it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await office.start()
        try:
            yield
        finally:
            await office.close()

    # docs_url=None: FastAPI's own page fetches its scripts from elsewhere; ours works offline.
    app = FastAPI(
        title="Gatepost office", version="1", description=DESCRIPTION, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    app.middleware("http")(Guard(office))
    app.include_router(upload.router(office))
    app.include_router(api.router(office))
    shown = pages.install(app, office)
    edges.install(app, office, shown)

    def answer(request: Request, status: int, field: str, message: str, text: str) -> Response:
        if request.url.path.startswith("/api/"):
            return refusal(status, field, message)
        return shown.render(request, "error.html", status, text=text)

    @app.exception_handler(RequestError)
    async def refused(request: Request, error: RequestError) -> Response:
        text = shown.words(request)("wrong_request", error.field)
        return answer(request, error.status, error.field, error.message, text)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        field = str(first["loc"][-1])[:40]
        return answer(request, 422, field, str(first["msg"]), shown.words(request)("wrong_request", field))

    @app.exception_handler(StoreError)
    async def unable(request: Request, error: StoreError) -> Response:
        return answer(request, 503, "store", str(error), shown.words(request)("store_error"))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        text = shown.words(request)("not_found") if error.status_code == 404 else str(error.detail)
        return answer(request, error.status_code, "address", str(error.detail), text)

    return app
