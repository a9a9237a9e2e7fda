"""Layer: what lies between the machines: lines of devices and the way to the office, with a fate for every byte."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, NamedTuple

from edge_agent.errors import OfficeAwayError
from edge_agent.tests.simulation.clock import VirtualLoop

UP, DOWN = "up", "down"
KEPT = 40  # frames that an eavesdropper remembers


class Fate(NamedTuple):
    """What may happen to a frame; shares from 0 to 1."""

    delay_ms: tuple[float, float]
    loss: float = 0.0
    doubled: float = 0.0
    altered: float = 0.0
    late: float = 0.0  # comes up to 20 s later
    cut: float = 0.0  # serial: a block comes in pieces


CALM = Fate((2.0, 10.0))


class Line:
    """One device's way to the edge and back. `serial`: bytes in their order; else datagrams."""

    def __init__(
        self,
        loop: VirtualLoop,
        rng: random.Random,
        count: Counter[str],
        trace: Callable[..., None],
        *,
        serial: bool,
    ) -> None:
        self._loop = loop
        self._rng = rng
        self._count = count
        self._trace = trace
        self.serial = serial
        self.fate = CALM
        self.closed: set[str] = set()
        self.to_edge: Callable[[bytes], None] = lambda _: None
        self.to_device: Callable[[bytes, int], None] = lambda _, __: None
        self.heard: deque[bytes] = deque(maxlen=KEPT)
        self.heard_down: deque[tuple[bytes, int]] = deque(maxlen=KEPT)
        self._free_ms = {UP: 0.0, DOWN: 0.0}

    @property
    def fine(self) -> bool:
        """Nothing gets lost."""
        return not self.closed and self.fate == CALM

    def up(self, data: bytes) -> None:
        """From the device."""
        self.heard.append(data)
        self._send(UP, data, 0)

    def down(self, data: bytes, stored_upto: int) -> None:
        """To the device; what the edge had on its disk then."""
        self.heard_down.append((data, stored_upto))
        self._send(DOWN, data, stored_upto)

    def _send(self, way: str, data: bytes, stamp: int) -> None:
        fate, rng = self.fate, self._rng
        if way in self.closed:
            self._count[f"line shut {way}"] += 1
            return
        luck = rng.random()
        if luck < fate.loss:
            self._count["frame lost"] += 1
            return
        if rng.random() < fate.altered:
            self._count["frame altered"] += 1
            data = altered(data, rng)
        pieces = [data]
        if self.serial and fate.cut and rng.random() < fate.cut:
            self._count["block in pieces"] += 1
            at = rng.randrange(len(data) + 1)
            pieces = [data[:at], data[at:]]
        for piece in pieces:
            self._arrive(way, piece, stamp)
        if rng.random() < fate.doubled:
            self._count["frame doubled"] += 1
            self._arrive(way, data, stamp)

    def _arrive(self, way: str, data: bytes, stamp: int) -> None:
        fate, rng, loop = self.fate, self._rng, self._loop
        low, high = fate.delay_ms
        delay_ms = low + (high - low) * rng.random()
        if self.serial:
            at_ms = self._free_ms[way] = max(loop.ms + delay_ms, self._free_ms[way] + 0.01)
        else:
            at_ms = loop.ms + delay_ms
            if fate.late and rng.random() < fate.late:
                self._count["frame late"] += 1
                at_ms += rng.random() * 20_000
        if way == UP:
            loop.call_at(at_ms / 1000, self.to_edge, data)
        else:
            loop.call_at(at_ms / 1000, self.to_device, data, stamp)

    def noise(self, data: bytes) -> None:
        """To the edge: bytes from nowhere, or from whoever listened."""
        self._loop.after_ms(self._rng.random() * 50, self.to_edge, data)

    def replay_down(self) -> bool:
        """To the device: what it was sent before. False: nothing was."""
        if not self.heard_down:
            return False
        self._loop.after_ms(self._rng.random() * 50, self.to_device, *self._rng.choice(self.heard_down))
        return True


def altered(data: bytes, rng: random.Random) -> bytes:
    """Some bits flipped, cut short, or something put in."""
    out = bytearray(data)
    kind = rng.randrange(4)
    if kind == 0 and len(out) > 1:
        del out[rng.randrange(len(out)) :]
    elif kind == 1:
        at = rng.randrange(len(out) + 1)
        out[at:at] = rng.randbytes(rng.randrange(1, 8))
    else:
        for _ in range(rng.randrange(1, 4)):
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


class OfficeWay:
    """Requests and answers between edge and office, as TCP leaves them: whole, or not at all, or too late."""

    def __init__(
        self, loop: VirtualLoop, rng: random.Random, count: Counter[str], arrived: Callable[..., None]
    ) -> None:
        self._loop = loop
        self._rng = rng
        self._count = count
        self._arrived = arrived
        self.listening: Callable[[], bool] = lambda: True
        self.delay_ms = 20.0
        self.refusing = False
        self.silent = False
        self.lost_requests = 0.0
        self.lost_receipts = 0.0
        self.again = 0.0  # a request comes a second time, later

    @property
    def fine(self) -> bool:
        """Nothing gets lost."""
        return not (self.refusing or self.silent or self.lost_requests or self.lost_receipts or self.again)

    def reached(self) -> bool:
        """Whether a connection comes about."""
        return not self.refusing and not self.silent and self.listening()

    def request(self, body: bytes, what: str, answer: asyncio.Future[tuple[int, bytes]]) -> None:
        """`answer` gets (status, body), a refusal, or never anything."""
        rng, loop = self._rng, self._loop
        delay_ms = self.delay_ms * (0.5 + rng.random())
        if self.refusing:
            self._count["request refused"] += 1
            loop.after_ms(delay_ms, self.refuse, answer)
            return
        if self.silent or rng.random() < self.lost_requests:
            self._count["request into silence" if self.silent else "request lost"] += 1
            return
        loop.after_ms(delay_ms, self._arrived, body, what, answer)
        if rng.random() < self.again:
            self._count["request doubled"] += 1
            loop.after_ms(delay_ms + rng.random() * 30_000, self._arrived, body, what, None)

    def refuse(self, answer: asyncio.Future[tuple[int, bytes]] | None) -> None:
        """Nobody listens there."""
        if answer is not None and not answer.done():
            answer.set_exception(OfficeAwayError("connection refused"))

    def reply(self, answer: asyncio.Future[tuple[int, bytes]] | None, status: int, body: bytes) -> None:
        """The office's answer on its way; None: nobody waits for it."""
        if answer is None:
            return
        if self.silent or self._rng.random() < self.lost_receipts:
            self._count["receipt into silence" if self.silent else "receipt lost"] += 1
            return
        self._loop.after_ms(self.delay_ms * (0.5 + self._rng.random()), _give, answer, (status, body))


def _give(answer: asyncio.Future[Any], value: Any) -> None:
    if not answer.done():
        answer.set_result(value)
