"""Layer: one device's next link key: pending from its commit until the device speaks it; see protocol/README."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

from edge_agent import keyring
from edge_agent.clock import Clock
from edge_agent.entries import Entry, Job, NewEpoch, Own
from edge_agent.errors import CommandRefusedError
from edge_agent.store import keys
from edge_agent.store.keys import KeyRow
from gatelink import cose, messages
from gatelink.errors import GatelinkError
from gatelink.messages import Config, Result

LAST_EPOCH = 0xFFFF


class Rotation:
    """Keys of one device. `send` gives a message to the device, `new_id` numbers it, `own` makes the edge's event."""

    def __init__(
        self,
        clock: Clock,
        row: KeyRow,
        retry_ms: int,
        submit: Callable[[Entry], None],
        send: Callable[[Any], bool],
        new_id: Callable[[], int],
        own: Callable[[int], Own],
    ) -> None:
        self._clock = clock
        self._row = row
        self._retry_ms = retry_ms
        self._submit = submit
        self._send = send
        self._new_id = new_id
        self._own = own
        self.keys = cose.derive(row.key, row.device, row.epoch)
        self.next: cose.Keys | None = None
        self.problem = ""  # why the device did not take the pending key, in its words
        self._making = False
        self._message: Config | None = None
        self._told_ms = -retry_ms
        self._waiting: asyncio.Event | None = None
        if row.next_key is not None:
            self._pend(row)

    def _pend(self, row: KeyRow) -> None:
        assert row.next_key is not None
        self._row = row
        self._making = False
        self.next = cose.derive(row.next_key, row.device, row.epoch + 1)
        self._message = None

    def start(self) -> None:
        """Makes the next key unless one is pending; it is told to the device once it is on disk."""
        if self.next is not None or self._making:
            return
        if self._row.epoch >= LAST_EPOCH:
            raise CommandRefusedError("the last epoch is in use: provision the device anew")
        self._making = True
        row = keyring.pending(self._row, secrets.token_bytes(32))
        self._submit(Job(lambda connection: keys.save(connection, row), lambda: self._stored(row)))

    def _stored(self, row: KeyRow) -> None:
        self._pend(row)
        self.tell(again=True)

    def tell(self, *, again: bool = False) -> None:
        """Sends the pending key in a frame of the present epoch, not more often than every retry_ms."""
        now_ms = self._clock.now_ms()
        row = self._row
        if self.next is None or row.next_key is None:
            return
        if not again and (self.problem or 0 <= now_ms - self._told_ms < self._retry_ms):
            return
        if self._message is None:
            body = messages.encode_rekey(row.epoch + 1, row.next_key)
            self._message = Config(messages.REKEY, self._new_id(), len(body), 0, body)
        self.problem = ""
        self._told_ms = now_ms
        self._send(self._message)

    def greeted(self) -> None:
        """The device began again under the old key: what it refused it may take now."""
        self.problem = ""

    def answered(self, result: Result) -> None:
        """A result of the device; those of other messages are not looked at."""
        if self._message is not None and result.cmd_id == self._message.version and result.code:
            detail = "".join(c if c.isprintable() else "?" for c in result.detail)
            self.problem = f"code {result.code} {detail}".strip()
            if self._waiting is not None:
                self._waiting.set()

    def open_(self, frame: bytes) -> tuple[int, bytes] | None:
        """An up frame under the pending key -> (piv, plaintext), and that key is the key from now on; else None."""
        if self.next is None:
            return None
        try:
            opened = cose.open_(self.next, cose.UP, frame)
        except GatelinkError:
            return None
        self._row = row = keyring.promoted(self._row)
        self.keys, self.next, self._message, self.problem = self.next, None, None, ""
        job = Job(lambda connection: keys.save(connection, row), self._done)
        self._submit(NewEpoch(row.device, row.epoch, job, self._own(row.epoch)))
        return opened

    def _done(self) -> None:
        if self._waiting is not None:
            self._waiting.set()

    async def rotate(self, within_ms: int) -> tuple[int, bool]:
        """One rotation -> (epoch, True when the device speaks it); pending goes on by itself when time is up."""
        self.problem = ""
        wanted = self._row.epoch + 1
        self.start()
        waiting = self._waiting = asyncio.Event()
        end_ms = self._clock.uptime_ms() + within_ms  # by the clock that is never set
        pause_s = self._clock.real_s(self._retry_ms)
        while self._row.epoch < wanted and not self.problem and self._clock.uptime_ms() < end_ms:
            self.tell(again=True)
            waiting.clear()  # a refusal may be withdrawn (greeted) before this task hears of it
            try:
                async with asyncio.timeout(pause_s):
                    await waiting.wait()
            except TimeoutError:
                continue
        return wanted, self._row.epoch >= wanted

    def describe(self) -> dict[str, object]:
        """For the status: never a key."""
        pending = self.keys.epoch + 1 if self.next is not None else None
        return {"epoch": self.keys.epoch, "pending": pending, "problem": self.problem}

    def revoked(self, now_ms: int) -> KeyRow:
        """The row without keys, to be stored; nothing opens here any more."""
        self._row = keyring.revoked(self._row, now_ms)
        self.next = None
        return self._row
