"""A store with a backlog for the office, and what of it has arrived."""

from __future__ import annotations

from edge_agent.daemon import Agent
from edge_agent.sync.uploader import Uploader
from edge_agent.tests.device import Device, PtyWire, sync
from edge_agent.tests.harness import Site, until
from edge_agent.tests.office import Office


def uploader_of(agent: Agent) -> Uploader:
    assert agent.uploader is not None
    return agent.uploader


def complete(office: Office, device: Device) -> bool:
    return office.of(device.device) == {seq: entry[2] for seq, entry in device.journal.items()}


async def outage(site: Site, office: Office, count: int) -> PtyWire:
    """A store with a backlog of `count` runs of one device, collected while the office is away."""
    device, wire = site.devices[0], PtyWire(site.link)
    for _ in range(count):
        device.mint()
    await office.stop()
    async with site.agent() as agent:
        await sync(device, wire, batch=2)
        await until(lambda: agent.switchboard.sessions[7].acked_seq == count)
    return wire
