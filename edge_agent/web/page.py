"""Layer: snapshot and events -> the HTML of the status page, readable without scripts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from edge_agent import event_words
from edge_agent.web.feed import Seen
from edge_agent.web.language import Words
from edge_agent.web.texts import TEXTS
from edge_agent.web.verdict import concerns, label
from gatelink import events

HERE = Path(__file__).parent
STATIC = HERE / "static"


class Page:
    """Renders; `names` gives the name of a device or of this agent, "" where there is none."""

    def __init__(self, title: str, names: Callable[[int], str]) -> None:
        self._title = title
        self._names = names
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def whole(self, status: dict[str, Any], seen: list[Seen], newest: int, language: str) -> str:
        """The page; newest: the log's position from which the live stream goes on."""
        return self._render(
            "status.html",
            language,
            **self._state(status, language),
            events=[self.event(one, language) for one in reversed(seen)],
            newest=newest,
        )

    def state(self, status: dict[str, Any], language: str) -> str:
        """The part above the events, as the stream renews it."""
        return self._render("state.html", language, **self._state(status, language))

    def login(self, language: str, problem: str, wait_s: int = 0) -> str:
        """Asks for the viewer token; problem: "", "login_wrong" or "login_wait"."""
        t = Words(TEXTS, language)
        return self._render("login.html", language, problem=t(problem, wait_s) if problem else "")

    def event(self, seen: Seen, language: str) -> dict[str, Any]:
        """One event in words; cards show their last digits only."""
        t = Words(TEXTS, language)
        kind = events.kind_of(seen.payload)
        return {
            "at": moment(seen.at_ms) if seen.at_ms else t("time_unknown"),
            "device": self._names(seen.device) or str(seen.device),
            "seq": f"{seen.seq:,}",
            "kind": event_words.kind_name(kind, language),
            "text": event_words.describe(kind, seen.payload, language, event_words.masked),
            "late": t("late") if seen.late else "",
            "alarm": event_words.is_alarm(kind),
        }

    def _state(self, status: dict[str, Any], language: str) -> dict[str, Any]:
        t = Words(TEXTS, language)
        found = concerns(status)
        return {
            "status": status,
            "concerns": [(one.mood, t(one.text, *one.values)) for one in found],
            "moment": moment,
            "label": label,
            "named": lambda kind, code: t(f"{kind}_{code}") if f"{kind}_{code}" in TEXTS else code,
        }

    def _render(self, template: str, language: str, **values: object) -> str:
        return self._templates.get_template(template).render(
            t=Words(TEXTS, language), title=self._title, other="en" if language == "zh" else "zh", **values
        )


def moment(at_ms: int) -> str:
    """Date and time on this machine, to the second."""
    return datetime.fromtimestamp(at_ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")
