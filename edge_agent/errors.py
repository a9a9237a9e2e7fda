"""Layer: every error of the agent, one root, leaves by what the caller must do."""

from __future__ import annotations


class EdgeError(Exception):
    """The agent could not do what was asked; the text is for a technician."""


class ConfigError(EdgeError):
    """A file is wrong: tell the operator file, line, key and what would be right; do not start."""

    def __init__(self, source: str, line: int | None, key: str, problem: str) -> None:
        self.source = source
        self.line = line
        self.key = key
        self.problem = problem
        where = f"{source}:{line}" if line else source
        super().__init__(f"{where}: {key}: {problem}" if key else f"{where}: {problem}")


class StoreError(EdgeError):
    """The store can't be used as it is: do not start; the text names the remedy."""


class StoreUnreadError(StoreError):
    """The store can't be read just now (locked, a disk that fails or is full): nothing says that it is damaged."""


class StoreClosedError(EdgeError):
    """The writer takes no more work; what was not acknowledged stays with its sender."""


class OfficeUnreachableError(EdgeError):
    """No usable answer from the office: keep the rows, try again later."""


class OfficeDeniedError(OfficeUnreachableError):
    """The office does not let this edge send, or isn't the one it knows: keep the rows, somebody has to act."""

    def __init__(self, state: str, message: str) -> None:
        self.state = state
        super().__init__(message)


class OfficeAwayError(OfficeUnreachableError):
    """Not even a connection to the office: worth a try as soon as there is one."""


class OfficeSilentError(OfficeUnreachableError):
    """Connected, and then nothing more came within the time: the link is half open, too slow, or the office hangs."""


class OfficeRefusedError(EdgeError):
    """The office understood the batch and refused it (4xx): keep the rows, tell the operator."""

    def __init__(self, status: int, field: str, message: str) -> None:
        self.status = status
        self.field = field
        self.message = message
        super().__init__(f"HTTP {status} {field}: {message}" if field else f"HTTP {status}: {message}")


class ReleaseError(EdgeError):
    """What should go to a device is no release for it; the text says why."""


class CommandRefusedError(EdgeError):
    """A command can't be sent as asked; the reason is the text."""


class EnrolmentError(EdgeError):
    """This edge can't be enrolled at an office as asked; the text is for a technician."""
