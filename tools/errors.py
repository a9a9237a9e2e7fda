"""The root of what people can get wrong with the tools; the text is one line that says what would be right."""

from __future__ import annotations


class ToolError(Exception):
    """A mistake of the user or of the surroundings; `gatepost` prints it as one line and exits with 2."""
