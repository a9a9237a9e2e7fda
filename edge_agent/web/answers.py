"""Layer: the shapes of this server's answers."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

JSON = "application/json"


def json_answer(
    value: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """A JSON answer in UTF-8."""
    text = json.dumps(value, ensure_ascii=False)
    return web.Response(text=text, status=status, content_type=JSON, headers=headers)


def error(status: int, field: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """What is wrong, by field, and what would be right."""
    return json_answer({"error": {"field": field, "message": message}}, status, headers)
