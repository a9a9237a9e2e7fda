"""The real server on a real socket with a real database."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import json
import random
import socket
import sqlite3
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tools.office.batch import MAX_BODY
from tools.office.tests.makers import Device, Log, body
from tools.office.tests.process import Server, batches, configure, minted, running, sha, upload_headers


@pytest.fixture(scope="module")
def devices() -> list[Device]:
    made = [Device(number) for number in (101, 102, 201)]
    for device in made:
        device.work(400)
    return made


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests that store nothing."""
    with running(configure(tmp_path_factory.mktemp("quiet"))) as found:
        yield found


@pytest.fixture
def server(tmp_path: Path, devices: list[Device]) -> Iterator[Server]:
    with running(configure(tmp_path, devices)) as found:
        yield found


def test_receipt_gaps_and_proof(server: Server, devices: list[Device]) -> None:
    device = devices[0]
    status, receipt = server.send(body([device.row(1, 20), device.row(31, 40)], start=7))
    assert status == 200
    assert receipt == {
        "v": 1, "lane": "normal", "through": 8,
        "devices": {"101": {"complete_to": 20, "missing": [[21, 30]]}},
    }  # fmt: skip
    status, receipt = server.send(body([device.row(15, 35)], lane="alarm"))
    assert (receipt["lane"], receipt["devices"]["101"]) == ("alarm", {"complete_to": 40, "missing": []})
    found = server.checked(101, 40)
    assert (found["verified_to"], found["findings"], found["conflicts"]) == (40, [], 0)
    assert server.history(101) == minted(device)[:40]


def test_concurrent_sites_and_senders(server: Server, devices: list[Device]) -> None:
    """Four senders, each everything in its own order, on both sites at once: every event once."""
    failures: list[str] = []

    def send(number: int, site: str) -> None:
        rng = random.Random(number)
        rows = [row for device in devices for row in device.rows(1, 400, rng.choice((7, 20, 64)))]
        rng.shuffle(rows)
        with contextlib.closing(server.connect()) as line:
            for at in range(0, len(rows), 9):
                line.request("POST", batches(site), body(rows[at : at + 9], site), upload_headers(site))
                answer = line.getresponse()
                raw = answer.read()
                if answer.status != 200:
                    failures.append(f"{answer.status} {raw!r}")

    threads = [threading.Thread(target=send, args=(n, s)) for n, s in enumerate(("lakeside", "east") * 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for device in devices:
        assert server.history(device.device) == server.history(device.device, "east") == minted(device)
        assert server.checked(device.device, 400)["verified_to"] == 400
    assert all(one["complete"] for one in server.get("/api/v1/sites"))


def test_killed_in_mid_batch(tmp_path: Path) -> None:
    """SIGKILL while a batch is under way; the edge sends again what has no receipt: nothing lost, nothing doubled."""
    seed = 1_811
    print("seed", seed)
    rng = random.Random(seed)
    devices = [Device(number) for number in (101, 102)]
    for device in devices:
        device.work(6_000)
    config = configure(tmp_path, devices)
    rows = [row for device in devices for row in device.rows(1, 6_000, 25)]
    pending = [rows[at : at + 120] for at in range(0, len(rows), 120)]
    kills = receipts = stored = 0
    while pending:
        with running(config) as server:
            for _ in range(3):
                # Half of the batch on the line, or all of it and death at some moment of the work.
                whole = rng.random() < 0.8
                if _broken_upload(server, body(pending[0], start=100), whole, rng.uniform(0.001, 0.08)):
                    stored += 1
                kills += 1
                server = Server(config)
            status, receipt = server.send(body(pending.pop(0), start=100))
            assert status == 200, receipt
            receipts += 1
            server.kill()
    print(f"killed {kills} times ({stored} with the receipt just out), {receipts} receipts")
    with running(config) as server:
        for device in devices:
            assert server.history(device.device) == minted(device)
            found = server.checked(device.device, 6_000)
            assert (found["complete_to"], found["verified_to"], found["conflicts"]) == (6_000, 6_000, 0)


def _broken_upload(server: Server, raw: bytes, whole: bool, moment_s: float) -> bool:
    """Send a batch, or half of it, and kill the server at `moment_s` or at its answer; whether there was one."""
    head = {**upload_headers("lakeside"), "Host": "127.0.0.1", "Content-Length": str(len(raw))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    with socket.create_connection(("127.0.0.1", server.port), 20) as line:
        line.sendall(f"POST {batches('lakeside')} HTTP/1.1\r\n{lines}\r\n".encode())
        line.sendall(raw if whole else raw[: len(raw) // 2])
        line.settimeout(moment_s)
        try:
            answered = bool(line.recv(1))
        except TimeoutError:
            answered = False
        server.kill()
    return answered


def test_sigterm_is_clean(tmp_path: Path, devices: list[Device]) -> None:
    config = configure(tmp_path, devices)
    with running(config) as server:
        with contextlib.closing(server.connect()) as idle:
            idle.request("GET", "/healthz")
            idle.getresponse().read()
            assert server.send(body(devices[0].rows(1, 100)))[0] == 200
            assert server.stop() == 0
        assert server.log()[-1]["event"] == "stopped"
    with running(config) as server:
        assert server.checked(101, 100)["verified_to"] == 100


@pytest.mark.parametrize(
    ("raw", "headers", "status", "field"),
    [
        (b"\xff", {}, 400, "body"), (b"", {}, 400, "body"), (b"\xa0", {}, 422, "v"),
        (b"\xa0", {"Content-Type": "text/plain"}, 415, "content-type"),
        (b"\xa0", {"Content-Encoding": "br"}, 415, "content-encoding"),
        (b"\xa0", {"Authorization": "Bearer wrong"}, 401, "authorization"),
        (b"\xa0", {"Authorization": "Basic dG9rZW4="}, 401, "authorization"),
        (b"\xa0", {"Authorization": ""}, 401, "authorization"),
    ],
)  # fmt: skip
def test_bad_requests(quiet: Server, raw: bytes, headers: dict[str, str], status: int, field: str) -> None:
    found, _, answer = quiet.ask("POST", batches("lakeside"), raw, {**upload_headers("lakeside"), **headers})
    assert (found, json.loads(answer)["error"]["field"]) == (status, field)
    assert quiet.get("/api/v1/devices") == []


def test_a_refusal_tells_nothing_of_sites_or_tokens(quiet: Server) -> None:
    answers = {
        quiet.ask("POST", batches(site), b"", upload_headers(site, token))[::2]
        for site, token in (("lakeside", "wrong"), ("nowhere", "wrong"), ("lakeside", "token-of-east"), ("x", "x"))
    }
    assert answers == {(401, b'{"error":{"field":"authorization","message":"not accepted"}}')}


def test_a_body_over_the_limit_is_not_read(quiet: Server) -> None:
    """Announced or not: refused, and the server lives on."""
    for announced in (True, False):
        with socket.create_connection(("127.0.0.1", quiet.port), 20) as line:
            size = b"Content-Length: %d" % (MAX_BODY + 1) if announced else b"Transfer-Encoding: chunked"
            line.sendall(
                b"POST /api/v1/sites/lakeside/batches HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/cbor\r\n"
                b"Authorization: Bearer token-of-lakeside\r\n%s\r\n\r\n" % size
            )
            if not announced:
                chunk = b"%x\r\n%s\r\n" % (65_536, bytes(65_536))
                with contextlib.suppress(ConnectionError):
                    for _ in range(MAX_BODY // 65_536 + 1):
                        line.sendall(chunk)
            assert line.recv(65_536).startswith(b"HTTP/1.1 413")
    assert quiet.get("/healthz")["ok"] is True


def test_half_a_batch_does_nothing(quiet: Server, devices: list[Device]) -> None:
    """A bad row in the middle, or a line that breaks: not one event of it is stored."""
    rows = devices[0].rows(1, 100)
    rows[3] = devices[0].row(61, 80, items=b"\xff")
    status, answer = quiet.send(body(rows))
    assert (status, answer["error"]["field"]) == (422, "rows[3].items")
    raw = body(devices[0].rows(1, 100))
    with socket.create_connection(("127.0.0.1", quiet.port), 20) as line:
        line.sendall(
            b"POST /api/v1/sites/lakeside/batches HTTP/1.1\r\nHost: x\r\nContent-Type: application/cbor\r\n"
            b"Authorization: Bearer token-of-lakeside\r\nContent-Length: %d\r\n\r\n%s" % (len(raw), raw[:-1])
        )
    assert quiet.get("/api/v1/devices") == []


def test_fuzz_over_http(server: Server, devices: list[Device]) -> None:
    """Broken bodies over the wire: answers of the 4xx kind or a receipt, never a 500, never a dead server."""
    seed = 5_150
    print("seed", seed)
    rng = random.Random(seed)
    good = cbor2.loads(body(devices[0].rows(1, 40), devices={101: [1, "n", "f", 1, 1]}))
    values = (None, -1, 0, 1 << 64, 1.5, "x" * 300, b"x" * 300, [], {}, [[]] * 14, True, "\0", {"a": 1})
    seen: dict[int, int] = {}
    with contextlib.closing(server.connect()) as line:
        for _ in range(400):
            value = cbor2.loads(cbor2.dumps(good))
            choice = rng.randrange(4)
            if choice == 0:
                value[rng.choice(list(value))] = rng.choice(values)
            elif choice == 1:
                rng.choice(value["rows"])[rng.randrange(13)] = rng.choice(values)
            elif choice == 2:
                value["devices"][101][rng.randrange(5)] = rng.choice(values)
            raw = bytearray(cbor2.dumps(value))
            if choice == 3:
                for _ in range(3):
                    raw[rng.randrange(len(raw))] = rng.randrange(256)
            line.request("POST", batches("lakeside"), bytes(raw), upload_headers("lakeside"))
            answer = line.getresponse()
            text = answer.read()
            seen[answer.status] = seen.get(answer.status, 0) + 1
            assert answer.status in (200, 400, 422), (text, bytes(raw))
            if answer.status != 200:
                assert json.loads(text)["error"]["field"]
    print("answers", seen)
    assert seen.keys() == {200, 400, 422}


def test_tampering_is_shown(server: Server, devices: list[Device]) -> None:
    device = devices[0]
    rows = device.rows(1, 400, 50)
    rows[4] = device.row(201, 250, uptime_cs=device.journal[200].uptime_cs + 1)
    assert server.send(body(rows))[0] == 200
    found = server.checked(101, 400)
    assert found["findings"] == [{"first": 201, "last": 250, "reason": "misfit"}]
    assert (found["verified_to"], found["complete_to"]) == (200, 400)


@pytest.mark.parametrize(
    "how",
    [
        "UPDATE device SET checked_mac = 'text' WHERE device = 101",
        "UPDATE event SET payload = 'text' WHERE device = 101 AND seq = 21",
        "UPDATE edge_log SET size = 3, frontier = x'00'",
    ],
)
def test_a_value_that_somebody_spoilt_does_not_end_the_check(
    tmp_path: Path, devices: list[Device], how: str
) -> None:
    """It is said, and every other device's chain is followed on."""
    config = configure(tmp_path, devices)
    log = Log()
    with running(config) as server:
        assert server.send(body(log.add([*devices[0].rows(1, 40, 20), *devices[1].rows(1, 20, 20)])))[0] == 200
        server.checked(101, 40)
        server.checked(102, 20)
        server.stop()
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "office.db")) as db, db:
        db.execute("UPDATE device SET checked_to = 20 WHERE device = 101")
        assert db.execute(how).rowcount == 1
    with running(config) as server:
        head = server.ask("POST", "/api/v1/sites/lakeside/heads", log.head(), upload_headers("lakeside"))
        assert head[0] == 200
        assert server.send(body(devices[1].rows(21, 40, 20), start=5))[0] == 200
        server.checked(102, 40)
        assert [line["level"] for line in server.log() if "gatepost verify" in line["event"]]


def test_a_viewer_token(tmp_path: Path) -> None:
    config = configure(tmp_path, extra=f'viewer_token_sha256 = "{sha("look")}"')
    with running(config) as server:
        status, headers, _ = server.ask("GET", "/")
        assert (status, headers["location"]) == (303, "/login")
        assert server.ask("GET", "/api/v1/events")[0] == 401
        assert server.ask("GET", "/openapi.json")[0] == 401
        assert server.ask("GET", "/login")[0] == 200
        assert server.get("/api/v1/events", {"Authorization": "Bearer look"})["events"] == []
        assert server.ask("POST", "/login", b"token=nope")[0] == 401
        status, headers, _ = server.ask("POST", "/login", b"token=look")
        assert status == 303
        assert "HttpOnly" in headers["set-cookie"]
        assert server.ask("GET", "/", None, {"Cookie": headers["set-cookie"].partition(";")[0]})[0] == 200
        assert server.send(body([]))[0] == 200  # a site's own token goes on counting


def test_a_foreign_name_for_this_machine_reads_nothing(quiet: Server) -> None:
    assert quiet.ask("GET", "/", None, {"Host": "evil.example"})[0] == 421
    assert quiet.ask("GET", "/", None, {"Host": "localhost:8080"})[0] == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nothing", 404), ("/?before=x", 422), ("/?device=x", 422), ("/?kind=x", 422), ("/api/v1/nothing", 404),
        ("/api/v1/events?before=1-2", 422), ("/api/v1/events?limit=0", 422), ("/api/v1/events?limit=x", 422),
        ("/api/v1/sites/lakeside/devices/9", 404), ("/api/v1/sites/lakeside/devices/x", 422), ("/docs", 200),
        ("/openapi.json", 200), ("/?kind=999&device=lakeside/1&site=lakeside", 200),
        ("/?before=999999999999999-999999999999999-999999999999999-999999999999999-999999999999999", 200),
        ("/gatepost.css", 200), ("/../../etc/passwd", 404),
    ],
)  # fmt: skip
def test_addresses(quiet: Server, path: str, status: int) -> None:
    found, headers, raw = quiet.ask("GET", path)
    assert found == status
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert b"Traceback" not in raw


def test_openapi_names_the_upload(quiet: Server) -> None:
    api = quiet.get("/openapi.json")
    upload = api["paths"]["/api/v1/sites/{site}/batches"]["post"]
    assert "application/cbor" in upload["requestBody"]["content"]
    assert {"200", "400", "401", "413", "422", "503"} <= upload["responses"].keys()


def test_https(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    begin = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    config = configure(tmp_path, extra='tls_cert = "office.pem"\ntls_key = "office.key"')
    (tmp_path / "office.pem").write_bytes(cert.public_bytes(pem))
    (tmp_path / "office.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    (tmp_path / "office.key").chmod(0o600)
    trusting = ssl.create_default_context(cafile=tmp_path / "office.pem")
    with running(config) as server:
        line = http.client.HTTPSConnection("localhost", server.port, timeout=20, context=trusting)
        with contextlib.closing(line):
            line.request("POST", batches("lakeside"), body([]), upload_headers("lakeside"))
            assert line.getresponse().status == 200
