"""Layer: one request to the office over HTTP(S): body in, status and answer out."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any, Protocol

import aiohttp

from edge_agent.config import Office
from edge_agent.errors import OfficeAwayError, OfficeSilentError, OfficeUnreachableError
from edge_agent.sync import wire

KNOCK_S = 5.0  # as long may an answer take that tells whether the way is there
PIECE = 16_384  # bytes that are handed to the connection at once; each is a sign of life


class Post(Protocol):
    """A way to the office."""

    async def start(self) -> None:
        """Once, before the first send()."""

    async def stop(self) -> None:
        """What is under way fails."""

    async def send(self, body: bytes, what: str = "batches", /) -> tuple[int, bytes]:
        """A batch (gzip or plain), or what else the site sends -> (HTTP status, body of the answer).

        Raises OfficeUnreachableError and its leaves.
        """

    async def reached(self) -> bool:
        """Whether the office's address answers now, whatever it says: a line that is cut behind a proxy does not."""


class HttpPost:
    """POST {url}/api/v1/sites/{site}/{what} with the site's token.

    timeout_s is for silence: as long as bytes move, an upload may take longer.
    """

    def __init__(self, office: Office, site: str) -> None:
        self._office = office
        self._url = office.url
        self._path = f"/api/v1/sites/{site}"
        self._http: aiohttp.ClientSession | None = None
        self._knock: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Raises OSError or ssl.SSLError when ca_file is no good."""
        tls = await self._tls()
        self._knock = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True, ssl=tls))
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=60, ssl=tls, socket_factory=self._socket
            ),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._office.connect_timeout_s),
            headers={"Content-Type": "application/cbor"},
        )

    async def stop(self) -> None:
        """Closes the connections."""
        for session in (self._knock, self._http):
            if session is not None:
                await session.close()

    async def send(self, body: bytes, what: str = "batches", /) -> tuple[int, bytes]:
        """See Post."""
        try:
            return await self._send(f"{self._path}/{what}", body)
        except aiohttp.ConnectionTimeoutError as error:
            raise OfficeAwayError(f"no connection within {self._office.connect_timeout_s:g} s") from error
        except TimeoutError as error:
            raise OfficeSilentError(f"no answer within {self._office.timeout_s:g} s") from error
        except (aiohttp.ClientConnectorError, aiohttp.ClientSSLError) as error:
            away = not isinstance(error, aiohttp.ClientSSLError)  # a connection that fails is one, too
            raise (OfficeAwayError if away else OfficeUnreachableError)(_said(error)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise OfficeUnreachableError(_said(error)) from error

    async def reached(self) -> bool:
        """See Post."""
        # A connection of its own: one that is kept may be dead.
        assert self._knock is not None
        limit = aiohttp.ClientTimeout(total=min(self._office.connect_timeout_s, KNOCK_S))
        try:
            async with self._knock.get(f"{self._url}/healthz", timeout=limit, allow_redirects=False):
                return True
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return False

    async def _tls(self) -> ssl.SSLContext | aiohttp.Fingerprint | bool:
        if self._office.ca_file is None:
            return True
        return await asyncio.to_thread(ssl.create_default_context, cafile=str(self._office.ca_file))

    async def _send(self, path: str, body: bytes) -> tuple[int, bytes]:
        return await self._ask("POST", path, body, f"Bearer {self._office.token}")

    async def _ask(self, method: str, path: str, body: bytes | None, proof: str) -> tuple[int, bytes]:
        assert self._http is not None
        headers = {"Authorization": proof} if proof else {}
        async with asyncio.timeout(self._office.timeout_s + self._office.connect_timeout_s) as silence:
            data = None
            if body is not None:
                headers["Content-Length"] = str(len(body))
                if wire.is_compressed(body):
                    headers["Content-Encoding"] = "gzip"
                data = self._pieces(body, silence)
            async with self._http.request(
                method, self._url + path, data=data, headers=headers, allow_redirects=False
            ) as answer:
                self._heard(answer)
                return answer.status, await self._body(answer, silence)

    async def _pieces(self, body: bytes, silence: asyncio.Timeout) -> AsyncIterator[bytes]:
        for start in range(0, len(body), PIECE):
            self._alive(silence)
            yield body[start : start + PIECE]
        self._alive(silence)

    async def _body(self, answer: aiohttp.ClientResponse, silence: asyncio.Timeout) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in answer.content.iter_chunked(65_536):
            self._alive(silence)
            parts.append(part)
            size += len(part)
            if size > wire.MAX_RECEIPT:
                raise OfficeUnreachableError("the answer is too long")
        return b"".join(parts)

    def _alive(self, silence: asyncio.Timeout) -> None:
        if not silence.expired():
            silence.reschedule(asyncio.get_running_loop().time() + self._office.timeout_s)

    def _socket(self, address: Any) -> socket.socket:
        """A connection that the kernel ends when the other side acknowledges nothing for timeout_s."""
        family, kind, protocol, *_ = address
        made = socket.socket(family=family, type=kind, proto=protocol)
        with contextlib.suppress(OSError):  # not Linux: the limit on silence still holds
            made.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(int(self._office.timeout_s * 1000), 1)
            )
            # What is not sent yet stays here and not in the kernel, so that a slow link shows.
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, PIECE)
        return made

    def _heard(self, answer: aiohttp.ClientResponse) -> None:
        """Looks at the head of every answer."""


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]
