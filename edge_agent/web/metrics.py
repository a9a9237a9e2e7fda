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
    yield _counter("wrong_tries_alarms", "Addresses that had to wait for it.", status["guard"]["alarms"])
    yield _gauge("revoked_devices", "Devices that are refused.", len(status["revoked"]))
    strangers = sum(one["frames"] for one in status["unprovisioned"])
    yield _gauge("stranger_frames", "Frames of devices that are not provisioned here.", strangers)
    yield from _disk(status["disk"])
    integrity = status["integrity"]
    if integrity is not None:
        yield _gauge("integrity_findings", "What office or edge found wrong in the log.", len(integrity["findings"]))
        yield _gauge("integrity_problem", "1 while no head can be delivered.", bool(integrity["problem"]))
        yield _gauge("integrity_rows", "Rows in the tree.", integrity["rows"])
        yield _gauge("integrity_signed_rows", "Of them in the last signed head.", integrity["signed_rows"])


def _disk(disk: dict[str, Any]) -> Iterator[Metric]:
    yield _gauge("disk_full", "1: events stay with their devices.", disk["state"] == "full")
    yield _gauge("disk_reserve_bytes", "Less free than this is full.", disk["reserve_bytes"])
    yield _gauge("disk_ballast_bytes", "Kept to be let go.", disk["ballast_bytes"])
    yield _gauge("disk_problem", "1 while room can't be looked after.", bool(disk["problem"]))
    if disk["days_left"] is not None:
        yield _gauge("disk_left_days", "How long the rest will do.", disk["days_left"])
    yield _counter("pruned_rows", "Delivered rows that were deleted.", disk["pruned_rows"])
    yield _counter("pressed_rows", "Of them before their time.", disk["pressed_rows"])


def _office(status: dict[str, Any]) -> Iterator[Metric]:
    office = status["office"]
    if office is None:
        return
    yield _gauge("office_reached", "1 unless the last upload failed.", not office["problem"])
    yield _gauge("office_denied", "1: the office does not let this edge in.", bool(office["denied"]))
    yield _gauge("office_refused_rows", "Rows that the office refuses for good.", office["refused"]["rows"])
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
    waits = GaugeMetricFamily("gatepost_device_key_pending", "1: a new link key waits.", labels=labels)
    gaps = GaugeMetricFamily("gatepost_device_gaps", "Gaps in what is stored of it.", labels=labels)
    for device in devices:
        who = (str(device["id"]), device["name"])
        online.add_metric(who, device["online"])
        pending.add_metric(who, device["pending"])
        acked.add_metric(who, device["acked_seq"])
        waits.add_metric(who, device["key"]["pending"] is not None)
        gaps.add_metric(who, len(device["gaps"]))
        if device["last_contact_ms"]:
            contact.add_metric(who, device["last_contact_ms"] / 1000)
        if device["battery_mv"]:
            battery.add_metric(who, device["battery_mv"] / 1000)
        if device["office"]:
            held.add_metric(who, device["office"]["complete_to"])
    yield from (online, contact, battery, pending, acked, held, waits, gaps)


def _ports(ports: list[dict[str, Any]]) -> Iterator[Metric]:
    up = GaugeMetricFamily("gatepost_port_up", "1: open.", labels=("port",))
    frames = CounterMetricFamily("gatepost_port_frames", "Frames.", labels=("port", "direction"))
    losses = CounterMetricFamily("gatepost_port_losses", "Times that the port vanished.", labels=("port",))
    dropped = CounterMetricFamily("gatepost_port_dropped_frames", "Frames that did not go out.", labels=("port",))
    refused = CounterMetricFamily("gatepost_port_refused_frames", "Refused frames.", labels=("port", "reason"))
    silent = GaugeMetricFamily("gatepost_bus_silent_devices", "Polled, but not answering.", labels=("port",))
    for port in ports:
        dropped.add_metric((port["name"],), port["dropped_out"])
        for reason, count in sorted(port["rejects"].items()):
            refused.add_metric((port["name"], reason), count)
        if "bus" in port:
            silent.add_metric((port["name"],), sum(not each["answers"] for each in port["bus"]))
        up.add_metric((port["name"],), port["up"])
        frames.add_metric((port["name"], "in"), port["frames_in"])
        frames.add_metric((port["name"], "out"), port["frames_out"])
        losses.add_metric((port["name"],), port["losses"])
    yield from (up, frames, losses, dropped, refused, silent)
