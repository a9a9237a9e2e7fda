"""Layer: a TCP proxy in front of the office whose line can be cut, go half open, or lose what the office answers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

_CHUNK = 65536
RESET = struct.pack("ii", 1, 0)


class Way:
    """One direction of one connection; spoiled: bytes of it were swallowed, so nothing more may pass."""

    def __init__(self, *, answers: bool) -> None:
        self.answers = answers
        self.spoiled = False


class LineProxy:
    """Passes bytes between the edge and the office's port."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._port = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._spoiled: set[asyncio.StreamWriter] = set()  # their answers were lost: mend() breaks them
        self._tasks: set[asyncio.Task[None]] = set()
        self._down = False
        self._frozen = False
        self._deaf = False
        self.passed = 0
        self.refused = 0
        self.broken = 0
        self.swallowed = 0

    @property
    def port(self) -> int:
        """The port to connect to; stays the same over stop() and start()."""
        if not self._port:
            raise RuntimeError("the proxy has not been started")
        return self._port

    async def start(self) -> None:
        """Listens on a free port of this machine, or again on the one it had."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = int(self._server.sockets[0].getsockname()[1])

    def cut(self) -> None:
        """The line is gone: connections break in the middle, new ones are reset."""
        self._down = True
        for writer in list(self._open):
            self.broken += 1
            reset(writer)

    def freeze(self) -> None:
        """The line is half open: bytes vanish, nobody is told. Connections that lost some stay silent for ever."""
        self._frozen = True

    def deafen(self) -> None:
        """What the edge sends arrives, what the office answers is lost, until mend() breaks those connections."""
        self._deaf = True

    def mend(self) -> None:
        """The line is there again."""
        self._down = self._frozen = self._deaf = False
        for writer in list(self._spoiled):
            self.broken += 1
            reset(writer)
        self._spoiled.clear()

    async def stop(self) -> None:
        """Ends everything; connections are refused then."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._open):
            reset(writer)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._down:
            self.refused += 1
            reset(writer)
            return
        self.passed += 1
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            reset(writer)
            return
        pumps = [
            asyncio.create_task(self._pump(reader, far_writer, Way(answers=False))),
            asyncio.create_task(self._pump(far_reader, writer, Way(answers=True))),
        ]
        self._open.update((writer, far_writer))
        try:
            await asyncio.wait(pumps)
        finally:
            for pump in pumps:
                pump.cancel()
            self._open.difference_update((writer, far_writer))
            self._spoiled.discard(writer)
            for end in (writer, far_writer):
                end.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(_CHUNK):
                if self._deaf and way.answers:
                    self._spoiled.add(writer)
                if self._frozen or (self._deaf and way.answers):
                    way.spoiled = True
                if way.spoiled:
                    self.swallowed += len(chunk)
                    continue
                writer.write(chunk)
                await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            if not writer.is_closing() and writer.can_write_eof():
                writer.write_eof()


def reset(writer: asyncio.StreamWriter) -> None:
    """Closes as a cut line does: with a reset instead of a farewell."""
    end = writer.get_extra_info("socket")
    if end is not None:
        with contextlib.suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()
