"""Layer: one request to the office over HTTP(S): body in, status and answer out."""

from __future__ import annotations

import asyncio
import ssl
from typing import Protocol

import aiohttp

from edge_agent.config import Office
from edge_agent.errors import OfficeUnreachableError
from edge_agent.sync import wire


class Post(Protocol):
    """A way to the office."""

    async def start(self) -> None:
        """Once, before the first send()."""

    async def stop(self) -> None:
        """What is under way fails."""

    async def send(self, body: bytes, what: str = "batches", /) -> tuple[int, bytes]:
        """A batch, or what else the site sends -> (HTTP status, body of the answer). Raises OfficeUnreachableError."""


class HttpPost:
    """POST {url}/api/v1/sites/{site}/{what} with the site's token."""

    def __init__(self, office: Office, site: str) -> None:
        self._office = office
        self._url = office.url
        self._path = f"/api/v1/sites/{site}"
        self._http: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Raises OSError or ssl.SSLError when ca_file is no good."""
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60, ssl=await self._tls()),
            timeout=aiohttp.ClientTimeout(
                total=self._office.timeout_s, sock_connect=self._office.connect_timeout_s
            ),
            headers={"Content-Type": "application/cbor"},
        )

    async def stop(self) -> None:
        """Closes the connections."""
        if self._http is not None:
            await self._http.close()

    async def send(self, body: bytes, what: str = "batches", /) -> tuple[int, bytes]:
        """See Post."""
        try:
            return await self._send(f"{self._path}/{what}", body)
        except TimeoutError as error:
            raise OfficeUnreachableError(f"no answer within {self._office.timeout_s:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise OfficeUnreachableError(f"{type(error).__name__}: {error}"[:200]) from error

    async def _tls(self) -> ssl.SSLContext | aiohttp.Fingerprint | bool:
        if self._office.ca_file is None:
            return True
        return await asyncio.to_thread(ssl.create_default_context, cafile=str(self._office.ca_file))

    async def _send(self, path: str, body: bytes) -> tuple[int, bytes]:
        return await self._ask("POST", path, body, f"Bearer {self._office.token}")

    async def _ask(self, method: str, path: str, body: bytes | None, proof: str) -> tuple[int, bytes]:
        assert self._http is not None
        headers = {"Authorization": proof} if proof else {}
        async with self._http.request(
            method, self._url + path, data=body, headers=headers, allow_redirects=False
        ) as answer:
            self._heard(answer)
            return answer.status, await _body(answer)

    def _heard(self, answer: aiohttp.ClientResponse) -> None:
        """Looks at the head of every answer."""


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in answer.content.iter_chunked(65_536):
        parts.append(part)
        size += len(part)
        if size > wire.MAX_RECEIPT:
            raise OfficeUnreachableError("the answer is too long")
    return b"".join(parts)
