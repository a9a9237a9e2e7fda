"""Layer: carries updates to all devices: one chunk a turn and port, behind everything else; durable in the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import apsw

from edge_agent.clock import Clock
from edge_agent.entries import Job
from edge_agent.link import Session
from edge_agent.store import firmware
from edge_agent.store.firmware import UpdateRow
from edge_agent.updates.release import Release, read
from edge_agent.updates.sender import FINAL, SENDING, Sender
from gatelink import cbor, manifest
from gatelink.messages import Result

CHUNK_BITS = 6_000  # of one chunk on a serial line, frame and stop bits included
LINE_SHARE = 3  # chunks take at most one part in so many of a line's time


class Courier:
    """Updates by device. `busy()`: the agent has events to take care of, chunks wait."""

    def __init__(
        self,
        clock: Clock,
        gap_ms: int,
        submit: Callable[[Job], None],
        sessions: Mapping[int, Session],
        busy: Callable[[], bool],
    ) -> None:
        self._clock = clock
        self._gap_ms = gap_ms
        self._submit = submit
        self._sessions = sessions
        self._busy = busy
        self._senders: dict[int, Sender] = {}
        self._rows: dict[int, UpdateRow] = {}
        self._work = asyncio.Event()
        self.on_end: Callable[[UpdateRow], None] = lambda _: None

    def restore(self, connection: apsw.Connection) -> None:
        """Goes on with what the store says was under way."""
        for row in firmware.load(connection):
            self._rows[row.device] = row
            if row.state == SENDING:
                self._senders[row.device] = Sender(
                    read(row.signed, firmware.load_files(connection, row.device))
                )
                self._work.set()
        for session in self._sessions.values():
            self.follow(session)

    def follow(self, session: Session) -> None:
        """This session's answers and greetings come here, too."""
        session.on_result = partial(self._answered, session.device)
        session.on_hello = partial(self._greeted, session.device)

    async def begin(self, device: int, release: Release) -> None:
        """From now on this release is on its way; returns when that is durable. KeyError: no such device."""
        if device not in self._sessions:
            raise KeyError(device)
        self._senders[device] = Sender(release)
        await self._store(UpdateRow(device, release.signed, SENDING, "", self._clock.now_ms()), release.files)
        self._work.set()

    async def withdraw(self, device: int) -> None:
        """No more is sent; what the device has been given stays there unused. KeyError: none is under way."""
        sender = self._senders.pop(device)
        await self._store(
            UpdateRow(device, sender.release.signed, "withdrawn", sender.reason, self._clock.now_ms()), {}
        )

    def describe(self, device: int) -> dict[str, Any] | None:
        """For the status; None: this device was never sent anything."""
        row = self._rows.get(device)
        if row is None:
            return None
        about = manifest.check(cbor.loads(manifest.unwrap(row.signed)[1]))
        sender = self._senders.get(device)
        size = sum(size for size, _ in about.files.values())
        return {
            "version": about.ver,
            "seq": about.seq,
            "state": row.state,
            "phase": sender.phase if sender else row.state,
            "bytes": sender.held if sender else size if row.state == "done" else 0,
            "of": size,
            "refusal": sender.reason if sender else row.reason,
            "changed_ms": row.changed_ms,
        }

    async def run(self) -> None:
        """For ever: a chunk a turn, device after device."""
        pause_s = max(self._clock.real_s(self._gap_ms), 0.002)
        while True:
            if not self._senders:
                self._work.clear()
                await self._work.wait()
            if not self._busy():
                self._turn()
            await asyncio.sleep(pause_s)

    def _turn(self) -> None:
        now_ms = self._clock.uptime_ms()
        served: set[str] = set()
        for device in list(self._senders):
            session = self._sessions.get(device)
            if session is None or not session.online or session.port_name in served:
                continue
            sender = self._senders[device]
            message = sender.next(now_ms)
            if message is not None:
                served.add(session.port_name)
                if not session.send(message):
                    sender.unsent(now_ms)
                # whoever was served goes to the end
                self._senders[device] = self._senders.pop(device)
            self._settle(device, sender)

    def _answered(self, device: int, result: Result) -> None:
        sender = self._senders.get(device)
        if sender is not None:
            sender.answered(result, self._clock.uptime_ms())
            self._settle(device, sender)

    def _greeted(self, device: int) -> None:
        sender = self._senders.get(device)
        if sender is not None:
            sender.greeted(self._clock.uptime_ms())

    def _settle(self, device: int, sender: Sender) -> None:
        if sender.state not in FINAL:
            return
        del self._senders[device]
        row = UpdateRow(device, sender.release.signed, sender.state, sender.reason, self._clock.now_ms())
        self._write(row, {}, lambda: self.on_end(row))

    async def _store(self, row: UpdateRow, files: dict[str, bytes]) -> None:
        stored = asyncio.Event()
        self._write(row, files, stored.set)
        await stored.wait()

    def _write(self, row: UpdateRow, files: dict[str, bytes], done: Callable[[], None]) -> None:
        self._rows[row.device] = row

        def apply(connection: apsw.Connection) -> None:
            firmware.save(connection, row)
            firmware.save_files(connection, row.device, files)

        self._submit(Job(apply, done))


def gap_ms(wanted_ms: int, slowest_baud: int | None) -> int:
    """Pause between chunks: as wanted, longer on slow lines, so that acks and commands never wait for many."""
    if slowest_baud is None:
        return wanted_ms
    return max(wanted_ms, LINE_SHARE * CHUNK_BITS * 1000 // slowest_baud)
