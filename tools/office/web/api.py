"""The JSON API for reading; the same data as the pages."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from tools.office.errors import RequestError
from tools.office.service import Office
from tools.office.web import models, views

U32 = 0xFFFFFFFF
Limit = Annotated[int, Query(ge=1, le=1000)]
Kind = Annotated[int, Field(ge=0, le=255)]
Device = Annotated[int, Path(ge=0, le=U32)]


def router(office: Office) -> APIRouter:
    """GET /api/v1/..."""
    routes = APIRouter(tags=["read"], responses={422: {"model": models.ErrorAnswer}})

    @routes.get("/healthz", summary="Whether the server answers")
    async def health() -> models.Health:
        return models.Health(ok=True, now_ms=office.now_ms())

    @routes.get("/api/v1/sites", summary="The sites")
    async def sites() -> list[models.SiteAnswer]:
        states = await office.read(office.store.devices)
        answers: list[models.SiteAnswer] = []
        for site in sorted({*office.config.sites, *(state.site for state in states)}):
            own = [state for state in states if state.site == site]
            name = office.site_name(site)
            answers.append(
                models.SiteAnswer(
                    id=site,
                    name_zh=name.zh,
                    name_en=name.en,
                    devices=len(own),
                    complete=not any(state.missing for state in own),
                )
            )
        return answers

    @routes.get("/api/v1/devices", summary="The devices with their proofs of completeness")
    async def devices(site: str | None = None) -> list[models.DeviceAnswer]:
        states = await office.read(office.store.devices, site)
        return [views.device_answer(office, state) for state in states]

    @routes.get("/api/v1/sites/{site}/devices/{device}", summary="One device")
    async def device(site: str, device: Device) -> models.DeviceAnswer:
        states = await office.read(office.store.devices, site, device)
        if not states:
            raise RequestError("device", "no such device has sent anything", 404)
        return views.device_answer(office, states[0])

    @routes.get("/api/v1/logs", summary="The edges' logs: how far they are signed, and what contradicts")
    async def logs(site: str | None = None) -> list[models.LogAnswer]:
        return [views.log_answer(state) for state in await office.read(office.store.logs, site)]

    @routes.get("/api/v1/events", summary="The latest events")
    async def events(
        site: str | None = None,
        device: Annotated[int | None, Query(ge=0, le=U32)] = None,
        kind: Annotated[list[Kind] | None, Query(max_length=64)] = None,
        before: str | None = None,
        limit: Limit = 50,
    ) -> models.EventsAnswer:
        cursor = views.cursor_of(before)
        page = await office.read(office.store.events, site, device, tuple(kind or ()), cursor, limit)
        return models.EventsAnswer(
            events=[views.event_answer(office, event) for event in page.events],
            older=views.cursor_text(page.older),
        )

    @routes.get("/api/v1/sites/{site}/devices/{device}/events", summary="A device's events in its own order")
    async def history(
        site: str, device: Device, after: Annotated[int, Query(ge=0, le=U32)] = 0, limit: Limit = 500
    ) -> models.HistoryAnswer:
        found = await office.read(office.store.history, site, device, after, limit)
        return models.HistoryAnswer(
            events=[views.event_answer(office, event) for event in found],
            next_after=found[-1].seq if len(found) == limit else None,
        )

    @routes.get("/favicon.ico", include_in_schema=False)
    async def icon() -> Response:
        return Response(status_code=204)

    return routes
