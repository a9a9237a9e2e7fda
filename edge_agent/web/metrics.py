"""Layer: a status snapshot -> Prometheus text; counters count since the agent's start unless they say stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


def text(status: dict[str, Any]) -> bytes:
    """Every figure of the snapshot that is worth a graph or an alert."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(status))
    return bytes(generate_latest(registry))


class _Snapshot(Collector):
    def __init__(self, status: dict[str, Any]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        yield from _agent(self._status)
        yield from _office(self._status)
        yield from _devices(self._status["devices"])
        yield from _ports(self._status["ports"])


def _gauge(name: str, doc: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"gatepost_{name}", doc, value=value)


def _counter(name: str, doc: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(f"gatepost_{name}", doc, value=value)


def _agent(status: dict[str, Any]) -> Iterator[Metric]:
    store, backlog = status["store"], status["backlog"]
    about = GaugeMetricFamily("gatepost_agent_info", "This agent.", labels=("site", "edge"))
    about.add_metric((status["site"], status["edge"]), 1)
    yield about
    yield _gauge("start_time_seconds", "When the agent started, seconds since 1970.", status["started_ms"] / 1000)
    yield _counter("events_stored", "Events ever stored.", store["events"])
    yield _counter("commits", "Group commits.", store["commits"])
    yield _counter("duplicate_events", "Events that came again.", store["duplicates"])
    yield _gauge("waiting_frames", "Received frames that wait for a commit.", store["waiting_frames"])
    yield _gauge("store_stalled", "1 while the disk takes nothing.", store["state"] != "ok")
    yield _gauge("held_raw_messages", "Authentic messages kept as they came.", store["held_raw"])
    yield _gauge("disk_free_bytes", "Free where the store stands.", store["disk_free_bytes"])
    waiting = GaugeMetricFamily("gatepost_backlog_events", "Events the office does not have.", labels=("lane",))
    waiting.add_metric(("alarm",), backlog["alarms"])
    waiting.add_metric(("normal",), backlog["events"] - backlog["alarms"])
    yield waiting
    age_ms = status["now_ms"] - backlog["oldest_ms"] if backlog["oldest_ms"] is not None else 0
    yield _gauge("backlog_oldest_seconds", "How long the oldest of them waits.", max(age_ms, 0) / 1000)
    refused = CounterMetricFamily("gatepost_refused_frames", "Refused frames.", labels=("reason",))
    for reason, count in sorted(status["rejects"].items()):
        refused.add_metric((reason,), count)
    yield refused
    yield _counter("wrong_tries", "Wrong tokens at this server.", status["guard"]["wrong"])


def _office(status: dict[str, Any]) -> Iterator[Metric]:
    office = status["office"]
    if office is None:
        return
    yield _gauge("office_reached", "1 unless the last upload failed.", not office["problem"])
    yield _counter("uploads", "Uploads begun.", office["uploads"])
    yield _gauge(
        "office_last_receipt_time_seconds",
        "The office's last receipt, seconds since 1970; 0: none yet.",
        (office["last_receipt_ms"] or 0) / 1000,
    )


def _devices(devices: list[dict[str, Any]]) -> Iterator[Metric]:
    labels = ("device", "name")
    online = GaugeMetricFamily("gatepost_device_online", "1: heard lately.", labels=labels)
    contact = GaugeMetricFamily(
        "gatepost_device_last_contact_time_seconds", "Last heard, seconds since 1970.", labels=labels
    )
    battery = GaugeMetricFamily("gatepost_device_battery_volts", "Its battery.", labels=labels)
    pending = GaugeMetricFamily("gatepost_device_pending_events", "Events on the device.", labels=labels)
    acked = GaugeMetricFamily("gatepost_device_acked_seq", "Stored here without a gap up to.", labels=labels)
    held = GaugeMetricFamily("gatepost_device_office_seq", "At the office without a gap up to.", labels=labels)
    for device in devices:
        who = (str(device["id"]), device["name"])
        online.add_metric(who, device["online"])
        pending.add_metric(who, device["pending"])
        acked.add_metric(who, device["acked_seq"])
        if device["last_contact_ms"]:
            contact.add_metric(who, device["last_contact_ms"] / 1000)
        if device["battery_mv"]:
            battery.add_metric(who, device["battery_mv"] / 1000)
        if device["office"]:
            held.add_metric(who, device["office"]["complete_to"])
    yield from (online, contact, battery, pending, acked, held)


def _ports(ports: list[dict[str, Any]]) -> Iterator[Metric]:
    up = GaugeMetricFamily("gatepost_port_up", "1: open.", labels=("port",))
    frames = CounterMetricFamily("gatepost_port_frames", "Frames.", labels=("port", "direction"))
    losses = CounterMetricFamily("gatepost_port_losses", "Times that the port vanished.", labels=("port",))
    for port in ports:
        up.add_metric((port["name"],), port["up"])
        frames.add_metric((port["name"], "in"), port["frames_in"])
        frames.add_metric((port["name"], "out"), port["frames_out"])
        losses.add_metric((port["name"],), port["losses"])
    yield from (up, frames, losses)
