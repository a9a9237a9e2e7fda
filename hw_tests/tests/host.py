"""The host's side of a board's serial port, for tests: raw bytes with a deadline on every wait."""

import asyncio
import os


class HostPort:
    """Opened on the path of a board's port; use as a context manager."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._data = bytearray()
        self._news = asyncio.Event()
        self.broken = False

    def __enter__(self) -> "HostPort":
        self._fd = os.open(self._path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        asyncio.get_running_loop().add_reader(self._fd, self._readable)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, 4096)
        except OSError:
            data = b""
        if not data:
            self.broken = True
            asyncio.get_running_loop().remove_reader(self._fd)
        self._data += data
        self._news.set()

    def write(self, data: bytes) -> None:
        assert os.write(self._fd, data) == len(data)

    async def read(self, length: int, timeout_s: float = 5.0) -> bytes:
        """Exactly `length` bytes. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while len(self._data) < length:
                self._news.clear()
                await self._news.wait()
        data = bytes(self._data[:length])
        del self._data[:length]
        return data

    def forget(self) -> None:
        """Drops what came in so far."""
        self._data.clear()

    async def read_line(self, timeout_s: float = 5.0) -> bytes:
        """Up to and without the next newline. Raises TimeoutError."""
        line = b""
        while not line.endswith(b"\n"):
            line += await self.read(1, timeout_s)
        return line[:-1]

    async def until_broken(self, timeout_s: float = 5.0) -> None:
        """Until the port has vanished. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while not self.broken:
                self._news.clear()
                await self._news.wait()
