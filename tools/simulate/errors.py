"""What can be wrong with a plan, a folder or a night; shown to people as one line."""

from __future__ import annotations

from tools.errors import ToolError


class SimulateError(ToolError):
    """Root of this package's errors; the text is one line for the user."""


class PlanError(SimulateError):
    """The plan file can't be used as it is: file, line and key are named, and what would be right."""

    def __init__(self, source: str, line: int | None, key: str, problem: str) -> None:
        where = f"{source}:{line}" if line else source
        super().__init__(f"{where}: {key}: {problem}" if key else f"{where}: {problem}")
        self.line = line
        self.key = key


class NightError(SimulateError):
    """The night could not be played: a part did not start, or did not finish before its deadline."""
