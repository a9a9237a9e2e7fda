"""thingsboard-gateway in the comparison: its MQTT connector reads the site's broker, its sqlite storage buffers."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from tools.bench import packages
from tools.bench.compare import mqtt
from tools.bench.compare.handover import Handover
from tools.bench.compare.peer import Process
from tools.bench.compare.script import Event

TELEMETRY = "v1/gateway/telemetry"
ASKED, ANSWERED = "v1/devices/me/rpc/request/", "v1/devices/me/rpc/response/"
NO_LIMITS = {"messages": "", "telemetryMessages": "", "telemetryDataPoints": ""}
# What a server answers to getSessionLimits; the gateway sends nothing before.
SESSION = {
    "maxPayloadSize": 65_536, "maxInflightMessages": 100, "rateLimits": NO_LIMITS, "gatewayRateLimits": NO_LIMITS,
}  # fmt: skip
START_S = 60.0
# It asks for updates at its start: nothing leaves this machine.
OFFLINE = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}


def events_of(value: dict[str, list[dict[str, Any]]]) -> list[Event]:
    """What the gateway uploads: device -> [{ts, values: {key: value}}]."""
    return [
        Event(int(device[1:]), int(entry["values"]["seq"]))
        for device, entries in value.items()
        for entry in entries
        if "seq" in entry.get("values", {})
    ]


class Thingsboard(mqtt.Site):
    """compare.peer.Peer"""

    name = "thingsboard-gateway"
    settings = (
        "sqlite storage, writing_batch_size 1, QoS 1 to the office, rate limits off; in front of it mosquitto as for"
        " the bridge, read with a persistent session"
    )

    disk = "data"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._told = {}  # by the broker; what counts is what the gateway took over
        self._handover: Handover | None = None
        self._packages = packages.python_packages("thingsboard", "thingsboard-gateway", "setuptools<81")

    async def start_office(self) -> int:
        """A broker in the place of the ThingsBoard server, and a reader of what it gets."""
        return await self._open_office(TELEMETRY, events_of, (ASKED, ANSWERED, json.dumps(SESSION)))

    async def start_site(self, line_port: int) -> None:
        """The gateway; the broker that the devices publish to goes on while it is killed."""
        if not self._site:  # the broker goes on while the gateway is killed
            broker = mqtt.broker(self._command, self._folder, "site", self._port, mqtt.EVERY_CHANGE)
            self._others.append(broker)
            await broker.answers(self._port)
            self._handover = Handover(self._port, self.acked)
            await self._handover.start()
        self._configure(line_port)
        ready = self._folder / "gateway.log"
        self._site.append(
            Process(
                [*self.wrap, sys.executable, "-c", "from thingsboard_gateway.tb_gateway import main; main()"],
                ready,
                self._folder,
                {"PYTHONPATH": str(self._packages), "TB_GW_CONFIG_DIR": f"{self._folder}/config/", **OFFLINE},
            )
        )
        if self._publisher is None:
            await self._reading()
            self._publish()

    async def stop(self) -> None:
        """Ends all."""
        await super().stop()
        if self._handover is not None:
            await self._handover.stop()

    async def _reading(self) -> None:
        """Returns when the gateway has subscribed: what is published before nobody keeps. Raises RuntimeError."""
        deadline = time.monotonic() + START_S
        while f"{mqtt.TOPIC}/+" not in await asyncio.to_thread((self._folder / "site.log").read_text):
            if time.monotonic() > deadline:
                raise RuntimeError("the gateway did not subscribe")
            await asyncio.sleep(0.1)

    def _configure(self, line_port: int) -> None:
        assert self._handover is not None
        folder = self._folder / "config"
        folder.mkdir(exist_ok=True)
        (self._folder / "data").mkdir(exist_ok=True)
        off = "100000:1,"
        gateway = {
            "thingsboard": {
                "host": "127.0.0.1", "port": line_port, "remoteShell": False, "remoteConfiguration": False,
                "statistics": {"enable": False}, "qos": 1, "minPackSendDelayMS": 10, "minPackSizeToSend": 1,
                "checkConnectorsConfigurationInSeconds": 60, "handleDeviceRenaming": False,
                "security": {"type": "accessToken", "accessToken": "compare"},
                "reportStrategy": {"type": "ON_RECEIVED"},
                "rateLimits": off, "dpRateLimits": off, "messagesRateLimits": off,
                "deviceMessagesRateLimits": off, "deviceRateLimits": off, "deviceDpRateLimits": off,
            },
            "storage": {
                "type": "sqlite", "data_file_path": f"{self._folder}/data/", "messages_ttl_check_in_hours": 24,
                "messages_ttl_in_days": 7, "max_read_records_count": 1000, "writing_batch_size": 1,
            },
            "grpc": {"enabled": False},
            "connectors": [{"type": "mqtt", "name": "devices", "configuration": "mqtt.json"}],
        }  # fmt: skip
        connector = {
            "broker": {
                "host": "127.0.0.1", "port": self._handover.port, "clientId": "gateway", "version": 5,
                "cleanSession": False, "cleanStart": False, "sessionExpiryInterval": 3600,
                "maxMessageNumberPerWorker": 10, "maxNumberOfWorkers": 1, "security": {"type": "anonymous"},
            },
            "mapping": [
                {
                    "topicFilter": f"{mqtt.TOPIC}/+",
                    "subscriptionQos": 1,
                    "converter": {
                        "type": "json",
                        "deviceInfo": {
                            "deviceNameExpressionSource": "message", "deviceNameExpression": "${device}",
                            "deviceProfileExpressionSource": "constant", "deviceProfileExpression": "tag",
                        },
                        "sendDataOnlyOnChange": False, "timeout": 3_600_000, "attributes": [],
                        "timeseries": [
                            {"type": "integer", "key": "seq", "value": "${seq}"},
                            {"type": "string", "key": "uid", "value": "${uid}"},
                        ],
                    },
                }
            ],
            "requestsMapping": {},
        }  # fmt: skip
        logs = {
            "version": 1, "disable_existing_loggers": False,
            "handlers": {"consoleHandler": {"class": "logging.StreamHandler", "level": "ERROR"}},
            "root": {"level": "ERROR", "handlers": ["consoleHandler"]},
        }  # fmt: skip
        for name, value in (("tb_gateway", gateway), ("mqtt", connector), ("logs", logs)):
            (folder / f"{name}.json").write_text(json.dumps(value))
