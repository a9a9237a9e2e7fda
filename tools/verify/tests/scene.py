"""An edge and an office that were filled in the real way: devices on lines, the agent, the office's own process."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from edge_agent import config as edge_config
from edge_agent.config import Config as EdgeConfig
from edge_agent.tests.device import Device, PtyWire, UdpWire, sync
from edge_agent.tests.harness import Site, until
from edge_agent.tests.office import TOKEN
from edge_agent.tests.test_time import World, answered
from gatelink import events
from gatelink.messages import Events
from tools.office import config as office_config
from tools.office.config import Config
from tools.office.tests.process import Server, sha
from tools.verify import edge, office
from tools.verify.faults import Fault, Report
from tools.verify.office import Wanted


class Scene(NamedTuple):
    """Both sides at rest; `folder` is copied for every change."""

    folder: Path
    devices: list[Device]


def write_office(folder: Path, devices: list[Device]) -> Path:
    folder.mkdir()
    keys = folder / "keys.toml"
    keys.write_text(
        "".join(
            f'[[device]]\nsite = "s1"\nid = {d.device}\nevent_key = "{d.event_key.hex()}"\n' for d in devices
        )
    )
    keys.chmod(0o600)
    path = folder / "office.toml"
    path.write_text(
        '[office]\nlisten = "127.0.0.1:0"\ndata_dir = "data"\n'
        f'[[site]]\nid = "s1"\ntoken_sha256 = "{sha(TOKEN)}"\n[devices]\nfile = "keys.toml"\n'
    )
    return path


def with_loss(device: Device, gone: int) -> bytes:
    """The next event, and that so many before it are gone from the device's journal."""
    for _ in range(gone):
        device.mint()
    seq = device.mint()
    boot, uptime_cs, payload, mac8 = device.journal[seq]
    items = events.join([uptime_cs], [payload])
    return device.send(Events(seq, boot, uptime_cs, items, mac8, gone, device.journal[seq - 1][3]))


async def fill(folder: Path, turns: int = 6) -> Scene:
    """Two devices: visits in batches and one by one, alarms, chain values by status, times that became known later."""
    folder.mkdir(exist_ok=True)  # noqa: ASYNC240 - a small folder of a test
    site = Site(folder)
    where = write_office(folder / "office", site.devices)
    server = Server(where)
    one, other = site.devices
    try:
        site.write(
            office=f'[office]\nurl = "http://127.0.0.1:{server.port}"\ntoken = "{TOKEN}"\nhead_pause_s = 0\n'
            "backoff_min_ms = 10\nbackoff_max_ms = 50\n",
            more='[time]\nsource = "kernel"\n',
        )
        tag, udp = PtyWire(site.link), await UdpWire.to(site.udp_port)
        world = World(synced=False)
        async with site.agent(world.clock()) as agent:
            for _ in range(5):
                one.mint()
            await sync(one, tag)
            world.synced = True
            world.true_ms += 10_000
            clock = (await answered(one, tag)).clock
            one.uptime_ms += 1_000
            await answered(one, tag, (one.uptime_ms - 1_000, clock[1], clock[2]))
            for turn in range(turns):
                for device, wire in ((one, tag), (other, udp)):
                    for _ in range(12):
                        device.mint()
                    device.mint(events.SOS, None)
                    await sync(device, wire, batch=(20, 5, 1)[turn % 3])
                    if turn == 1 and device is other:
                        wire.send(with_loss(other, 3))
                        await until(lambda: agent.switchboard.sessions[8].acked_seq == other.last_seq)
                        wire.send(other.status())
                        await sync(other, wire)
                world.true_ms += 60_000
                await _all_signed(agent)
            tag.send(one.status())
            udp.send(other.status())
            rows = agent.database.reader()
            proofs = "SELECT count(*) FROM log WHERE items = x'' AND mac8 IS NOT NULL"
            await until(lambda: rows.execute(proofs).get == 2)
            rows.close()
            await _all_signed(agent)
        tag.close()
        udp.close()
        for device in site.devices:
            _checked(server, device)
    finally:
        server.stop()
    return Scene(folder, site.devices)


async def _all_signed(agent: Any) -> None:
    """Until everything that is in the log is delivered, and is covered by a head that the office has."""
    rows = agent.database.reader()

    def signed() -> bool:
        found = agent.keeper.describe()
        last = rows.execute("SELECT max(pos) FROM log").get
        return bool(agent.ingest.waiting == 0 and found["first_pos"] + found["delivered_rows"] - 1 == last)

    await until(signed, 20)
    rows.close()


def _checked(server: Server, device: Device) -> None:
    """Until the office's own check has followed the chain to its end, and has compared all heads."""
    for _ in range(2_000):
        state = server.get(f"/api/v1/sites/s1/devices/{device.device}")
        (log,) = server.get("/api/v1/logs")
        if state["checked_to"] == device.last_seq and log["checked"]:
            assert state["findings"] == []
            assert log["findings"] == []
            return
    raise AssertionError(f"{state} {log}")


class Copy:
    """A copy of a scene that may be spoilt."""

    def __init__(self, scene: Scene, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.office: Config = office_config.load(scene.folder / "office" / "office.toml", serve=False)
        self.edge: EdgeConfig = edge_config.load(scene.folder / "edge.toml")
        for source, name in ((self.office.data_dir, "office"), (self.edge.data_dir, "edge")):
            (folder / name).mkdir(mode=0o700)
            for path in source.iterdir():
                if path.suffix in (".db", ".sqlite", ".key"):
                    shutil.copy2(path, folder / name / path.name)
        self.office = dataclasses.replace(self.office, data_dir=folder / "office")
        self.edge = self.edge._replace(data_dir=folder / "edge")

    def office_db(self) -> apsw.Connection:
        return apsw.Connection(str(self.folder / "office" / "office.db"))

    def edge_db(self) -> apsw.Connection:
        return apsw.Connection(str(self.folder / "edge" / "edge.sqlite"))

    def check_office(self, wanted: Wanted | None = None) -> Report:
        return office.check(self.office, wanted or Wanted())

    def check_edge(self) -> Report:
        report = Report()
        edge.check(self.edge, report)
        return report


Change = str | Callable[[apsw.Connection], Any]


def change(db: apsw.Connection, how: Change) -> None:
    """SQL, or what a function does; something must have changed."""
    before = db.total_changes()
    if isinstance(how, str):
        db.execute(how)
    else:
        how(db)
    assert db.total_changes() > before, "this changes nothing"
    db.close()


def named(report: Report) -> set[str]:
    return {fault.code for fault in report.faults}


def of(report: Report, code: str) -> list[Fault]:
    return [fault for fault in report.faults if fault.code == code]
