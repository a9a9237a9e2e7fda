"""One exception root of the office server; the leaves differ by what the caller must do.

Mistakes in files that people write are edge_agent.errors.ConfigError: the same reader reads both configurations.
"""

from __future__ import annotations


class OfficeError(Exception):
    """Root of everything that the office server raises on purpose."""


class RequestError(OfficeError):
    """A request can't be taken; nothing of it was done. `field` is the path in the body ("rows[3].items")."""

    def __init__(self, field: str, message: str, status: int = 422) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message
        self.status = status


class StoreError(OfficeError):
    """The database could not do it (disk full, read only, damaged): nothing was done, the sender tries again."""
