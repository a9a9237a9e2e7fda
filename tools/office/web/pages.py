"""The pages, rendered here and readable without scripts: overview, sign-in, API description, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from edge_agent import event_words as words
from edge_agent.web.language import LANGUAGE_COOKIE, Words, language_of
from edge_agent.web.page import STATIC
from tools.office.errors import RequestError
from tools.office.gate import WaitError
from tools.office.intervals import Span, within
from tools.office.service import Office
from tools.office.store.base import LOG_REASONS, UNPROVEN, Cursor, DeviceState, LogState, StoredEvent
from tools.office.web import body, views
from tools.office.web.guard import VIEWER_COOKIE, source_of
from tools.office.web.texts import TEXTS

HERE = Path(__file__).parent
PAGE_EVENTS = 50
GUESSED_MS = 7 * 86_400_000  # so long the overview tells of wrong tries
YEAR_S = 365 * 86_400
MAX_FORM = 4_096
SILENT_MS = 15 * 60_000  # a device that was not heard of for so long is shown as such
ROLES = {1: "tag", 2: "barrier"}


class Pages:
    """Renders; holds nothing but the templates."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )

    def words(self, request: Request) -> Words:
        """The texts in the request's language."""
        return Words(
            TEXTS,
            language_of(
                request.query_params.get("lang"),
                request.cookies.get(LANGUAGE_COOKIE),
                request.headers.get("accept-language", ""),
            ),
        )

    def render(self, request: Request, template: str, status: int = 200, **values: object) -> Response:
        """A page; the chosen language is remembered."""
        t = self.words(request)
        other = {**request.query_params, "lang": "en" if t.language == "zh" else "zh"}
        now = self._office.now_ms()
        page = self._templates.get_template(template).render(
            t=t,
            other_language="?" + urlencode(other),
            now=views.moment(now, self._office.config.utc_offset_min),
            zone=_zone(self._office.config.utc_offset_min),
            **values,
        )
        answer = HTMLResponse(page, status, {"Content-Language": t.tag, "Vary": "Accept-Language, Cookie"})
        if request.query_params.get("lang") in words.LANGUAGES:
            answer.set_cookie(LANGUAGE_COOKIE, t.language, max_age=YEAR_S, httponly=True, samesite="lax")
        return answer

    async def overview(self, request: Request) -> Response:
        """Sites, devices with their proofs, latest events. Raises RequestError, StoreError."""
        office, t = self._office, self.words(request)
        site = request.query_params.get("site") or None
        device = _device_of(request.query_params.get("device"), site)
        kind = request.query_params.get("kind") or ""
        before = views.cursor_of(request.query_params.get("before"))
        states = await office.read(office.store.devices)
        logs = await office.read(office.store.logs)
        if device is not None and site is None:
            site = device[0]
        misfits = {
            (state.site, state.device): [(f.first, f.last) for f in state.findings if f.reason != UNPROVEN]
            for state in states
        }
        page = await office.read(
            office.store.events, site, device[1] if device else None, _kinds_of(kind), before, PAGE_EVENTS
        )
        names = {
            (state.site, state.device): office.device_name(state.site, state.device, state.name, t.language)
            for state in states
        }
        query = {"site": site or "", "device": "/".join(map(str, device)) if device else "", "kind": kind}
        trouble = [state for state in states if _troubled(state)]
        disputed = [log for log in logs if log.findings]
        return self.render(
            request,
            "overview.html",
            sites=self._sites(states, logs, t, names, site),
            site_choices=[(key, one.name.in_language(t.language)) for key, one in sorted(office.config.sites.items())],
            device_choices=[
                (f"{state.site}/{state.device}", names[state.site, state.device])
                for state in states
                if site in (None, state.site)
            ],
            kind_choices=[(str(number), words.kind_name(number, t.language)) for number in words.KINDS],
            query=query,
            filtered=any(query.values()),
            trouble=len(trouble) + len(disputed),
            any_device=bool(states),
            guessed=len(await office.read(office.store.edges.alarms, office.now_ms() - GUESSED_MS, 100)),
            events=[self._event(event, t, names, misfits) for event in page.events],
            older=_older(query, page.older),
            newest="?" + urlencode({name: value for name, value in query.items() if value}) if before else None,
        )

    def _sites(
        self,
        states: list[DeviceState],
        logs: list[LogState],
        t: Words,
        names: dict[tuple[str, int], str],
        only: str | None,
    ) -> list[dict[str, Any]]:
        office = self._office
        found: list[dict[str, Any]] = []
        for site in sorted({*office.config.sites, *(state.site for state in states)}):
            if only not in (None, site):
                continue
            own = [self._device(state, t, names) for state in states if state.site == site]
            signed = [(log.edge, self._log(log, t)) for log in logs if log.site == site]
            name = office.site_name(site).in_language(t.language)
            found.append({"id": site, "name": name, "devices": own, "logs": signed})
        return found

    def _device(self, state: DeviceState, t: Words, names: dict[tuple[str, int], str]) -> dict[str, Any]:
        office = self._office
        age = None if state.last_contact_ms is None else max(office.now_ms() - state.last_contact_ms, 0)
        edge = (state.firmware or "").startswith("edge") or (state.role not in ROLES and not state.battery_mv)
        return {
            "id": f"{state.site}/{state.device}",
            "number": state.device,
            "name": names[state.site, state.device],
            "role": t(ROLES.get(state.role or 0, "edge" if edge else "other")),
            "firmware": state.firmware,
            "battery": f"{state.battery_mv / 1000:.2f} V" if state.battery_mv else None,
            "contact": t("never") if age is None else ago(t, age),
            "contact_at": views.moment(state.last_contact_ms, office.config.utc_offset_min),
            "silent": age is not None and age > SILENT_MS,
            "records": _records(state, t),
            "chain": self._chain(state, t),
        }

    def _log(self, log: LogState, t: Words) -> list[tuple[str, str]]:
        """(mood, text) of an edge's signed log."""
        if not log.head:
            shown = [("quiet", t("log_unsigned"))]
        else:
            at = views.moment(log.head_ms, self._office.config.utc_offset_min)
            shown = [("good", t("log_signed", f"{log.signed_pos:,}", at))]
        for reason, name in enumerate(LOG_REASONS):
            spans = [(found.first, found.last) for found in log.findings if found.reason == reason]
            if spans:
                shown.append(("bad", t(f"log_{name}", views.ranges(spans))))
        return shown

    def _chain(self, state: DeviceState, t: Words) -> list[tuple[str, str]]:
        """(mood, text) of the tamper check."""
        if not self._office.has_key(state.site, state.device):
            return [("quiet", t("no_key"))]
        shown = [("good", t("verified", f"{state.verified_to:,}"))] if state.verified_to else []
        for reason, name in enumerate(views.REASONS):
            spans = [(found.first, found.last) for found in state.findings if found.reason == reason]
            if spans:
                shown.append(("warn" if name == "unproven" else "bad", t(name, views.ranges(spans))))
        return shown or [("quiet", t("not_verified"))]

    def _event(
        self,
        event: StoredEvent,
        t: Words,
        names: dict[tuple[str, int], str],
        misfits: dict[tuple[str, int], list[Span]],
    ) -> dict[str, Any]:
        office = self._office
        at, slack = views.interval(event, office.config.utc_offset_min)
        return {
            "at": at,
            "slack": slack,
            "first": views.first_interval(event, office.config.utc_offset_min),
            "site": office.site_name(event.site).in_language(t.language),
            "device": names.get((event.site, event.device), str(event.device)),
            "device_id": f"{event.site}/{event.device}",
            "seq": f"{event.seq:,}",
            "kind": words.kind_name(event.kind, t.language),
            "text": views.event_text(office, event, t.language),
            "suspect": bool(within(misfits.get((event.site, event.device), []), event.seq, event.seq)),
            "alarm": words.is_alarm(event.kind),
        }


def install(app: FastAPI, office: Office) -> Pages:
    """The routes of the pages."""
    pages = Pages(office)
    routes = APIRouter(include_in_schema=False)

    @routes.get("/")
    async def overview(request: Request) -> Response:
        return await pages.overview(request)

    @routes.get("/docs")
    async def docs(request: Request) -> Response:
        return pages.render(request, "docs.html", api=_described(app.openapi()))

    @routes.get("/gatepost.css")
    async def style() -> Response:
        return FileResponse(STATIC / "gatepost.css", media_type="text/css", headers={"Cache-Control": "max-age=300"})

    @routes.get("/login")
    async def login(request: Request) -> Response:
        return pages.render(request, "login.html", problem="")

    @routes.post("/login")
    async def enter(request: Request) -> Response:
        form = await body.read(request, None, MAX_FORM, "a token is shorter")
        token = parse_qs(form.decode("utf-8", "replace")).get("token", [""])[0]
        t = pages.words(request)
        try:
            if not await office.gate.may_look(token, source_of(request)):
                return pages.render(request, "login.html", 401, problem=t("login_wrong"))
        except WaitError as error:
            return pages.render(request, "login.html", 429, problem=t("login_wait", error.wait_s))
        answer = RedirectResponse("/", 303)
        secure = office.config.tls is not None
        known = office.gate.viewer_pass
        answer.set_cookie(VIEWER_COOKIE, known, max_age=YEAR_S, httponly=True, samesite="strict", secure=secure)
        return answer

    app.include_router(routes)
    return pages


def _device_of(text: str | None, site: str | None) -> tuple[str, int] | None:
    if not text:
        return None
    own_site, _, number = text.rpartition("/")
    if not own_site or not (number.isascii() and number.isdigit() and len(number) <= 10):
        raise RequestError("device", "must be site/number")
    if site not in (None, own_site):
        return None  # another site was chosen meanwhile
    return own_site, int(number)


def _kinds_of(text: str) -> tuple[int, ...]:
    if text == "alarms":
        return words.ALARMS
    if not text:
        return ()
    if not (text.isascii() and text.isdigit() and len(text) <= 3):
        raise RequestError("kind", "must be a number or alarms")
    return (int(text),)


def _older(query: dict[str, str], cursor: Cursor | None) -> str | None:
    before = views.cursor_text(cursor)
    return "?" + urlencode({**{k: v for k, v in query.items() if v}, "before": before}) if before else None


def _troubled(state: DeviceState) -> bool:
    return bool(state.missing or state.lost or state.conflicts or state.findings)


def _records(state: DeviceState, t: Words) -> list[tuple[str, str]]:
    """(mood, text) of the proof that nothing is missing."""
    shown: list[tuple[str, str]] = []
    if state.complete_to:
        shown.append(("good", t("complete", views.ranges([(1, state.complete_to)]))))
    elif not state.stored:
        shown.append(("quiet", t("nothing")))
    if state.missing:
        shown.append(("bad", t("missing", views.ranges(state.missing))))
    if state.lost:
        shown.append(("warn", t("lost", views.ranges(state.lost))))
    if state.conflicts:
        shown.append(("bad", t("conflicts", f"{state.conflicts:,}")))
    return shown


def ago(t: Words, age_ms: int) -> str:
    """How long something is past."""
    minutes = age_ms // 60_000
    if minutes < 1:
        return t("just_now")
    if minutes < 120:
        return t("ago", t("min", minutes))
    if minutes < 48 * 60:
        return t("ago", t("hour", minutes // 60))
    return t("ago", t("day", f"{minutes // 1440:,}"))


def _zone(offset_min: int) -> str:
    hours, minutes = divmod(abs(offset_min), 60)
    return f"{'-' if offset_min < 0 else '+'}{hours:02}:{minutes:02}"


def _described(openapi: dict[str, Any]) -> list[dict[str, Any]]:
    """The operations of an OpenAPI document, as docs.html shows them."""
    shown: list[dict[str, Any]] = []
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            shown.append(
                {
                    "method": method.upper(),
                    "path": path,
                    "summary": operation.get("summary", ""),
                    "parameters": [
                        (item["name"], item["in"], item.get("required", False))
                        for item in operation.get("parameters", [])
                    ],
                    "answers": [(code, item["description"]) for code, item in operation["responses"].items()],
                }
            )
    return shown
