"""Makes the fixture of the newest schema: python -m edge_agent.tests.make_database. Fixtures of older ones stay."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

import apsw

from edge_agent.store.database import schema_steps
from edge_agent.tests.device import PtyWire, sync
from edge_agent.tests.harness import OWN, Site, until
from edge_agent.tests.office import Office
from gatelink import events

OLD = Path(__file__).parent / "databases"


async def make(folder: Path) -> None:
    office = Office()
    await office.start()
    site = Site(folder, office=office.config())
    device, wire = site.devices[0], PtyWire(site.link)
    async with site.agent() as agent:
        await sync(device, wire)
        for _ in range(20):
            device.mint()
        await sync(device, wire)
        await until(lambda: len(office.of(7)) == 20)
        uploader = agent.uploader
        assert uploader is not None
        await until(lambda: uploader.lanes["normal"].delivered == agent.ingest.events)
        await office.stop()
        for _ in range(63):
            wire.send(device.status())
        for _ in range(20):
            device.mint()
        await sync(device, wire)
        for _ in range(4):
            device.mint()
        alarm = device.mint(events.SOS, None)
        wire.send(device.batch(alarm, 1))
        await until(lambda: agent.switchboard.sessions[7].gaps)
    connection = apsw.Connection(str(folder / "data" / "edge.sqlite"))
    own = [row for row in site.rows() if row.device == OWN]
    print("own events:", len(own), "lanes:", list(connection.execute("SELECT * FROM lane")))
    connection.pragma("journal_mode", "delete")
    connection.execute("VACUUM")
    connection.close()
    wire.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(make(Path(name)))
        target = OLD / f"v{len(schema_steps())}.sqlite"
        shutil.copy(Path(name) / "data" / "edge.sqlite", target)
        print(target, target.stat().st_size, "bytes")
