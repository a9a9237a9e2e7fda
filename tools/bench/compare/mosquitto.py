"""mosquitto in the comparison: a broker at the site bridges to the office's, both persistent."""

from __future__ import annotations

from typing import Any

from tools.bench.compare import mqtt
from tools.bench.compare.script import Event


def event_of(value: dict[str, Any]) -> list[Event]:
    """A published event."""
    return [Event(int(value["device"][1:]), int(value["seq"]))]


class Mosquitto(mqtt.Site):
    """compare.peer.Peer"""

    name = "mosquitto bridge"
    settings = "QoS 1, cleansession false, autosave_on_changes with interval 1, queues unlimited, keepalive 5 s"
    disk = "site"
    saving = mqtt.EVERY_CHANGE

    async def start_office(self) -> int:
        """The office's broker and reader."""
        return await self._open_office(f"{mqtt.TOPIC}/#", event_of)

    async def start_site(self, line_port: int) -> None:
        """The site's broker with its bridge."""
        bridge = (
            f"connection office\naddress 127.0.0.1:{line_port}\ntopic {mqtt.TOPIC}/# out 1\ncleansession false\n"
            "local_cleansession false\nrestart_timeout 1 2\nkeepalive_interval 5\ntry_private true\n"
            "notifications false\nremote_clientid site1\nlocal_clientid bridge1\n"
        )
        self._site.append(
            mqtt.broker([*self.wrap, *self._command], self._folder, "site", self._port, self.saving + bridge)
        )
        await self._site[-1].answers(self._port)
        self._publish()


class MosquittoDefault(Mosquitto):
    """Saved as it comes: at its end, and every 30 min."""

    name = "mosquitto bridge, saving as it comes"
    settings = "as the other, without autosave_on_changes: saved every 30 min"
    saving = ""
