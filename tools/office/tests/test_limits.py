"""Hostile connections, with raw sockets: each limit is met, and the server goes on serving others."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.enrolment import path_of
from tools.office import commands
from tools.office.tests.process import Server, batches, configure, running, sha
from tools.office.web.body import DEADLINE_S
from tools.office.web.connection import HANDSHAKE_S, HEAD_S, MAX_CONNECTIONS, MAX_HEAD, MAX_PER_SOURCE

SLACK_S = 8.0  # a loaded machine


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(configure(tmp_path_factory.mktemp("limits"))) as found:
        yield found


def connect(server: Server, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), 30, source_address=(source, 0))


def answer(line: socket.socket, timeout_s: float = 30.0) -> bytes:
    """All that comes until the server closes."""
    line.settimeout(timeout_s)
    found = b""
    with contextlib.suppress(ConnectionError):
        while part := line.recv(65_536):
            found += part
    return found


def post(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""]).encode()


@pytest.mark.parametrize(
    "head",
    [
        b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * (MAX_HEAD + 1),
        b"GET /" + b"a" * (MAX_HEAD + 1),
        b"GET /healthz HTTP/1.1\r\n" + b"X: y\r\n" * (MAX_HEAD // 5),
        b"\x00" * (MAX_HEAD + 1),
    ],
)
def test_a_head_without_end_is_refused_at_its_limit(server: Server, head: bytes) -> None:
    with connect(server) as line:
        with contextlib.suppress(ConnectionError):
            line.sendall(head)
        assert answer(line)[:12] in (b"HTTP/1.1 400", b"")  # b"": the reset overtook it
    assert server.get("/healthz")["ok"] is True


def test_who_takes_his_time_before_a_request_is_ended(server: Server, tmp_path: Path) -> None:
    """A head a byte at a time, none at all, a second one that stops; over https no handshake or half of one.

    Neither a byte now and then nor a first request that went well gives more time; others are served meanwhile.
    """
    config = configure(tmp_path, extra=f'viewer_token_sha256 = "{sha("look")}"')
    commands.init(config)
    with running(config) as other, contextlib.ExitStack() as lines:
        begun = time.monotonic()
        shy = [lines.enter_context(connect(other)) for _ in range(50)]
        for line in shy[::2]:
            line.sendall(b"\x16\x03\x01\x02\x00\x01")
        slow, silent, second = (lines.enter_context(connect(server)) for _ in range(3))
        second.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /healthz HT")
        anybody = ssl._create_unverified_context()
        with anybody.wrap_socket(connect(other), server_hostname="localhost") as good:
            good.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            assert answer(good).startswith(b"HTTP/1.1 200")
        assert time.monotonic() - begun < min(HANDSHAKE_S, HEAD_S)
        slow.settimeout(0.25)
        with contextlib.suppress(ConnectionError):
            for byte in b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 1_000:
                slow.send(bytes([byte]))
                try:
                    if not slow.recv(1):
                        break
                except TimeoutError:
                    continue
        assert HEAD_S - 1 < time.monotonic() - begun < HEAD_S + SLACK_S
        assert answer(silent, SLACK_S) == b""
        assert answer(second, SLACK_S).count(b"HTTP/1.1 200") == 1
        assert all(answer(line, SLACK_S) == b"" for line in shy)
        took_s = time.monotonic() - begun
        assert HANDSHAKE_S - 1 < took_s < HANDSHAKE_S + SLACK_S
    print(f"{len(shy) + 3} slow connections ended after {took_s:.1f} s")


def test_no_more_connections_than_allowed(server: Server) -> None:
    """One source has its share only; all sources together the rest; afterwards there is room again."""
    with contextlib.ExitStack() as lines:
        own = [lines.enter_context(connect(server)) for _ in range(MAX_PER_SOURCE + 20)]
        refused = sum(_closed(line) for line in own)
        assert refused == 20
        others = [
            lines.enter_context(connect(server, f"127.0.9.{number // 100 + 1}")) for number in range(MAX_CONNECTIONS)
        ]
        refused += sum(_closed(line) for line in others)
        assert refused == 20 + MAX_PER_SOURCE  # what was over MAX_CONNECTIONS
    deadline = time.monotonic() + 20
    while True:
        with contextlib.suppress(ConnectionError):
            if server.get("/healthz")["ok"]:
                break
        assert time.monotonic() < deadline
        time.sleep(0.05)  # asks again; nothing is right only because of it
    said = [line for line in server.log() if line["event"].startswith("connection refused")]
    print(f"{MAX_CONNECTIONS} held, {refused} refused, {len(said)} lines in the log")
    assert 0 < len(said) < 12


def _closed(line: socket.socket) -> bool:
    """Whether the server has ended this connection; one that it holds answers."""
    line.settimeout(2.0)
    try:
        line.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        return not line.recv(1)
    except ConnectionError:
        return True


@pytest.mark.parametrize("raw", [b"[" * 2_000, b'{"v":' * 300, b'{"v":' + b"[" * 1_900, b'{"v":1e999999}', b"\xff\xfe"])
def test_deep_and_odd_json_is_refused(server: Server, raw: bytes) -> None:
    path = path_of("lakeside", "pi-1")
    status, _, said = server.ask("POST", path, raw, {"Content-Type": "application/json"})
    assert status in (400, 422)
    assert json.loads(said)["error"]["field"] == "body"


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (path_of("lakeside", "pi-1"), ["Content-Type: application/json", "Content-Length: 999999999"], 413),
        (path_of("lakeside", "pi-1"), ["Content-Type: application/json", "Content-Length: 99999999999999999999"], 413),
        (path_of("lakeside", "pi-1"), ["Content-Type: text/html", "Content-Length: 5"], 415),
        ("/login", ["Content-Length: 99999999"], 413),
        (batches("lakeside"), ["Authorization: Bearer token-of-lakeside", "Content-Type: application/cbor",
                               "Content-Length: 99999999"], 413),
    ],
)  # fmt: skip
def test_a_body_that_is_announced_too_long_is_not_waited_for(
    server: Server, path: str, headers: list[str], status: int
) -> None:
    begun = time.monotonic()
    with connect(server) as line:
        line.sendall(post(path, *headers))
        assert answer(line).startswith(b"HTTP/1.1 %d" % status)
    assert time.monotonic() - begun < DEADLINE_S / 2


def test_a_login_without_end_is_refused_at_its_limit(server: Server) -> None:
    with connect(server) as line:
        line.sendall(post("/login", "Transfer-Encoding: chunked"))
        with contextlib.suppress(ConnectionError):
            for _ in range(64):
                line.sendall(b"400\r\n" + b"a" * 1024 + b"\r\n")
        assert answer(line)[:12] in (b"HTTP/1.1 413", b"")
    assert server.get("/healthz")["ok"] is True


def test_a_refused_sender_is_let_go(server: Server) -> None:
    """A long batch with a wrong token: the sender reads why instead of a reset; no more is taken than a batch has."""
    with connect(server) as line:
        line.sendall(post(batches("east"), "Authorization: Bearer no", "Content-Length: 2000000") + bytes(2_000_000))
        line.settimeout(20)
        assert line.recv(12) == b"HTTP/1.1 401"
    with connect(server) as line:
        line.sendall(post(batches("east"), "Authorization: Bearer no", "Transfer-Encoding: chunked"))
        with contextlib.suppress(ConnectionError):
            for _ in range(200):
                line.sendall(b"10000\r\n" + bytes(65_536) + b"\r\n")
            raise AssertionError("13 MB were taken of a stranger")
    assert server.get("/healthz")["ok"] is True


@pytest.mark.parametrize("host", [b"[", b"[::1", b"]", b"\xff\xfe", b"127.0.0.1@evil.example", b"127.0.0.1]"])
def test_a_host_that_is_none_is_refused(server: Server, host: bytes) -> None:
    with connect(server) as line:
        line.sendall(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n")
        assert answer(line)[:12] in (b"HTTP/1.1 421", b"HTTP/1.1 400")


@pytest.mark.parametrize("kind", ["99999999999999999999999", "-1", "256", "x"])
def test_a_kind_that_no_event_has_is_refused(server: Server, kind: str) -> None:
    status, _, said = server.ask("GET", f"/api/v1/events?kind=3&kind={kind}")
    assert status == 422
    assert json.loads(said)["error"]["field"]


def test_who_goes_away_in_the_middle_is_no_error_here(server: Server) -> None:
    """Lines break all the time: that fills no log with tracebacks."""
    begin = len(server.log())
    for path, *headers in (
        (batches("east"), "Authorization: Bearer token-of-east", "Content-Type: application/cbor"),
        (path_of("lakeside", "pi-1"), "Content-Type: application/json"),
        ("/login",),
    ):
        with connect(server) as line:
            line.sendall(post(path, *headers, "Content-Length: 100", "Expect: 100-continue"))
            assert line.recv(100).startswith(b"HTTP/1.1 100")  # the body is waited for
            line.sendall(b"a")
    assert server.get("/healthz")["ok"] is True
    assert [line for line in server.log()[begin:] if "traceback" in line] == []
