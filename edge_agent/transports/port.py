"""Layer: what every port has in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

QUEUE_FULL = "queue_full"  # why a paused port that can't hold its senders back refuses what they say

Address = tuple[str, int] | None
Frames = Callable[["Port", Address, list[bytes]], None]
Refused = Callable[["Port", str, int], None]
Told = Callable[["Port", str], None]


class Port(Protocol):
    """A way to devices. `send` never blocks and may drop a frame: whoever needs an answer asks again."""

    name: str
    kind: str
    where: str
    up: bool
    frames_in: int
    frames_out: int
    dropped_out: int
    losses: int

    async def start(self) -> None:
        """Begins; a port that isn't there yet is waited for in the background."""

    async def stop(self) -> None:
        """Ends; frames not yet written are dropped."""

    def send(self, address: Address, frame: bytes, /, *, urgent: bool = False) -> None:
        """Sends one frame to where frames came from; urgent: before others that wait."""

    def pause(self) -> None:
        """Takes nothing more in until resume()."""

    def resume(self) -> None:
        """Ends pause()."""

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What must live as long as the port."""
        return []

    def silent(self, device: int) -> bool:  # noqa: ARG002 - a port that does not ask knows nothing
        """Whether a device that is asked here regularly no longer answers."""
        return False

    @property
    def jammed(self) -> bool:
        """Whether nobody gets through here because somebody speaks all the time."""
        return False

    def describe(self) -> dict[str, Any]:
        """What this kind of port has to say beside the common counts, for the status."""
        return {}


class Listener:
    """Whom a port tells: frames with their address, refused input by reason, coming and going with the cause."""

    def __init__(self, frames: Frames, refused: Refused, up: Told, lost: Told) -> None:
        self.frames = frames
        self.refused = refused
        self.up = up
        self.lost = lost
