"""Layer: RS-485 port: a polled bus on a serial adapter; polling.py says what to send when."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import serial
from serial import rs485

from edge_agent.transports.polling import Poller
from edge_agent.transports.port import QUEUE_FULL, Address, Listener
from edge_agent.transports.serial import SerialPort

ADAPTER, KERNEL = "adapter", "kernel"  # who switches the line from listening to speaking


class Rs485Port(SerialPort):
    """One bus. The devices on it must be named: nobody speaks unasked."""

    kind = "rs485"

    def __init__(
        self,
        name: str,
        path: str,
        baudrate: int,
        reconnect_max_s: float,
        listener: Listener,
        devices: Sequence[int],
        direction: str = ADAPTER,
    ) -> None:
        super().__init__(name, path, baudrate, reconnect_max_s, listener)
        self._direction = direction
        self._poller = Poller(devices, baudrate, 0)
        self._timer: asyncio.TimerHandle | None = None

    def _open(self) -> None:
        super()._open()
        assert self._line is not None
        if self._direction == KERNEL:
            try:
                self._line.rs485_mode = rs485.RS485Settings()
            except (OSError, ValueError) as error:
                self._close()
                raise serial.SerialException(
                    f'the driver switches no RS-485 line ({error}): direction = "{ADAPTER}"'
                ) from error
        self._poller.restart(_now_us())
        self._count_dropped()
        self._turn()

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super()._close()

    def feed(self, data: bytes) -> None:
        """Bytes as they came from the line."""
        poller = self._poller
        frames = poller.feed(data, _now_us())
        if frames and poller.paused:  # somebody who was told that he may say nothing
            self._listener.refused(self, QUEUE_FULL, len(frames))
        elif frames:
            self.frames_in += len(frames)
            self._listener.frames(self, None, frames)
        self._turn()

    def send(self, _: Address, frame: bytes, /, *, urgent: bool = False) -> None:
        """The frame goes out before the next poll."""
        if self._line is None:
            self.dropped_out += 1
            return
        sent = self._poller.send(frame, urgent=urgent)
        self._count_dropped()
        if not sent:
            return
        self.frames_out += 1
        self._turn()

    def _turn(self) -> None:
        """Does what is due on the line, and comes back when something is."""
        if self._line is None:
            return
        out = self._poller.step(_now_us())
        for reason, count in self._poller.errors.items():
            self._listener.refused(self, reason, count)
        self._poller.errors.clear()
        if out and self._output:
            # The transmission before has not left: a hung adapter must not pour all of them onto the line at once.
            self._fail("the line takes nothing")
            return
        if out:
            self._put(out)
        if self._line is None:  # it failed just now
            return
        if self._timer is not None:
            self._timer.cancel()
        due_s = self._poller.due_us / 1_000_000
        self._timer = asyncio.get_running_loop().call_at(due_s, self._turn)

    def _count_dropped(self) -> None:
        """What a command overtook, or what the line went away under, was counted as sent: it is dropped."""
        self.dropped_out += self._poller.dropped
        self._poller.dropped = 0

    def pause(self) -> None:
        """Devices are asked whether they are there, but may say nothing; who does is refused and counted."""
        self._poller.paused = True

    def resume(self) -> None:
        """Ends pause()."""
        self._poller.paused = False

    def silent(self, device: int) -> bool:
        """Whether this device has not answered for 8 s."""
        return self._poller.silent(device, _now_us())

    @property
    def jammed(self) -> bool:
        """Whether somebody else keeps the bus busy."""
        return self._line is not None and self._poller.jammed(_now_us())

    def describe(self) -> dict[str, Any]:
        """Each device's share of the bus."""
        return {"bus": self._poller.describe()}


def _now_us() -> int:
    return int(asyncio.get_running_loop().time() * 1_000_000)
