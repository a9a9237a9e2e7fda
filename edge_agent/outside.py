"""Layer: what the agent reaches beyond itself: its disk, its ports, the office, a thread. Tests bring their own."""

from __future__ import annotations

import random
from pathlib import Path

from edge_agent.config import Office, PortConfig
from edge_agent.store.database import Database
from edge_agent.store.disk import Disk
from edge_agent.sync.post import HttpPost, Post
from edge_agent.sync.signed_post import SignedPost
from edge_agent.transports.docks import Docks
from edge_agent.transports.port import Listener, Port
from edge_agent.transports.rs485 import Rs485Port
from edge_agent.transports.serial import SerialPort
from edge_agent.transports.udp import UdpPort
from edge_agent.writer import ThreadWriter, Writer


class Outside:
    """The real world."""

    def __init__(self) -> None:
        self.rng = random.Random()  # noqa: S311 - spreads retries, nothing secret

    def database(self, folder: Path) -> Database:
        """The store. Raises StoreError."""
        return Database(folder)

    def disk(self, folder: Path) -> Disk:
        """What the store stands on."""
        return Disk(folder)

    def writer(self) -> Writer:
        """What does the store's writing."""
        return ThreadWriter()

    def port(self, port: PortConfig, listener: Listener) -> Port:
        """A way to devices."""
        if port.kind == "udp":
            return UdpPort(port.name, port.listen, listener)
        if port.kind == "dock":
            pause_s = port.reconnect_max_ms / 1000
            return Docks(port.name, port.match, port.baudrate, pause_s, listener, port.elsewhere)
        line = (port.name, port.path, port.baudrate, port.reconnect_max_ms / 1000, listener)
        if port.kind == "rs485":
            return Rs485Port(*line, port.devices, port.direction)
        return SerialPort(*line)

    def post(self, office: Office, site: str) -> Post:
        """The way to the office. Raises EdgeError."""
        return HttpPost(office, site) if office.token else SignedPost(office, site)
