"""What stands around a machine: devices on its lines, an office, the configuration that names them."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import struct
import tty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from edge_agent.tests.device import Device, PtyWire, UdpWire, Wire, sync
from edge_agent.tests.harness import until
from edge_agent.tests.office import Office
from gatelink import framing
from tools.package.tests.machine import Machine
from tools.simulate.processes import free_port

UNLOCK_PTY, NUMBER_OF_PTY = 0x40045431, 0x80045430  # ioctls of Linux
DATA = "/srv/disk/gatepost"  # data_dir lies elsewhere, as on a disk of its own


class PtyThere(PtyWire):
    """A serial line whose other end is in the machine; for the group of serial ports, as udev makes them."""

    def __init__(self, machine: Machine, link: str) -> None:
        self._machine = machine
        super().__init__(machine.root / link.lstrip("/"))

    def plug(self) -> None:
        pts = self._machine.root / "dev/pts"
        self.master = os.open(pts / "ptmx", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        fcntl.ioctl(self.master, UNLOCK_PTY, struct.pack("i", 0))
        number = struct.unpack("i", fcntl.ioctl(self.master, NUMBER_OF_PTY, bytes(4)))[0]
        self.slave = os.open(pts / str(number), os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self.slave)
        os.chown(pts / str(number), 0, 20)
        (pts / str(number)).chmod(0o660)
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(f"/dev/pts/{number}")
        self._decoder = framing.Decoder()
        asyncio.get_running_loop().add_reader(self.master, self._readable)


class Estate:
    """Devices, an office and the configuration of the machine's agent; the devices' memory lasts over the tests."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.devices = [Device(7, bytes([7]) * 32), Device(8, bytes([8]) * 32)]
        self.udp = free_port(socket.SOCK_DGRAM)
        self.status = free_port()
        self.office = Office()
        self.wires: list[Wire] = []

    def configure(self) -> None:
        config = (
            f'[edge]\nsite = "s1"\nid = "e1"\ndata_dir = "{DATA}"\n[devices]\nfile = "devices.toml"\n'
            f'[status]\nlisten = "127.0.0.1:{self.status}"\n[time]\nsource = "kernel"\n'
            f'[[port]]\nkind = "serial"\nname = "dock"\npath = "/dev/dock"\nreconnect_max_ms = 200\n'
            f'[[port]]\nkind = "serial"\nname = "uart"\npath = "/dev/ttyS9"\nreconnect_max_ms = 200\n'
            f'[[port]]\nkind = "serial"\nname = "forbidden"\npath = "/dev/forbidden"\nreconnect_max_ms = 200\n'
            f'[[port]]\nkind = "udp"\nname = "radio"\nlisten = "127.0.0.1:{self.udp}"\n'
            + self.office.config(url=f"http://localhost:{self.office.port}")
        )
        keys = "".join(
            f'[[device]]\nid = {d.device}\nrole = "tag"\nlink_key = "{(bytes([d.device]) * 32).hex()}"\n'
            for d in self.devices
        )
        self.machine.write("/etc/gatepost/devices.toml", keys)
        self.machine.write("/etc/gatepost/edge.toml", config)

    async def collect(self, count: int) -> None:
        """So many more events of each device, until the office has all of them."""
        for device in self.devices:
            for _ in range(count):
                device.mint()
        await asyncio.gather(
            *(sync(d, w, deadline_s=60) for d, w in zip(self.devices, self.wires, strict=True))
        )
        await until(self.complete, 30, "the office lacks something")

    def complete(self) -> bool:
        return all(
            self.office.of(d.device) == {seq: entry[2] for seq, entry in d.journal.items()}
            for d in self.devices
        )

    async def tell(self, *command: str) -> str:
        """Runs a command in the machine, while devices and office go on."""
        return await asyncio.to_thread(self.machine.run, *command)


@asynccontextmanager
async def connected(estate: Estate) -> AsyncIterator[Estate]:
    """Devices and office of one test; sockets belong to a test's loop."""
    await estate.office.start()
    try:
        estate.wires = [PtyThere(estate.machine, "/dev/dock"), await UdpWire.to(estate.udp)]
        yield estate
    finally:
        for wire in estate.wires:
            wire.close()
        await estate.office.stop()
