"""mosquitto in the comparison: a broker at the site bridges to the office's, both persistent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tools.bench.compare import mqtt, packages
from tools.bench.compare.peer import Process
from tools.bench.compare.script import Event
from tools.bench.office import free_port


def event_of(value: dict[str, Any]) -> list[Event]:
    """A published event."""
    return [Event(int(value["device"][1:]), int(value["seq"]))]


class Mosquitto:
    """compare.peer.Peer"""

    name = "mosquitto bridge"
    settings = "QoS 1, cleansession false, autosave_on_changes with interval 1, queues unlimited, keepalive 5 s"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._command = packages.mosquitto()
        mqtt.paho()
        self._site: list[Process] = []
        self._office: Process | None = None
        self._port = free_port()
        self._publisher: mqtt.Publisher | None = None
        self._subscriber: mqtt.Subscriber | None = None

    async def start_office(self) -> int:
        """The office's broker and reader."""
        port = free_port()
        self._office = mqtt.broker(self._command, self._folder, "office", port)
        await self._office.answers(port)
        self._subscriber = mqtt.Subscriber(port, f"{mqtt.TOPIC}/#", event_of)
        return port

    async def start_site(self, line_port: int) -> None:
        """The site's broker with its bridge."""
        bridge = (
            f"connection office\naddress 127.0.0.1:{line_port}\ntopic {mqtt.TOPIC}/# out 1\ncleansession false\n"
            "local_cleansession false\nrestart_timeout 1 2\nkeepalive_interval 5\ntry_private true\n"
            "notifications false\nremote_clientid site1\nlocal_clientid bridge1\n"
        )
        self._site.append(mqtt.broker(self._command, self._folder, "site", self._port, bridge))
        await self._site[-1].answers(self._port)
        if self._publisher is None:
            self._publisher = mqtt.Publisher(self._port)

    def feed(self, event: Event) -> None:
        """Published at QoS 1."""
        assert self._publisher is not None
        self._publisher.publish(event)

    def unacknowledged(self) -> int:
        """Without a PUBACK of the site's broker."""
        return self._publisher.open if self._publisher is not None else 0

    async def received(self) -> list[Event]:
        """In the order of arrival."""
        return list(self._subscriber.events) if self._subscriber is not None else []

    def site_processes(self) -> list[Process]:
        """The site's broker."""
        return self._site

    async def stop(self) -> None:
        """Ends all."""
        for client in (self._publisher, self._subscriber):
            if client is not None:
                client.stop()
        for process in (*self._site, self._office):
            if process is not None:
                await process.end()
