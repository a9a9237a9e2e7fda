"""Layer: the board's serial port for the host: a PTY behind a stable symlink, which may vanish and return."""

import asyncio
import os
import tty
from collections.abc import Callable
from pathlib import Path

_HELD = 64 * 1024  # towards a host that does not read; what is more is lost, as on a wire


class PtyPort:
    """Bytes from the host go to `on_data`; `write` sends to the host."""

    def __init__(self, link: Path, on_data: Callable[[bytes], None]) -> None:
        self.link = link
        self.lost = 0  # bytes that the host did not fetch in time
        self._on_data = on_data
        self._master = -1
        self._slave = -1
        self._held = bytearray()

    @property
    def plugged(self) -> bool:
        return self._master >= 0

    def plug(self) -> None:
        """Makes the PTY and the symlink."""
        if self.plugged:
            return
        self._master, self._slave = os.openpty()
        # The slave stays open here: a PTY without one is an error, a wire without a listener is not.
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        fresh = self.link.with_name(self.link.name + ".new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(os.ttyname(self._slave))
        fresh.replace(self.link)
        asyncio.get_running_loop().add_reader(self._master, self._readable)

    def unplug(self) -> None:
        """The port vanishes: who has it open gets errors from now on."""
        if not self.plugged:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._master)
        loop.remove_writer(self._master)
        self.link.unlink(missing_ok=True)
        os.close(self._slave)
        os.close(self._master)
        self._master = self._slave = -1
        self._held.clear()

    def _readable(self) -> None:
        try:
            data = os.read(self._master, 65536)
        except BlockingIOError:
            return
        self._on_data(data)

    def write(self, data: bytes) -> None:
        """Sends to the host; holds a little for a slow reader, loses the rest."""
        if not self.plugged:
            return
        if not self._held:
            data = data[self._put(data) :]
        if not data:
            return
        room = _HELD - len(self._held)
        self.lost += max(0, len(data) - room)
        self._held += data[:room]
        asyncio.get_running_loop().add_writer(self._master, self._writable)

    def _writable(self) -> None:
        del self._held[: self._put(bytes(self._held))]
        if not self._held:
            asyncio.get_running_loop().remove_writer(self._master)

    def _put(self, data: bytes) -> int:
        try:
            return os.write(self._master, data)
        except BlockingIOError:
            return 0
