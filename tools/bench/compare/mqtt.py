"""MQTT in the comparison: a broker, a device that publishes at QoS 1, a reader at the office; by paho-mqtt."""

from __future__ import annotations

import importlib
import json
import time
from pathlib import Path
from typing import Any

from tools.bench import packages
from tools.bench.compare.peer import Process
from tools.bench.compare.script import DEVICES, Event
from tools.simulate.processes import free_port

PERSISTENT = (
    "allow_anonymous true\npersistence true\n"
    "max_queued_messages 0\nmax_queued_bytes 0\nlog_type error\nlog_type warning\nlog_type subscribe\n"
)
EVERY_CHANGE = "autosave_on_changes true\nautosave_interval 1\n"
TOPIC = "events"
FIRST_MS = 1_775_000_000_000


def paho() -> Any:
    """The client library, fetched on demand. Raises MissingError."""
    packages.clients()
    return importlib.import_module("paho.mqtt.client")


def broker(command: list[str], folder: Path, name: str, port: int, more: str = "") -> Process:
    """A broker that keeps everything on disk; its log tells who subscribed."""
    kept = folder / name
    kept.mkdir(exist_ok=True)
    config = folder / f"{name}.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\npersistence_location {kept.resolve()}/\nuser root\n{PERSISTENT}{more}"
    )
    return Process([*command, "-c", str(config.resolve())], folder / f"{name}.log", folder)


def text(event: Event) -> str:
    """What a device without our protocol would publish; ts differs from event to event, else some systems join them."""
    return json.dumps(
        {
            "device": f"d{event.device}",
            "seq": event.seq,
            "ts": FIRST_MS + event.seq,
            "uid": f"04a1b2c3d4{event.seq:06x}",
        }
    )


class Publisher:
    """Devices on a client each: persistent sessions, QoS 1; paho keeps and repeats what has no PUBACK.

    acked: when the PUBACK was there.
    """

    def __init__(self, port: int, devices: tuple[int, ...], acked: dict[Event, float]) -> None:
        mqtt = paho()
        self._clients: dict[int, Any] = {}
        self._sent: dict[int, list[Event]] = {device: [] for device in devices}  # paho numbers them from 1
        self._acked = acked
        for device in devices:
            client = mqtt.Client(
                mqtt.CallbackAPIVersion.VERSION2, client_id=f"device{device}", clean_session=False, userdata=device
            )
            client.max_queued_messages_set(0)
            client.max_inflight_messages_set(16)
            client.reconnect_delay_set(1, 1)
            client.on_publish = self._published
            client.connect("127.0.0.1", port, keepalive=5)
            client.loop_start()
            self._clients[device] = client

    def _published(self, _: object, device: int, mid: int, *__: object) -> None:
        self._acked[self._sent[device][mid - 1]] = time.time()

    def publish(self, event: Event) -> None:
        """Queues one event."""
        self._sent[event.device].append(event)
        self._clients[event.device].publish(f"{TOPIC}/d{event.device}", text(event), qos=1)

    @property
    def open(self) -> int:
        """Events without a PUBACK."""
        return sum(len(sent) for sent in self._sent.values()) - len(self._acked)

    def stop(self) -> None:
        """Ends the clients."""
        for client in self._clients.values():
            client.disconnect()
            client.loop_stop()


class Subscriber:
    """The office's reader: persistent session, QoS 1; `events` in the order of arrival.

    `answers`: a topic ending in / and what is answered to each message below it, on the topic beside it.
    """

    def __init__(self, port: int, topic: str, found: Any, answers: tuple[str, str, str] | None = None) -> None:
        mqtt = paho()
        self.events: list[Event] = []
        self._found = found
        self._answers = answers
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="office", clean_session=False)
        self._client.on_message = self._message
        topics = [(topic, 1)] + ([(answers[0] + "+", 1)] if answers else [])
        self._client.on_connect = lambda client, *_: client.subscribe(topics)
        self._client.connect("127.0.0.1", port, keepalive=60)
        self._client.loop_start()

    def _message(self, client: Any, _data: object, message: Any) -> None:
        if self._answers is not None and message.topic.startswith(self._answers[0]):
            client.publish(self._answers[1] + message.topic.rpartition("/")[2], self._answers[2], qos=1)
            return
        self.events += self._found(json.loads(message.payload))

    def stop(self) -> None:
        """Ends it."""
        self._client.disconnect()
        self._client.loop_stop()


class Site:
    """What the MQTT peers have in common: brokers, devices that publish, a reader at the office."""

    def __init__(self, folder: Path) -> None:
        self.wrap: list[str] = []
        self.senders = tuple(range(1, DEVICES + 1))
        self.acked: dict[Event, float] = {}
        self._told = self.acked  # what the devices were told
        self._folder = folder
        self._command = packages.mosquitto()
        paho()
        self._port = free_port()
        self._site: list[Process] = []
        self._others: list[Process] = []  # neither killed nor counted
        self._publisher: Publisher | None = None
        self._subscriber: Subscriber | None = None

    async def _open_office(self, topic: str, found: Any, answers: tuple[str, str, str] | None = None) -> int:
        port = free_port()
        office = broker(self._command, self._folder, "office", port, EVERY_CHANGE)
        self._others.append(office)
        await office.answers(port)
        self._subscriber = Subscriber(port, topic, found, answers)
        return port

    def _publish(self) -> None:
        """The devices, once the site is there."""
        if self._publisher is None:
            self._publisher = Publisher(self._port, self.senders, self._told)

    def feed(self, event: Event) -> None:
        """Published at QoS 1 to the site's broker."""
        assert self._publisher is not None
        self._publisher.publish(event)

    def unacknowledged(self) -> int:
        """Without a PUBACK of the site's broker."""
        return self._publisher.open if self._publisher is not None else 0

    async def received(self) -> list[Event]:
        """In the order of arrival."""
        return list(self._subscriber.events) if self._subscriber is not None else []

    def site_processes(self) -> list[Process]:
        """What is killed and counted, and what was."""
        return self._site

    async def stop(self) -> None:
        """Ends all."""
        for client in (self._publisher, self._subscriber):
            if client is not None:
                client.stop()
        for process in (*self._site, *self._others):
            await process.end()
