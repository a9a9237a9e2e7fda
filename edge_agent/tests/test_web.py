"""The status address as its users meet it: page, stream, metrics, tokens, wrong tries, limits; over real sockets."""

from __future__ import annotations

import asyncio
import datetime
import json
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from prometheus_client.parser import text_string_to_metric_families

from edge_agent import config as configuration
from edge_agent.daemon import Agent
from edge_agent.errors import ConfigError
from edge_agent.tests.device import Device, PtyWire
from edge_agent.tests.harness import OWN, Site, until
from edge_agent.tests.office import Office
from edge_agent.web import stream
from edge_agent.web.page import Page
from gatelink import events
from gatelink.messages import Events
from tools import cli

EVIL = "<img src=x onerror=x>"
TOKEN = "viewer-token-of-this-site"


def with_viewer(site: Site, more: str = "") -> None:
    """Only whoever holds TOKEN may look."""
    path = site.folder / "viewer"
    path.write_text(TOKEN)
    path.chmod(0o600)
    line = 'listen = "127.0.0.1:0"\n'
    text = site.config_path.read_text()
    assert line in text
    site.config_path.write_text(text.replace(line, f'{line}viewer_token_file = "viewer"\n{more}', 1))


@asynccontextmanager
async def client(agent: Agent, scheme: str = "http", **more: Any) -> AsyncIterator[aiohttp.ClientSession]:
    base = f"{scheme}://localhost:{agent.status.port}"
    timeout = aiohttp.ClientTimeout(total=20)
    jar = aiohttp.CookieJar(unsafe=True)  # a browser keeps cookies of plain addresses, too
    async with aiohttp.ClientSession(base, timeout=timeout, cookie_jar=jar, **more) as http:
        yield http


async def greet(device: Device, wire: PtyWire, agent: Agent) -> None:
    wire.send(device.hello())
    await until(lambda: agent.switchboard.sessions[device.device].boot == device.boot)


async def tell(device: Device, wire: PtyWire, agent: Agent, kind: int, *fields: Any) -> None:
    """One more event, stored when this returns."""
    seq = device.mint(kind, *fields)
    boot, uptime_cs, payload, _ = device.journal[seq]
    wire.send(device.send(Events(seq, boot, uptime_cs, payload, None, 0, None)))
    await until(lambda: agent.switchboard.sessions[device.device].acked_seq == seq)


async def messages_of(answer: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, str, str]]:
    """(event, id, data) of a stream, comments left out."""
    fields: dict[str, str] = {}
    async for line in answer.content:
        text = line.decode().rstrip("\n")
        if not text:
            if fields:
                yield fields.get("event", ""), fields.get("id", ""), fields.get("data", "")
            fields = {}
        elif not text.startswith(":"):
            name, _, value = text.partition(": ")
            fields[name] = fields[name] + "\n" + value if name in fields else value


async def test_the_page_in_both_languages(tmp_path: Path) -> None:
    site = Site(tmp_path)
    keys = (tmp_path / "devices.toml").read_text().replace('"T8"', f'"{EVIL}"')
    (tmp_path / "devices.toml").write_text(keys)
    device, wire = site.devices[0], PtyWire(site.link)
    async with site.agent() as agent, client(agent) as http:
        await greet(device, wire, agent)
        await tell(device, wire, agent, events.VISIT, bytes.fromhex("04a1b2c3d4e5f6"))
        await tell(device, wire, agent, events.FAULT, 1, EVIL)
        async with http.get("/?lang=zh") as answer:
            chinese = await answer.text()
            assert answer.headers["Content-Language"] == "zh-CN"
            assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        async with http.get("/") as answer:  # remembered
            assert (await answer.text()).count("巡更棒") == 2
        async with http.get("/", params={"lang": "en"}) as answer:
            english = await answer.text()
        for text in (chinese, english):
            assert EVIL not in text
            assert "&lt;img src=x onerror=x&gt;" in text
            assert "…e5f6" in text
            assert "04a1b2c3d4e5f6" not in text  # cards are personal data
        for word in ("一切正常", "到达巡更点", "故障", "条事件待上传", "从未联系"):
            assert word in chinese
        for word in ("All well", "Checkpoint visited", "Fault", "events wait", "never heard", "Patrol tag"):
            assert word in english
        for path in ("/static/live.js", "/static/gatepost.css", "/static/icon.svg"):
            async with http.get(path) as answer:
                assert answer.status == 200
        for path in ("/static/../page.py", "/static/%2e%2e/page.py", "/nowhere"):
            async with http.get(path) as answer:
                assert answer.status == 404
    wire.close()


async def test_an_office_that_is_down_is_said_in_the_page_s_language(tmp_path: Path) -> None:
    site = Site(tmp_path, office=Office().config(url="http://127.0.0.1:9"))
    async with site.agent() as agent, client(agent) as http:
        assert agent.uploader is not None
        lanes = agent.uploader.lanes.values()
        await until(lambda: any(lane.error for lane in lanes))
        for language, words in (("zh", "未连通"), ("en", "not reached")):
            async with http.get("/", params={"lang": language}) as answer:
                page = await answer.text()
            assert re.search(rf'<span class="mark warn">{words}</span> <small>[^<]*127\.0\.0\.1:9', page), page


async def test_an_office_that_was_not_asked_since_is_not_called_reached(tmp_path: Path) -> None:
    """It stops while nothing is to be sent: the page says when it last answered, not that it is there."""
    office = Office()
    await office.start()
    site = Site(tmp_path, office=office.config())
    async with site.agent() as agent, client(agent) as http:
        assert agent.uploader is not None
        lanes = agent.uploader.lanes.values()
        await until(lambda: sum(lane.delivered for lane in lanes) == agent.ingest.events > 0)
        await office.stop()
        for language, words in (
            ("zh", "上次上传已送达</span> <small>最近回执"),
            ("en", "the last upload arrived</span> <small>last receipt"),
        ):
            async with http.get("/", params={"lang": language}) as answer:
                page = re.sub(r"\s+", " ", await answer.text())
            assert words in page
        async with http.get("/status") as answer:
            status = await answer.json()
    status["office"]["last_receipt_ms"] = None
    assert "启动以来尚未上传" in Page("", str).state(status, "zh")


async def test_what_a_foreign_page_may_not_do(tmp_path: Path) -> None:
    site = Site(tmp_path)
    async with site.agent() as agent, client(agent) as http:
        for host in ("evil.example", "evil.example:8787", "", "[", "127.0.0.1.evil.example"):
            for path in ("/", "/status", "/metrics", "/events", "/healthz"):
                async with http.get(path, headers={"Host": host}) as answer:
                    assert answer.status in (400, 421), (host, path)
        for host in ("localhost:1", "127.0.0.1", "[::1]:8787"):
            async with http.get("/healthz", headers={"Host": host}) as answer:
                assert await answer.json() == {"v": 1, "running": True}


async def test_the_stream_goes_on_where_a_watcher_was(tmp_path: Path) -> None:
    site = Site(tmp_path)
    device, wire = site.devices[0], PtyWire(site.link)
    async with site.agent() as agent, client(agent) as http:
        await greet(device, wire, agent)
        await tell(device, wire, agent, events.SOS, None)
        place = agent.feed.newest
        async with http.get("/events", params={"after": str(place), "lang": "en"}) as answer:
            assert answer.headers["Content-Type"] == "text/event-stream"
            found = messages_of(answer)
            name, _, data = await anext(found)
            assert (name, "Devices" in data) == ("state", True)
            await tell(device, wire, agent, events.FAULT, 1, EVIL)
            seen = []
            async for name, at, data in found:
                if name == "event":
                    seen.append((int(at), json.loads(data)))
                    break
        [(at, event)] = seen
        assert at > place
        assert (event["kind"], event["alarm"], event["device"], event["seq"]) == ("Fault", True, "T7", "2")
        # Away meanwhile: the browser says what it saw last.
        for _ in range(3):
            await tell(device, wire, agent, events.VISIT)
        async with http.get("/events", headers={"Last-Event-ID": str(at)}, params={"lang": "zh"}) as answer:
            missed = []
            async for name, _, data in messages_of(answer):
                if name == "event":
                    missed.append(json.loads(data))
                if len(missed) == 3:
                    break
        assert [(event["kind"], event["seq"]) for event in missed] == [
            ("到达巡更点", "3"), ("到达巡更点", "4"), ("到达巡更点", "5"),
        ]  # fmt: skip
        # A place from before a store was replaced, and nonsense: from now on.
        for nonsense in ("99999999", "-1", "x", "9" * 40):
            async with http.get("/events", params={"after": nonsense}) as answer:
                assert (await anext(messages_of(answer)))[0] == "state"
    wire.close()


async def test_watchers_are_counted_and_let_go(tmp_path: Path) -> None:
    site = Site(tmp_path)
    async with site.agent() as agent, client(agent, connector=aiohttp.TCPConnector(limit=0)) as http:
        watching = [await http.get("/events") for _ in range(stream.MAX_WATCHERS)]
        async with http.get("/events") as answer:
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "10"
        for one in watching[:3]:
            one.close()

        async def room() -> bool:
            async with http.get("/events") as answer:
                return answer.status == 200

        async with asyncio.timeout(20):  # the server notices when it next writes
            while not await room():  # noqa: ASYNC110 - the other end of a socket
                await asyncio.sleep(0.1)
    for one in watching:
        one.close()


async def test_metrics_are_prometheus_text(tmp_path: Path) -> None:
    site = Site(tmp_path)
    device, wire = site.devices[0], PtyWire(site.link)
    async with site.agent() as agent, client(agent) as http:
        await greet(device, wire, agent)
        await tell(device, wire, agent, events.SOS, None)
        wire.send(device.status(battery_mv=3_812))
        await until(lambda: agent.switchboard.sessions[7].battery_mv == 3_812)
        agent.rejects.add("not_authentic", "A", 7, 3)
        async with http.get("/metrics") as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            text = await answer.text()
        found = {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        assert found["gatepost_device_online", "7", "T7"] == 1
        assert found["gatepost_device_online", "8", "T8"] == 0
        assert found["gatepost_device_battery_volts", "7", "T7"] == 3.812
        assert found["gatepost_device_acked_seq", "7", "T7"] == 1
        assert found["gatepost_backlog_events", "alarm"] == 1
        assert found["gatepost_refused_frames_total", "not_authentic"] == 3
        assert found["gatepost_port_up", "A"] == 1
        assert found["gatepost_store_stalled",] == 0
        assert found["gatepost_disk_full",] == 0
        assert found["gatepost_disk_reserve_bytes",] > 0
        assert found["gatepost_port_dropped_frames_total", "A"] == 0
        assert found["gatepost_port_refused_frames_total", "A", "not_authentic"] == 3
        assert found["gatepost_revoked_devices",] == 0
        assert found["gatepost_device_key_pending", "7", "T7"] == 0
        async with http.get("/status") as answer:
            status = await answer.json()
        assert found["gatepost_events_stored_total",] == status["store"]["events"]
        # Whoever adds a part to the status decides whether it is worth a graph, and says so here.
        assert set(status) == {
            "v", "site", "edge", "now_ms", "started_ms", "ports", "devices", "revoked", "rejects", "unprovisioned",
            "backlog", "store", "disk", "office", "integrity", "guard",
        }  # fmt: skip
        assert set(status["disk"]) == {
            "state", "free_bytes", "reserve_bytes", "ballast_bytes", "problem", "days_left", "pruned_rows",
            "pressed_rows", "keep_days",
        }  # fmt: skip
        assert not [name for name, *_ in found if not re.fullmatch(r"gatepost_[a-z0-9_]+", name)]
    wire.close()


async def test_only_with_the_token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = Site(tmp_path)
    with_viewer(site)
    async with site.agent() as agent, client(agent) as http:
        for path in ("/status", "/metrics", "/events"):
            async with http.get(path) as answer:
                assert answer.status == 401
                assert answer.headers["WWW-Authenticate"] == "Bearer"
            async with http.get(path, headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
                assert answer.status == 200
        async with http.get("/", allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, "/login")
        async with http.get("/healthz", headers={"Host": "pi.example"}) as answer:
            assert answer.status == 200
        async with http.post("/login", data={"token": "wrong"}) as answer:
            assert answer.status == 401
            assert "口令不正确" in await answer.text()
        async with http.post("/login", data={"token": f" {TOKEN} "}) as answer:
            assert "T7" in await answer.text()  # the page, after the redirect
        cookies = {cookie.key: cookie for cookie in http.cookie_jar}
        assert cookies["gatepost"].value != TOKEN
        assert cookies["gatepost"]["httponly"]
        assert cookies["gatepost"]["samesite"] == "Strict"
        async with http.get("/metrics") as answer:
            assert answer.status == 200
        async with http.post("/devices/7/revoke") as answer:  # a session commands nothing
            assert answer.status == 403
        url = f"http://127.0.0.1:{agent.status.port}/status"
        assert await asyncio.to_thread(cli.main, ["status", "--url", url]) == 2
        assert "viewer token is missing or wrong" in capsys.readouterr().err
        arguments = ["status", "--url", url, "--token-file", str(tmp_path / "viewer")]
        assert await asyncio.to_thread(cli.main, arguments) == 0
        assert "device 7 T7" in capsys.readouterr().out


async def test_wrong_tries_wait_and_alarm(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with_viewer(site)
    now_s = 1_000.0
    async with site.agent() as agent, client(agent) as http:
        agent.status._guard._now_s = lambda: now_s

        async def ask(token: str) -> int:
            async with http.get("/status", headers={"Authorization": f"Bearer {token}"}) as answer:
                return answer.status

        assert [await ask(f"wrong-{n}") for n in range(5)] == [401] * 5
        assert await ask(TOKEN) == 429
        async with http.post("/login", data={"token": TOKEN}) as answer:
            assert answer.status == 429
            assert "60 秒" in await answer.text()
        now_s += 60
        assert await ask("wrong-6") == 401
        now_s += 60
        assert await ask(TOKEN) == 429  # twice as long by now
        now_s += 60
        assert await ask(TOKEN) == 200
        async with http.get("/status", headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
            assert (await answer.json())["guard"] == {"wrong": 6, "alarms": 2}
        assert [await ask(f"wrong-{n}") for n in range(4)] == [401] * 4  # begun anew by the right one
        assert await ask(TOKEN) == 200
    alarms = [payload for _, _, payload in site.events(OWN).values() if payload[1:3] == b"\x18\x5a"]
    assert alarms == [b"\x83\x18\x5a" + b"\x69127.0.0.1" + tries for tries in (b"\x05", b"\x06")]


async def test_limits_of_what_comes_in(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with_viewer(site)
    (tmp_path / "control").write_text("control-token")
    (tmp_path / "control").chmod(0o600)
    text = site.config_path.read_text()
    site.config_path.write_text(
        text.replace("viewer_token_file", 'control_token_file = "control"\nviewer_token_file')
    )
    async with site.agent() as agent, client(agent) as http:
        async with http.post("/login", data={"token": "x" * 10_000}) as answer:
            assert answer.status == 413
        control = {"Authorization": "Bearer control-token"}
        async with http.post("/devices/7/commands", data=b"[" * 10_000, headers=control) as answer:
            assert answer.status == 413
        async with http.post("/devices/7/commands", data=b"[" * 4_000, headers=control) as answer:
            assert answer.status == 400  # nested too deep for the reader: no crash
        for long in (b"GET /" + b"x" * 9_000 + b" HTTP/1.1", b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000):
            reader, writer = await asyncio.open_connection("127.0.0.1", agent.status.port)
            writer.write(long + b"\r\n\r\n")
            async with asyncio.timeout(10):
                assert (await reader.readline()).split()[1] in (b"400", b"431", b"414")
            writer.close()
        async with http.get("/healthz") as answer:
            assert answer.status == 200


def certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(private)
    (folder / "key.pem").chmod(0o600)


async def test_the_command_line_over_https(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certificate(tmp_path)
    site = Site(tmp_path)
    with_viewer(site, 'tls_cert = "cert.pem"\ntls_key = "key.pem"\n')

    async def status(scheme: str, *more: str) -> tuple[int, str]:
        url = f"{scheme}://localhost:{agent.status.port}/status"
        code = await asyncio.to_thread(
            cli.main, ["status", "--url", url, "--token-file", str(tmp_path / "viewer"), *more]
        )
        out, err = capsys.readouterr()
        return code, out + err

    async with site.agent() as agent:
        code, said = await status("https")
        assert (code, "--ca-file" in said, "is the edge agent running" in said) == (2, True, False)
        code, said = await status("http")
        assert (code, "right may be https://" in said) == (2, True)
        code, said = await status("https", "--ca-file", str(tmp_path / "key.pem"))
        assert (code, "right is a certificate in PEM" in said) == (2, True)
        code, said = await status("https", "--ca-file", str(tmp_path / "cert.pem"), "--lang", "zh")
        assert (code, "等待上传到办公室" in said) == (0, True)


async def test_https(tmp_path: Path) -> None:
    site = Site(tmp_path)
    certificate(tmp_path)
    with_viewer(site, 'tls_cert = "cert.pem"\ntls_key = "key.pem"\n')
    trust = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    async with site.agent() as agent:
        url = f"https://localhost:{agent.status.port}"
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as http,
            http.post(f"{url}/login", data={"token": TOKEN}, allow_redirects=False) as answer,
        ):
            assert answer.status == 303
            assert "Secure" in answer.headers["Set-Cookie"]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ('listen = "0.0.0.0:8787"', "[status] listen: others can reach this address: set viewer_token_file"),
        ('listen = "127.0.0.1:0"\ntls_cert = "c.pem"', "[status] tls_cert: tls_cert and tls_key belong together"),
        ('listen = "127.0.0.1:0"\nviewer_token_file = "nowhere"', "nowhere can't be read"),
    ],
)
def test_mistakes(tmp_path: Path, lines: str, told: str) -> None:
    site = Site(tmp_path)
    text = site.config_path.read_text()
    site.config_path.write_text(text.replace('listen = "127.0.0.1:0"', lines, 1))
    with pytest.raises(ConfigError, match=re.escape(told)):
        configuration.load(site.config_path)


async def test_a_certificate_that_is_none(tmp_path: Path) -> None:
    site = Site(tmp_path)
    certificate(tmp_path)
    (tmp_path / "cert.pem").write_text("no certificate")
    with_viewer(site, 'tls_cert = "cert.pem"\ntls_key = "key.pem"\n')
    with pytest.raises(Exception, match="an address or certificate can't be used"):
        async with site.agent():
            pass
