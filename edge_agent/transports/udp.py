"""Layer: UDP port: one datagram is one frame."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from edge_agent.transports.port import QUEUE_FULL, Address, Listener, Port
from gatelink import reasons
from gatelink.framing import MAX_FRAME

WAITING_OUT = 1 << 16  # bytes that may wait for a socket that takes nothing
SOCKET_BUFFER = 1 << 20


class UdpPort(Port):
    """Listens on one address; sends back to where a frame came from."""

    kind = "udp"

    def __init__(self, name: str, listen: tuple[str, int], listener: Listener) -> None:
        self.name = name
        self.where = f"{listen[0]}:{listen[1]}"
        self.up = False
        self.frames_in = self.frames_out = self.dropped_out = self.losses = 0
        self._listen = listen
        self._listener = listener
        self._transport: asyncio.DatagramTransport | None = None
        self._paused = False

    async def start(self) -> None:
        """Binds. Raises OSError when the address can't be had."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), local_addr=self._listen)
        self._transport = transport
        found = transport.get_extra_info("sockname")
        self.where = f"{found[0]}:{found[1]}"
        self.up = True
        self._listener.up(self, "listening")

    async def stop(self) -> None:
        """Unbinds."""
        self.up = False
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def received(self, data: bytes, address: tuple[str, int]) -> None:
        """One datagram came in."""
        if self._paused:
            self._listener.refused(self, QUEUE_FULL, 1)
        elif len(data) > MAX_FRAME:
            self._listener.refused(self, reasons.TOO_LONG, 1)
        else:
            self.frames_in += 1
            self._listener.frames(self, address, [data])

    def send(self, address: Address, frame: bytes, /, *, urgent: bool = False) -> None:  # noqa: ARG002 - nothing waits
        """Sends one datagram; dropped when nothing is known of where to, or the socket is gone or takes nothing."""
        transport = self._transport
        if transport is None or address is None or _waiting(transport) > WAITING_OUT:
            self.dropped_out += 1
            return
        self.frames_out += 1
        transport.sendto(frame, address)

    def pause(self) -> None:
        """Datagrams are refused and counted meanwhile: UDP can't hold its sender back, but the device sends again."""
        self._paused = True

    def resume(self) -> None:
        """Ends pause()."""
        self._paused = False


def _waiting(transport: asyncio.DatagramTransport) -> int:
    """Bytes that the socket has not taken: every event loop's datagram transport can say it, their type does not."""
    return cast("asyncio.WriteTransport", transport).get_write_buffer_size()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, port: UdpPort) -> None:
        self._port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER)

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        self._port.received(data, cast("tuple[str, int]", addr))

    def error_received(self, _: Exception) -> None:
        """An earlier datagram could not be delivered: its sender asks again."""
        self._port.dropped_out += 1
