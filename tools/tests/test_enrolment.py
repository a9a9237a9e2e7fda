"""From the one-time code to events at the office: real agent, real office, and who stands in the TLS between."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sqlite3
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent import enrolment
from edge_agent.daemon import Agent
from edge_agent.errors import EnrolmentError
from edge_agent.identity import Identity, load_or_make
from edge_agent.one_time_code import Ticket, new_code, parse
from edge_agent.tests.device import Device, PtyWire, sync
from edge_agent.tests.harness import Process, Site
from edge_agent.tests.harness import until as asked
from tools.errors import ToolError
from tools.office import commands, machine_keys
from tools.office.tests.process import ROOT, Server, configure, running

until = partial(asked, deadline_s=60.0)  # a loaded machine
OFFICE = (
    "[office]\ntimeout_s = 5\nconnect_timeout_s = 5\nbackoff_min_ms = 10\nbackoff_max_ms = 50\n"
    "batch_bytes = 1024\nprobe_s = 0.1\n"
)


class Line:
    """A port between edge and office. Faults: see the attributes."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.tap: ssl.SSLContext | None = None  # speak TLS oneself instead of passing it on
        self.deaf: Callable[[], bool] = lambda: False  # once it is true, nothing that the office says comes through
        self.handshakes = 0
        self.heard = b""  # what reached the tap in the clear
        self._server: asyncio.Server
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.tap is not None:
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.start_tls(self.tap)
                self.handshakes += 1
                while part := await reader.read(65_536):
                    self.heard += part
            writer.close()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        await asyncio.wait(
            [
                asyncio.create_task(self._pump(reader, far_writer)),
                asyncio.create_task(self._pump(far_reader, writer, answers=True)),
            ],
            return_when=asyncio.FIRST_COMPLETED,
        )
        for end in (writer, far_writer):
            end.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool = False) -> None:
        with contextlib.suppress(ConnectionError):
            while part := await reader.read(65_536):
                if answers and self.deaf():
                    return
                writer.write(part)
                await writer.drain()

    async def stop(self) -> None:
        self._server.close()


class Place:
    """An office with a certificate of its own, a line to it, and a site with one edge."""

    def __init__(self, folder: Path, server: Server, line: Line, config: Path) -> None:
        self.server, self.line, self.config = server, line, config
        (folder / "edge").mkdir(mode=0o700)
        self.site = Site(folder / "edge", office=OFFICE)
        self.data = folder / "edge" / "data"

    def code(self) -> str:
        """As `gatepost office enrol` prints it."""
        return commands.enrol(self.config, "s1", "e1", 60, f"https://127.0.0.1:{self.line.port}", None)

    async def enrol(self, code: str | None = None) -> enrolment.Enrolled:
        """As `gatepost edge enrol` does it."""
        return await enrolment.enrol_here(self.data, "s1", "e1", code or self.code())

    def rows(self, what: str) -> list[tuple[object, ...]]:
        """A query of the office's database."""
        with sqlite3.connect(f"file:{self.config.parent / 'data' / 'office.db'}?mode=ro", uri=True) as db:
            return db.execute(what).fetchall()

    def arrived(self, device: int) -> int:
        """Events of a device at the office."""
        return int(str(self.rows(f"SELECT count(*) FROM event WHERE device = {device}")[0][0]))

    def check(self, device: Device) -> None:
        """The office holds exactly what the device minted, in its order."""
        columns = "seq, boot, uptime_cs, payload"
        found = self.rows(f"SELECT {columns} FROM event WHERE device = {device.device} ORDER BY seq")
        assert found == [(seq, *entry[:3]) for seq, entry in sorted(device.journal.items())]


@pytest.fixture(scope="module")
def impostor(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A certificate like the office's, but with another key."""
    path = tmp_path_factory.mktemp("impostor") / "office.pem"
    machine_keys.make_certificate(path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)
    return context


@pytest.fixture
def office(tmp_path: Path) -> Iterator[tuple[Path, Server]]:
    config = configure(tmp_path / "office", sites='[[site]]\nid = "s1"\n')
    commands.init(config)
    with running(config) as server:
        yield config, server


@pytest.fixture
async def place(tmp_path: Path, office: tuple[Path, Server]) -> AsyncIterator[Place]:
    line = Line(office[1].port)
    await line.start()
    yield Place(tmp_path, office[1], line, office[0])
    await line.stop()


@asynccontextmanager
async def synced(place: Place, count: int) -> AsyncIterator[tuple[Agent, Device, PtyWire]]:
    """The agent with a device whose first events are in its store."""
    device = place.site.devices[0]
    wire = PtyWire(place.site.link)
    for _ in range(count):
        device.mint()
    async with place.site.agent() as agent:
        await sync(device, wire)
        yield agent, device, wire
    wire.close()


def denied(agent: Agent) -> str:
    assert agent.uploader is not None
    return next((lane.denied for lane in agent.uploader.lanes.values() if lane.denied), "")


async def status(agent: Agent) -> dict[str, object]:
    """What GET /status says of the office."""
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{agent.status.port}/status") as answer,
    ):
        found: dict[str, object] = (await answer.json())["office"]
        return found


async def command(*arguments: str) -> tuple[int, str, str]:
    """gatepost in a process of its own."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tools.cli", *arguments, cwd=ROOT,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(child.communicate(), 60)
    assert child.returncode is not None
    return child.returncode, out.decode(), err.decode()


async def test_as_its_people_do_it(place: Place) -> None:
    """Three commands, three processes; the agent runs before and finds its enrolment by itself."""
    process = Process(place.site)
    await process.start()
    device = place.site.devices[0]
    for _ in range(40):
        device.mint()
    wire = PtyWire(place.site.link)
    await sync(device, wire)
    where = ("--config", str(place.config))
    code, out, err = await command(
        "office", "enrol", *where, "--site", "s1", "--edge", "e1", "--url", f"https://127.0.0.1:{place.line.port}"
    )
    assert (code, err, out.count("\n")) == (0, "", 1)
    edge = ("edge", "enrol", "--config", str(place.site.config_path))
    slip = out.strip()[:-1] + ("0" if out.strip()[-1] != "0" else "1")
    code, _, err = await command(*edge, "--code", slip)
    assert (code, err.count("\n"), "slip" in err) == (2, 1, True)
    code, said, err = await command(*edge, "--code", out.strip())
    assert (code, err, "is enrolled at https://127.0.0.1" in said) == (0, "", True)
    assert "within a minute" in said
    kept = place.data / "office.toml"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert parse(out).code not in kept.read_text()
    await until(lambda: place.arrived(7) == 40)
    place.check(device)
    await until(lambda: place.rows("SELECT 1 FROM log_head"))  # its signed heads go the same way
    public = load_or_make(place.data).public
    assert {one[0] for one in place.rows("SELECT public FROM log_head UNION SELECT public_key FROM edge")} == {public}
    assert place.rows("SELECT * FROM log_key") == []  # not taken on trust: the key was enrolled
    code, out, _ = await command("office", "edges", *where)
    assert (code, out.startswith("s1/e1: enrolled")) == (0, True)
    assert await process.end() == 0
    wire.close()


async def test_an_agent_that_knows_of_no_office_is_told_to_start_anew(place: Place) -> None:
    place.site.config_path.write_text(place.site.config_path.read_text().replace(OFFICE, ""))
    code, said, err = await command(
        "edge", "enrol", "--config", str(place.site.config_path), "--code", place.code()
    )
    assert (code, err, "write an empty [office] table" in said) == (0, "", True)


async def test_a_code_shown_to_the_wrong_server_is_not_said(place: Place, impostor: ssl.SSLContext) -> None:
    place.line.tap = impostor
    code = place.code()
    with pytest.raises(EnrolmentError, match="Nothing was sent"):
        await place.enrol(code)
    await until(lambda: place.line.handshakes == 1)
    assert place.line.heard == b""
    assert not (place.data / "office.toml").exists()
    place.line.tap = None
    await place.enrol(code)


async def test_who_stands_in_between_hears_nothing(place: Place, impostor: ssl.SSLContext) -> None:
    """Another certificate in the line while events wait: not a byte for it, all of them for the office afterwards."""
    await place.enrol()
    place.line.tap = impostor
    async with synced(place, 60) as (agent, device, _):
        await until(lambda: denied(agent) == "other_office" and place.line.handshakes >= 3)
        assert (await status(agent))["denied"] == "other_office"
        assert place.line.heard == b""
        assert place.arrived(7) == 0
        place.line.tap = None
        await until(lambda: place.arrived(7) == 60)
        await until(lambda: denied(agent) == "")
        place.check(device)
    print(f"{place.line.handshakes} handshakes with the impostor, 0 bytes said to it")


async def test_an_answer_that_is_lost_costs_no_second_code(place: Place) -> None:
    """The office has taken the code, the edge does not know: the same code again."""
    code = place.code()
    place.line.deaf = lambda: bool(place.rows("SELECT 1 FROM edge"))  # on the disk: the answer is what follows
    with pytest.raises(EnrolmentError, match="again with the same code"):
        await place.enrol(code)
    assert [one[0] for one in place.rows("SELECT what FROM edge_history ORDER BY id")] == ["code", "enrolled"]
    assert not (place.data / "office.toml").exists()
    place.line.deaf = lambda: False
    known = await place.enrol(code)
    assert known.enrolled_ms == place.rows("SELECT enrolled_ms FROM edge")[0][0]
    assert len(place.rows("SELECT what FROM edge_history")) == 2


async def test_revoked_in_the_middle_of_uploads(place: Place) -> None:
    """Nothing of it is lost at the edge, nothing gets in behind, and the next enrolment goes on where it was."""
    await place.enrol()
    async with synced(place, 400) as (agent, device, wire):
        await until(lambda: place.arrived(7) >= 1)
        commands.revoke(place.config, "s1", "e1")
        at_once = place.arrived(7)
        for _ in range(100):
            device.mint()
        await sync(device, wire)  # the edge goes on taking
        await until(lambda: denied(agent) == "revoked")
        assert agent.uploader is not None
        failures = agent.uploader.lanes["normal"].failures
        await until(lambda: agent.uploader.lanes["normal"].failures >= failures + 3)  # type: ignore[union-attr]  # above
        assert place.arrived(7) == at_once
        place.site.check(device)
        said = await status(agent)
        assert (said["denied"], said["reachable"]) == ("revoked", False)
        assert said["url"] == f"https://127.0.0.1:{place.line.port}"
        assert "revoked by the office: enrol again" in said["problem"]
        await place.enrol()
        await until(lambda: place.arrived(7) == 500)
        await until(lambda: denied(agent) == "")
        place.check(device)
    assert place.rows("SELECT count(*) FROM conflict") == [(0,)]
    print(f"revoked with {at_once} of 500 events there, {500 - at_once} came after the next enrolment, none twice")


async def test_a_new_card_in_the_old_edge(place: Place) -> None:
    """The SD card is lost, key and all: the same edge id with another key; the lost one opens nothing."""
    await place.enrol()
    lost = place.data.with_name("lost")
    place.data.rename(lost)
    await place.enrol()
    assert load_or_make(lost).public != load_or_make(place.data).public
    async with synced(place, 30) as (_, device, _wire):
        await until(lambda: place.arrived(7) == 30)
        place.check(device)
    place.data.rename(place.data.with_name("new"))
    lost.rename(place.data)
    async with synced(place, 0) as (agent, _, _wire):
        await until(lambda: denied(agent) == "unknown")
    assert place.arrived(7) == 30
    whats = [one[0] for one in place.rows("SELECT what FROM edge_history ORDER BY id")]
    assert whats == ["code", "enrolled", "code", "replaced"]


async def test_the_next_certificate_is_announced_by_the_present_one(place: Place) -> None:
    await place.enrol()
    async with synced(place, 10) as (agent, device, wire):
        await until(lambda: place.arrived(7) == 10)
        assert "made the next certificate" in commands.renew(place.config, switch=False, anyway=False)
        with pytest.raises(ToolError, match="not heard of it yet: s1/e1"):
            commands.renew(place.config, switch=True, anyway=False)
        # Whoever was here since has heard of it: the running server tells it, and goes on doing so after the switch.
        following = machine_keys.pin_of_file(place.config.parent / "data" / machine_keys.NEXT)
        device.mint()
        await sync(device, wire)
        await until(lambda: place.arrived(7) == 11)
        commands.renew(place.config, switch=True, anyway=False)
        await until(lambda: following.hex() in (place.data / "office.toml").read_text())
        device.mint()
        await sync(device, wire)
        await until(lambda: place.arrived(7) == 12)
        known = enrolment.load(place.data, "s1", "e1")
        assert known is not None
        assert len(known.pins) == 2
        assert known.pins[1] == following
        await asyncio.to_thread(place.server.stop)  # the agent has to close its connections meanwhile
        with running(place.config) as second:
            place.line.target = second.port
            device.mint()
            await sync(device, wire)
            await until(lambda: place.arrived(7) == 13)
            await until(lambda: (place.data / "office.toml").read_text().count(following.hex()) == 1)
            known = enrolment.load(place.data, "s1", "e1")
            assert known is not None
            await until(lambda: (enrolment.load(place.data, "s1", "e1") or known).pins == (following,))
            assert denied(agent) == ""
            place.check(device)


async def test_codes_that_are_not_for_this_edge(place: Place, tmp_path: Path) -> None:
    code = place.code()
    with pytest.raises(EnrolmentError, match='the code is for "e1" at "s1"'):
        await enrolment.enrol_here(tmp_path / "other", "s1", "e2", code)
    await place.enrol(code)
    shutil.copytree(place.data, tmp_path / "copy")
    with pytest.raises(EnrolmentError, match="used already"):
        await enrolment.enrol_here(tmp_path / "third", "s1", "e1", code)
    with pytest.raises(EnrolmentError, match="can't be reached"):
        await enrolment.enrol_here(tmp_path / "fourth", "s1", "e1", code.replace(str(place.line.port), "9"))


async def test_an_answer_in_pieces_is_an_answer() -> None:
    """As a proxy may send it; what goes on without end is none."""
    told = json.dumps({"v": 1, "site": "s1", "edge": "e1", "enrolled_ms": 5}).encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        for part in pieces:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.1)  # so that they come apart; nothing is right only because of it
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    where = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    ticket = Ticket(where, "s1", "e1", new_code(), b"")
    made = Identity(Ed25519PrivateKey.generate())
    pieces = [told[:10], told[10:30], told[30:]]
    assert (await enrolment.enrol(ticket, made)).enrolled_ms == 5
    endless = [told, b" " * enrolment.MAX_ANSWER]
    late = [told.replace(b"5", number) for number in (b"1e999", b"%d" % (1 << 48))]
    for senseless in (endless, late[:1], late[1:], [b"[" * 10_000]):
        pieces = senseless
        with pytest.raises(EnrolmentError, match="not as an office does"):
            await enrolment.enrol(ticket, made)
    server.close()
