"""Layer: shows how the night goes: a bar at a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

_LINE_EVERY_MS = 1_800_000


class Show:
    """`say` prints a line, `at` moves the bar; use as a context manager."""

    def __init__(self, begin_min: int, length_ms: int) -> None:
        self._begin_min = begin_min
        self._length_ms = length_ms
        self._next_line_ms = 0
        self._console = Console(highlight=False, soft_wrap=True)
        self._bar: Progress | None = None
        if sys.stdout.isatty():
            self._bar = Progress(
                TextColumn("{task.fields[clock]}"),
                BarColumn(),
                TextColumn("{task.fields[state]}"),
                TimeElapsedColumn(),
                console=self._console,
            )
            self._task = self._bar.add_task("night", total=length_ms, clock="", state="")

    def __enter__(self) -> Show:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def clock(self, at_ms: float) -> str:
        """The estate's time of day."""
        minute = (self._begin_min + int(at_ms // 60_000)) % 1440
        return f"{minute // 60:02}:{minute % 60:02}"

    def say(self, text: str, at_ms: float | None = None) -> None:
        """One line, with the estate's time where it belongs to one."""
        line = text if at_ms is None else f"{self.clock(at_ms)}  {text}"
        self._console.print(line, markup=False)

    def at(self, at_ms: float, state: str) -> None:
        """Where the night is and how things stand."""
        at_ms = min(max(at_ms, 0), self._length_ms)
        if self._bar is not None:
            self._bar.update(self._task, completed=at_ms, clock=self.clock(at_ms), state=state)
        elif at_ms >= self._next_line_ms:
            self._next_line_ms = (int(at_ms) // _LINE_EVERY_MS + 1) * _LINE_EVERY_MS
            self.say(state, at_ms)
