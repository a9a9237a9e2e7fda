"""Layer: serial port: COBS blocks on a line that may vanish and come back."""

from __future__ import annotations

import asyncio
import os
import random
import termios
from collections import deque

import serial

from edge_agent.transports.port import Address, Listener, Port
from gatelink import framing, framing_host

READ_SIZE = 65_536
MAX_WAITING = (
    65_536  # bytes to write that may wait; beyond, frames are dropped (whoever needs them asks again)
)
RECONNECT_FIRST_S = 0.05


class SerialPort(Port):
    """One device file. Opens it when it is there, notices when it goes, tries again with growing pauses."""

    kind = "serial"

    def __init__(
        self, name: str, path: str, baudrate: int, reconnect_max_s: float, listener: Listener
    ) -> None:
        self.name = name
        self.where = path
        self.up = False
        self.frames_in = self.frames_out = self.dropped_out = self.losses = 0
        self._path = path
        self._baudrate = baudrate
        self._reconnect_max_s = reconnect_max_s
        self._listener = listener
        self._random = random.Random()  # noqa: S311 - spreads retries, nothing secret
        self._line: serial.Serial | None = None
        self._decoder = framing_host.Decoder()
        self._output: deque[bytes] = deque()
        self._waiting = 0
        self._paused = False
        self._lost = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Tries to open at once, then in the background."""
        self._task = asyncio.create_task(self._keep_open(), name=f"port {self.name}")

    async def stop(self) -> None:
        """Closes."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        self._close()

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """For whoever watches that they live."""
        return [self._task] if self._task is not None else []

    async def _keep_open(self) -> None:
        pause_s = RECONNECT_FIRST_S
        complained = False
        while True:
            try:
                self._open()
            except (serial.SerialException, termios.error, OSError) as error:
                if not complained:
                    complained = True
                    self._listener.lost(self, _plain(error))
                await asyncio.sleep(self._random.uniform(pause_s / 2, pause_s))
                pause_s = min(pause_s * 2, self._reconnect_max_s)
                continue
            self.up = True
            self._listener.up(self, "open")
            await self._lost.wait()
            complained = True
            # A port that opens and fails at once must not spin.
            await asyncio.sleep(self._random.uniform(pause_s / 2, pause_s))
            pause_s = RECONNECT_FIRST_S

    def _open(self) -> None:
        line = serial.Serial(self._path, self._baudrate, timeout=0, write_timeout=0, exclusive=True)
        self._line = line
        self._lost.clear()
        self._decoder = framing_host.Decoder()
        if not self._paused:
            asyncio.get_running_loop().add_reader(line.fileno(), self._readable)

    def _close(self) -> None:
        line = self._line
        if line is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(line.fileno())
        loop.remove_writer(line.fileno())
        self._line = None
        self._output.clear()
        self._waiting = 0
        self.up = False
        line.close()

    def _fail(self, why: str) -> None:
        self._close()
        self.losses += 1
        self._listener.lost(self, why)
        self._lost.set()

    def _readable(self) -> None:
        assert self._line is not None
        try:
            data = os.read(self._line.fileno(), READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(_plain(error))
            return
        if not data:
            self._fail("the port is gone")
            return
        self.feed(data)

    def feed(self, data: bytes) -> None:
        """Bytes as they came from the line."""
        frames = self._decoder.feed(data)
        if self._decoder.errors:
            for reason, count in self._decoder.errors.items():
                self._listener.refused(self, reason, count)
            self._decoder.errors.clear()
        if frames:
            self.frames_in += len(frames)
            self._listener.frames(self, None, frames)

    def send(self, _: Address, frame: bytes, /, *, urgent: bool = False) -> None:  # noqa: ARG002 - in order anyway
        """Writes one frame, or as much as the line takes now; the rest follows."""
        if self._line is None or self._waiting > MAX_WAITING:
            self.dropped_out += 1
            return
        self.frames_out += 1
        self._put(framing.encode(frame))

    def _put(self, block: bytes) -> None:
        assert self._line is not None
        if not self._output:
            block = self._write(block)
            if not block:
                return
            asyncio.get_running_loop().add_writer(self._line.fileno(), self._writable)
        self._output.append(block)
        self._waiting += len(block)

    def _write(self, block: bytes) -> bytes:
        """What is left of the block; nothing is left when the line failed."""
        assert self._line is not None
        try:
            return block[os.write(self._line.fileno(), block) :]
        except BlockingIOError:
            return block
        except OSError as error:
            self._fail(_plain(error))
            return b""

    def _writable(self) -> None:
        block = b"".join(self._output)
        left = self._write(block)
        self._output.clear()
        self._waiting = len(left)
        if left:
            self._output.append(left)
        elif self._line is not None:
            asyncio.get_running_loop().remove_writer(self._line.fileno())

    def pause(self) -> None:
        """Leaves bytes in the system's buffer; the line's flow control or the device's window holds the rest."""
        self._paused = True
        if self._line is not None:
            asyncio.get_running_loop().remove_reader(self._line.fileno())

    def resume(self) -> None:
        """Ends pause()."""
        self._paused = False
        if self._line is not None:
            asyncio.get_running_loop().add_reader(self._line.fileno(), self._readable)


def _plain(error: Exception) -> str:
    text = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    return "not a serial port" if text.startswith("Could not configure port: (25") else text[:200]
