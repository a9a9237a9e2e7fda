"""Layer: structured logs: one JSON object per line on stderr; values given by `extra={"data": {...}}`."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable

MAX_TEXT = 500


class JsonLines(logging.Formatter):
    """{"time_ms", "level", "event", ...data}; control characters are escaped by JSON, long texts are cut."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        super().__init__()
        self._now_ms = now_ms

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time_ms": self._now_ms(),
            "level": record.levelname.lower(),
            "part": record.name,
            "event": record.getMessage()[:MAX_TEXT],
        }
        data = getattr(record, "data", None)
        if isinstance(data, dict):
            for key, value in data.items():
                line[str(key)] = value[:MAX_TEXT] if isinstance(value, str) else value
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)[-4_000:]
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(level: str, now_ms: Callable[[], int]) -> None:
    """Routes all logging of the process to stderr as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(now_ms))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)


class Log:
    """logger.info(event, key=value, ...)."""

    def __init__(self, part: str) -> None:
        self._logger = logging.getLogger(part)

    def debug(self, event: str, **data: object) -> None:
        """For developers."""
        self._logger.debug(event, extra={"data": data})

    def info(self, event: str, **data: object) -> None:
        """Ordinary life."""
        self._logger.info(event, extra={"data": data})

    def warning(self, event: str, **data: object) -> None:
        """Something to look at."""
        self._logger.warning(event, extra={"data": data})

    def error(self, event: str, **data: object) -> None:
        """Something is broken."""
        self._logger.error(event, extra={"data": data})
