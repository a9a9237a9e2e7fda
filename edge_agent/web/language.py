"""Layer: which language a request asks for, and a page's texts in it; pure, for edge and office."""

from __future__ import annotations

from collections.abc import Mapping

LANGUAGE_COOKIE = "lang"


class Words:
    """Texts (name -> Chinese, English) in one language."""

    def __init__(self, texts: Mapping[str, tuple[str, str]], language: str) -> None:
        self._texts = texts
        self.language = language
        self.tag = "zh-CN" if language == "zh" else "en"
        self._column = 0 if language == "zh" else 1

    def __call__(self, name: str, *values: object) -> str:
        """One text, with its blanks filled in."""
        return self._texts[name][self._column].format(*values)


def language_of(query: str | None, cookie: str | None, accept: str) -> str:
    """zh or en: the address says it, else the last choice, else the browser, else Chinese."""
    for wish in (query, cookie):
        if wish is not None and wish.lower()[:2] in ("zh", "en"):
            return wish.lower()[:2]
    best, choice = 0.0, "zh"
    for part in accept[:200].split(","):
        name, _, weight = part.partition(";q=")
        try:
            value = float(weight) if weight else 1.0
        except ValueError:
            continue
        if name.strip().lower()[:2] in ("zh", "en") and value > best:
            best, choice = value, name.strip().lower()[:2]
    return choice
