"""An agent of today on the store of every earlier version: what waited is delivered, devices go on, nothing doubles."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edge_agent.store import copies
from edge_agent.store.database import FILE_NAME, schema_steps
from edge_agent.tests.device import PtyWire, sync
from edge_agent.tests.harness import OWN, Site, until
from edge_agent.tests.office import Office
from gatelink import events

OLD = Path(__file__).parent / "databases"


@pytest.mark.parametrize("version", range(1, len(schema_steps()) + 1))
async def test_goes_on_with_it(tmp_path: Path, version: int) -> None:
    office = Office()
    await office.start()
    site = Site(tmp_path, office=office.config())
    (tmp_path / "data").mkdir(mode=0o700)
    shutil.copy(OLD / f"v{version}.sqlite", tmp_path / "data" / FILE_NAME)
    (tmp_path / "data" / FILE_NAME).chmod(0o600)
    device, wire = site.devices[0], PtyWire(site.link)
    # The device of make_database, as it was then: the same seed gives the same journal.
    for _ in range(44):
        device.mint()
    device.mint(events.SOS, None)
    device.acked = 40
    before = copies.check(tmp_path / "data" / FILE_NAME)
    own_before = len(site.events(OWN))
    device.restart()
    for _ in range(10):
        device.mint()
    async with site.agent():
        await sync(device, wire)
        await until(lambda: copies.check(tmp_path / "data" / FILE_NAME).waiting == 0, 20)
    site.check(device)
    assert copies.check(tmp_path / "data" / FILE_NAME).schema == len(schema_steps())
    # 1 to 20 were delivered by the agent of then; all the rest is there now, once.
    assert office.of(7) == {seq: entry[2] for seq, entry in device.journal.items() if seq > 20}
    assert office.doubled == 0
    assert before.waiting >= 20
    assert len(site.events(OWN)) > own_before
    wire.close()
    await office.stop()
