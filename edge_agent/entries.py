"""Layer: what may wait for the next commit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import apsw

from edge_agent.store.devices import SessionRow
from edge_agent.store.events import Run
from edge_agent.store.loose import Loose
from gatelink.messages import Hello


class Received(NamedTuple):
    """One authentic message of a device; the replay window is the one after it. What is None does not apply."""

    device: int
    piv_high: int
    piv_mask: int
    received_ms: int
    run: Run | None = None
    last_lo_ms: int = 0
    proof: Run | None = None
    session: SessionRow | None = None
    hello: Hello | None = None
    held_raw: HeldRaw | None = None
    loose: Loose | None = None


class HeldRaw(NamedTuple):
    """A message that could not be taken as events; the extent is None where it could not be read."""

    reason: str
    first_seq: int
    last_seq: int | None
    message: bytes


class Own(NamedTuple):
    """An event of the agent itself; it gets its seq at the commit. error_ms None: the time is not known."""

    payload: bytes
    uptime_cs: int
    now_ms: int
    error_ms: int | None


class Restated(NamedTuple):
    """Later knowledge of when events happened: rows for the log, and what to keep of the runs that they speak of."""

    rows: tuple[Run, ...]
    job: Job


class NewEpoch(NamedTuple):
    """The device has spoken its pending key: the replay window starts anew, together with the key and the event."""

    device: int
    epoch: int
    job: Job
    own: Own


class Revoked(NamedTuple):
    """A device's key is dropped, together with the event that tells it."""

    job: Job
    own: Own


class Job(NamedTuple):
    """Other work for the writer, inside the group's transaction; `done` runs on the loop after the commit."""

    apply: Callable[[apsw.Connection], object]
    done: Callable[[], None] = lambda: None


Entry = Received | Own | Job | NewEpoch | Revoked | Restated


def committed(
    submit: Callable[[Job], None], apply: Callable[[apsw.Connection], object]
) -> asyncio.Future[None]:
    """Submits work for the writer; the result is there when it is on the disk."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    submit(Job(apply, lambda: None if done.done() else done.set_result(None)))
    return done
