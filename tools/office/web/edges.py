"""Edges, their enrolments and wrong tries of secrets: for the API and as a page."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI, Request, Response

from edge_agent.identity import fingerprint
from edge_agent.web.language import Words
from tools.office.service import Office
from tools.office.store.base import Alarm, Edge, Step
from tools.office.web import models, views
from tools.office.web.pages import Pages, ago

STEPS = 100
ALARMS = 100
ALARM_SHOWN_MS = 30 * 86_400_000


def install(app: FastAPI, office: Office, pages: Pages) -> None:
    """GET /edges and /api/v1/edges"""
    routes = APIRouter()

    async def found() -> tuple[list[Edge], list[Step], list[Alarm]]:
        edges = office.store.edges
        return (
            await office.read(edges.edges),
            await office.read(edges.steps, STEPS),
            await office.read(edges.alarms, office.now_ms() - ALARM_SHOWN_MS, ALARMS),
        )

    @routes.get(
        "/api/v1/edges",
        tags=["read"],
        summary="Who may send by its own key, how it came to that, wrong tries",
    )
    async def listed() -> models.EdgesAnswer:
        edges, steps, alarms = await found()
        return models.EdgesAnswer(
            edges=[
                models.EdgeAnswer(
                    site=one.site,
                    edge=one.edge,
                    key=fingerprint(one.public_key),
                    enrolled_ms=one.enrolled_ms,
                    revoked_ms=one.revoked_ms,
                    seen_ms=one.seen_ms,
                )
                for one in edges
            ],
            steps=[
                models.StepAnswer(
                    site=one.site,
                    edge=one.edge,
                    what=one.what,
                    key=fingerprint(one.public_key) if one.public_key else None,
                    source=one.source,
                    at_ms=one.at_ms,
                )
                for one in steps
            ],
            alarms=[models.AlarmAnswer(**one._asdict()) for one in alarms],
        )

    @routes.get("/edges", include_in_schema=False)
    async def shown(request: Request) -> Response:
        t = pages.words(request)
        edges, steps, alarms = await found()
        return pages.render(
            request,
            "edges.html",
            edges=[_edge(office, one, t) for one in edges],
            steps=[_step(office, one, t) for one in steps],
            alarms=[_alarm(office, one, t) for one in alarms],
        )

    app.include_router(routes)


def _edge(office: Office, one: Edge, t: Words) -> dict[str, object]:
    seen = None if one.seen_ms is None else max(office.now_ms() - one.seen_ms, 0)
    return {
        "site": office.site_name(one.site).in_language(t.language),
        "edge": one.edge,
        "key": fingerprint(one.public_key),
        "since": views.moment(one.enrolled_ms, office.config.utc_offset_min),
        "seen": t("never") if seen is None else ago(t, seen),
        "revoked": views.moment(one.revoked_ms, office.config.utc_offset_min)
        if one.revoked_ms is not None
        else "",
    }


def _step(office: Office, one: Step, t: Words) -> dict[str, object]:
    return {
        "at": views.moment(one.at_ms, office.config.utc_offset_min),
        "site": office.site_name(one.site).in_language(t.language),
        "edge": one.edge,
        "what": t(f"step_{one.what}"),
        "key": fingerprint(one.public_key) if one.public_key else "",
        "source": one.source,
    }


def _alarm(office: Office, one: Alarm, t: Words) -> dict[str, object]:
    return {
        "kind": t(f"alarm_{one.kind}"),
        "source": one.source,
        "tries": f"{one.tries:,}",
        "first": views.moment(one.first_ms, office.config.utc_offset_min),
        "last": views.moment(one.last_ms, office.config.utc_offset_min),
    }
