"""Layer: structured logs: one JSON object per line on stderr; values given by `extra={"data": {...}}`."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import IO, Any

MAX_TEXT = 500
MAX_ITEMS = 64
MAX_DEPTH = 4
MAX_LINE = 16_384
MAX_KINDS = 512
BURST, PAUSE_S = 20, 10.0  # so many lines of one kind at once, then one in so long
BURST_ALL, PAUSE_ALL_S = 300, 1.0  # and of all kinds below error together
REPORT_S = 60.0
# What a reader of lines or a terminal would act on, and what UTF-8 can't hold.
_ODD = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_PRIORITY = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_SAME = ("device", "port", "lane")  # a line about another one of these is another line


class JsonLines(logging.Formatter):
    """{"time_ms", "level", "part", "event", ...data}; control characters are escaped, long texts and lists are cut."""

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
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)[-4_000:]
        data = getattr(record, "data", None)
        if isinstance(data, dict):
            for key, value in data.items():
                line.setdefault(str(key), _plain(value))
        text = json.dumps(line, ensure_ascii=False, allow_nan=False)
        if len(text) > MAX_LINE:
            line = {key: line[key] for key in ("time_ms", "level", "part", "event")}
            text = json.dumps({**line, "cut": len(text)}, ensure_ascii=False)
        return _ODD.sub(lambda odd: f"\\u{ord(odd[0]):04x}", text)


def _plain(value: object, depth: int = 0) -> object:
    """What JSON can hold, short."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes | bytearray):
        return value[: MAX_TEXT // 2].hex()
    if depth < MAX_DEPTH and isinstance(value, dict):
        return {str(k)[:MAX_TEXT]: _plain(v, depth + 1) for k, v in list(value.items())[:MAX_ITEMS]}
    if depth < MAX_DEPTH and isinstance(value, list | tuple | set | frozenset):
        return [_plain(one, depth + 1) for one in list(value)[:MAX_ITEMS]]
    return str(value)[:MAX_TEXT]


class Bucket:
    """Lets `burst` through at once, then one in pause_s."""

    __slots__ = ("_at_s", "_burst", "_left", "_pause_s")

    def __init__(self, burst: int, pause_s: float, now_s: float) -> None:
        self._burst = self._left = float(burst)
        self._pause_s = pause_s
        self._at_s = now_s

    def take(self, now_s: float) -> bool:
        """Whether one more may pass."""
        self._left = min(self._left + (now_s - self._at_s) / self._pause_s, self._burst)
        self._at_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Limiter:
    """A line that comes again and again must not fill an SD card: what is left out is counted and told."""

    def __init__(self, now_s: float) -> None:
        self._kinds: OrderedDict[object, Bucket] = OrderedDict()
        self._all = Bucket(BURST_ALL, PAUSE_ALL_S, now_s)
        self._told_s = now_s
        self.left_out = 0  # since the last report

    def take(self, kind: object, now_s: float, *, important: bool) -> bool:
        """Whether a line of this kind may be written; important ones don't share a limit with others."""
        bucket = self._kinds.get(kind)
        if bucket is None:
            bucket = self._kinds[kind] = Bucket(BURST, PAUSE_S, now_s)
            if len(self._kinds) > MAX_KINDS:
                self._kinds.popitem(last=False)
        else:
            self._kinds.move_to_end(kind)
        if bucket.take(now_s) and (important or self._all.take(now_s)):
            return True
        self.left_out += 1
        return False

    def due(self, now_s: float) -> int:
        """How many were left out, when it is time to tell; else 0."""
        if not self.left_out or now_s - self._told_s < REPORT_S:
            return 0
        self._told_s = now_s
        found, self.left_out = self.left_out, 0
        return found


class Lines(logging.StreamHandler[Any]):
    """Writes the lines; with the priority in front where journald reads them (sd-daemon(3))."""

    def __init__(
        self, stream: Any, formatter: JsonLines, *, priorities: bool, limiter: Limiter | None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        super().__init__(stream)
        self.setFormatter(formatter)
        self._priorities = priorities
        self._limiter = limiter
        self._now_s = now_s

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a record, if it may."""
        limiter = self._limiter
        if limiter is not None:
            now_s = self._now_s()
            if count := limiter.due(now_s):
                super().emit(_left_out(count))
            if not limiter.take(_kind(record), now_s, important=record.levelno >= logging.ERROR):
                return
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        """The line without its end."""
        line = super().format(record)
        if not self._priorities:
            return line
        return f"<{next((number for least, number in _PRIORITY if record.levelno >= least), 7)}>{line}"

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """A record that can't be made a line: says which, as a line."""
        kind, problem, _ = sys.exc_info()
        if kind is not None and issubclass(kind, OSError | ValueError):
            return  # stderr is closed or full: there is nobody to tell
        told = logging.LogRecord("logs", logging.ERROR, "", 0, "a line could not be written", None, None)
        told.data = {"by": record.name, "line": str(record.msg)[:MAX_TEXT], "problem": str(problem)}
        super().emit(told)

    def close(self) -> None:
        """Tells what is still untold."""
        if self._limiter is not None and self._limiter.left_out:
            super().emit(_left_out(self._limiter.left_out))
            self._limiter.left_out = 0
        super().close()


def _kind(record: logging.LogRecord) -> object:
    data = getattr(record, "data", None) or {}
    return record.name, record.levelno, str(record.msg)[:MAX_TEXT], *(str(data.get(name)) for name in _SAME)


def _left_out(count: int) -> logging.LogRecord:
    told = logging.LogRecord(
        "logs", logging.WARNING, "", 0, "lines that came too often were left out", None, None
    )
    told.data = {"count": count}
    return told


def configure(level: str, now_ms: Callable[[], int]) -> None:
    """Routes all logging of the process to stderr as JSON lines, and what nobody caught, too.

    With level "debug" nothing is left out.
    """
    stream = sys.stderr
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    limiter = None if level == "debug" else Limiter(time.monotonic())
    handler = Lines(stream, JsonLines(now_ms), priorities=_is_journal(stream), limiter=limiter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    sys.unraisablehook = _unraisable
    threading.excepthook = _uncaught_in_thread


def _is_journal(stream: IO[str], environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the stream goes to journald: it names its device and inode."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environment.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("edge").critical("nobody caught this", exc_info=(kind, error, trace))


def _uncaught_in_thread(found: threading.ExceptHookArgs) -> None:
    if found.exc_value is not None:
        _uncaught(found.exc_type, found.exc_value, found.exc_traceback)


def _unraisable(found: sys.UnraisableHookArgs) -> None:
    error = found.exc_value
    logging.getLogger("edge").error(
        "nobody could be told of this",
        exc_info=(found.exc_type, error, found.exc_traceback) if error is not None else None,
        extra={"data": {"in": repr(found.object)}},
    )


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
