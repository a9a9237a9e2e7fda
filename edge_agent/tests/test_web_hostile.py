"""The status address against whoever means no good: guesses, bytes that are no text, connections that are held."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

import apsw
import pytest

from edge_agent.daemon import Agent
from edge_agent.tests.harness import Site, until
from edge_agent.tests.watching import TOKEN, client, with_viewer
from edge_agent.throttle import FREE_TRIES
from edge_agent.web import connections, stream
from edge_agent.web.connections import MAX_CONNECTIONS

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


Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def connected(agent: Agent) -> int:
    """Connections that the server holds."""
    runner = agent.status._runner
    assert runner is not None
    assert runner.server is not None
    return len(runner.server.connections)


async def connect(agent: Agent, first: bytes = b"") -> Line:
    line = await asyncio.open_connection("127.0.0.1", agent.status.port)
    line[1].write(first)
    return line


async def deaf(agent: Agent, first: bytes) -> socket.socket:
    """Somebody who sends this, and reads nothing of what comes."""
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    line.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(line, ("127.0.0.1", agent.status.port))
    await loop.sock_sendall(line, first)
    return line


async def test_no_more_connections_than_allowed(tmp_path: Path) -> None:
    """Further ones are closed at once; what else the agent needs a file for is not in danger; later there is room."""
    site = Site(tmp_path)
    async with site.agent() as agent:
        lines = [await connect(agent) for _ in range(MAX_CONNECTIONS)]
        await until(lambda: connected(agent) == MAX_CONNECTIONS)
        for _ in range(20):
            reader, writer = await connect(agent)
            async with asyncio.timeout(10):
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
            writer.close()
        assert connected(agent) == MAX_CONNECTIONS
        for _, writer in lines:
            writer.close()
        await until(lambda: connected(agent) == 0)
        async with client(agent) as http, http.get("/healthz") as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    "first", [b"", b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "], ids=["silent", "half a head"]
)
async def test_who_sends_no_request_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bytes
) -> None:
    monkeypatch.setattr(connections, "IDLE_S", 0.3)
    site = Site(tmp_path)
    async with site.agent() as agent:
        reader, writer = await connect(agent, first)
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()


HALF = b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\ntoken"


async def test_who_sends_half_a_body_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BODY_S", 0.3)
    site = guarded(tmp_path)
    async with site.agent() as agent:
        reader, writer = await connect(agent, HALF)
        async with asyncio.timeout(10):
            assert (await reader.readline()).split()[1] == b"408"
        writer.close()


async def test_who_goes_away_in_the_middle_is_no_error_here(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site = guarded(tmp_path)
    async with site.agent() as agent:
        _, writer = await connect(agent, HALF)
        await writer.drain()
        await until(lambda: connected(agent) == 1)
        writer.transport.abort()
        await until(lambda: connected(agent) == 0)
    assert [record.getMessage() for record in caplog.records if record.name == "aiohttp.server"] == []


@pytest.mark.parametrize(
    ("constant", "first"),
    [
        ("WRITE_S", b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
        ("READER_S", b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 2_000),
    ],
    ids=["stream", "answers"],
)
async def test_who_reads_nothing_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, constant: str, first: bytes
) -> None:
    """Neither a watcher of the stream nor an asker may hold a connection for good by taking nothing."""
    monkeypatch.setattr(stream if constant == "WRITE_S" else connections, constant, 1.0)
    monkeypatch.setattr(stream, "STATE_S", 0.05)
    monkeypatch.setattr(stream, "GATHER_S", 0.01)
    site = Site(tmp_path)
    async with site.agent() as agent:
        page, told = agent.status._page, iter(range(1_000_000))
        monkeypatch.setattr(page, "state", lambda *_: f"{next(told)}" + "x" * 200_000)  # a large estate
        line = await deaf(agent, first)
        await until(lambda: connected(agent) == 1)
        await until(lambda: connected(agent) == 0, 30)
        line.close()


async def test_a_disk_that_can_not_be_read_does_not_take_the_page_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so, beside what was known last."""
    site = Site(tmp_path)
    async with site.agent() as agent, client(agent) as http:
        async with http.get("/status") as answer:
            before = (await answer.json())["backlog"]["events"]

        def broken() -> apsw.Connection:
            raise apsw.IOError("disk I/O error")

        monkeypatch.setattr(agent.database, "reader", broken)
        async with http.get("/status") as answer:
            assert answer.status == 200
            found = await answer.json()
        assert found["store"]["problem"] == "can't be read: disk I/O error"
        assert found["backlog"]["events"] == before
        async with http.get("/", params={"lang": "zh"}) as answer:
            assert "无法写入磁盘" in await answer.text()
        async with http.get("/metrics") as answer:
            assert "gatepost_store_stalled 1.0" in await answer.text()
