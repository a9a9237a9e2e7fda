"""The status address as its users meet it: page, stream, tokens, wrong tries, limits; over real sockets."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from edge_agent.tests.device import PtyWire
from edge_agent.tests.harness import OWN, Site, until
from edge_agent.tests.office import Office
from edge_agent.tests.watching import TOKEN, client, greet, tell, with_viewer
from edge_agent.web import stream
from edge_agent.web.page import Page
from gatelink import events
from tools import cli

EVIL = "<img src=x onerror=x>"
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
