"""The status address against whoever means no good: guesses, bytes that are no text, bodies of other kinds."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from edge_agent.tests.harness import Site
from edge_agent.tests.test_web import TOKEN, client, with_viewer
from edge_agent.throttle import FREE_TRIES

CONTROL = "control-token"
FORM = b"Content-Type: application/x-www-form-urlencoded"


def guarded(folder: Path) -> Site:
    """Looking and commanding need a token each."""
    site = Site(folder)
    path = folder / "control"
    path.write_text(CONTROL)
    path.chmod(0o600)
    with_viewer(site, 'control_token_file = "control"\n')
    return site


async def raw(port: int, method: bytes, path: bytes, *headers: bytes, body: bytes = b"") -> int:
    """The status of one request, byte for byte as it is given."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    own = (b"Host: 127.0.0.1", b"Connection: close", b"Content-Length: %d" % len(body))
    writer.write(b"\r\n".join([method + b" " + path + b" HTTP/1.1", *own, *headers, b"", body]))
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return int(answer.split()[1])


async def test_who_may_look_gets_no_more_tries_at_the_control_token(tmp_path: Path) -> None:
    """Showing the right viewer token between guesses does not forgive them."""
    site = guarded(tmp_path)
    async with site.agent() as agent, client(agent) as http:

        async def status(method: str, path: str, token: str) -> int:
            async with http.request(method, path, headers={"Authorization": f"Bearer {token}"}) as answer:
                return answer.status

        for number in range(FREE_TRIES):
            assert await status("GET", "/status", TOKEN) == 200
            assert await status("POST", "/devices/7/revoke", f"guess-{number}") == 401
        assert await status("POST", "/devices/7/revoke", CONTROL) == 429
        assert await status("GET", "/status", TOKEN) == 429  # whoever has to wait waits for both
        assert agent.status._guard.alarms == 1


@pytest.mark.parametrize(
    ("path", "headers", "body", "expected"),
    [
        (b"/status", (b"Authorization: Bearer \xff\xfe",), b"", 401),
        (b"/status", (b"Cookie: gatepost=\xff\xfe",), b"", 401),
        (b"/login", (FORM,), b"token=\xff\xfe", 401),
        (b"/login", (FORM,), b"token=%ff%ed%a0%80", 401),
        (b"/login", (FORM + b"; charset=bogus",), b"token=x", 401),
        (b"/login", (FORM + b"; charset=unicode_escape",), b"token=\\ud800", 401),
        (b"/login", (b"Content-Type: multipart/form-data",), b"token=x", 401),
        (b"/login", (FORM, b"Content-Encoding: gzip"), b"token=x", 401),
        (b"/devices/7/commands", (b"Authorization: Bearer " + CONTROL.encode(),), b'{"action": []}', 400),
        (b"/devices/7/commands", (b"Authorization: Bearer " + CONTROL.encode(),), b'{"action": {}}', 400),
        (b"/devices/7/commands", (b"Authorization: Bearer " + CONTROL.encode(),), b"\xff\xfe{", 400),
    ],
)
async def test_what_makes_no_sense_is_refused_and_breaks_nothing(
    tmp_path: Path, path: bytes, headers: tuple[bytes, ...], body: bytes, expected: int
) -> None:
    site = guarded(tmp_path)
    async with site.agent() as agent:
        method = b"GET" if path == b"/status" else b"POST"
        assert await raw(agent.status.port, method, path, *headers, body=body) == expected
        guessed = expected == 401 and not headers[0].startswith(b"Cookie")
        assert agent.status._guard.wrong == guessed
