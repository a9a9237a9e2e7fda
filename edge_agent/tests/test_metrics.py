"""What Prometheus is told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from edge_agent.tests.device import PtyWire
from edge_agent.tests.harness import Site, until
from edge_agent.tests.watching import client, greet, tell
from edge_agent.web import metrics
from gatelink import events


async def test_metrics_are_prometheus_text(tmp_path: Path) -> None:
    site = Site(tmp_path)
    device, wire = site.devices[0], PtyWire(site.link)
    async with site.agent() as agent, client(agent) as http:
        await greet(device, wire, agent)
        await tell(device, wire, agent, events.SOS, None)
        wire.send(device.status(battery_mv=3_812))
        await until(lambda: agent.switchboard.sessions[7].battery_mv == 3_812)
        agent.rejects.add("not_authentic", 'A"\n', 7, 3)
        agent.rejects.add("bad_crc", "A", 7, 2)
        async with http.get("/metrics") as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            text = await answer.text()
        found = {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        assert found["gatepost_device_online", "7", "T7"] == 1
        assert found["gatepost_device_online", "8", "T8"] == 0
        assert found["gatepost_device_battery_volts", "7", "T7"] == 3.812
        assert found["gatepost_device_acked_seq", "7", "T7"] == 1
        assert found["gatepost_backlog_events", "alarm"] == 1
        assert found["gatepost_refused_frames_total", "not_authentic"] == 3
        assert found["gatepost_port_up", "A"] == 1
        assert found["gatepost_store_stalled",] == 0
        assert found["gatepost_disk_full",] == 0
        assert found["gatepost_disk_reserve_bytes",] > 0
        assert found["gatepost_port_dropped_frames_total", "A"] == 0
        assert found["gatepost_port_refused_frames_total", "A", "bad_crc"] == 2
        assert found["gatepost_revoked_devices",] == 0
        assert found["gatepost_device_key_pending", "7", "T7"] == 0
        async with http.get("/status") as answer:
            status = await answer.json()
        assert found["gatepost_events_stored_total",] == status["store"]["events"]
        # Whoever adds a part to the status decides whether it is worth a graph, and says so here.
        assert set(status) == {
            "v", "site", "edge", "now_ms", "started_ms", "ports", "devices", "revoked", "rejects", "unprovisioned",
            "backlog", "store", "disk", "office", "integrity", "guard",
        }  # fmt: skip
        assert set(status["disk"]) == {
            "state", "free_bytes", "reserve_bytes", "ballast_bytes", "problem", "days_left", "pruned_rows",
            "pressed_rows", "keep_days",
        }  # fmt: skip
        assert not [name for name, *_ in found if not re.fullmatch(r"gatepost_[a-z0-9_]+", name)]
    wire.close()


def test_metrics_tell_what_is_wrong() -> None:
    """Each state that somebody should be woken for has its figure."""
    status: dict[str, Any] = {
        "site": "s1", "edge": "e1", "started_ms": 1, "now_ms": 2, "devices": [], "ports": [], "rejects": {},
        "store": {
            "events": 1, "commits": 1, "duplicates": 0, "waiting_frames": 0, "state": "ok", "held_raw": 0,
            "disk_free_bytes": 5,
        },
        "backlog": {"alarms": 0, "events": 0, "oldest_ms": None},
        "guard": {"wrong": 6, "alarms": 1}, "revoked": [{"id": 7}], "unprovisioned": [{"device": 9, "frames": 4}],
        "disk": {
            "state": "full", "reserve_bytes": 64, "ballast_bytes": 0, "problem": "x", "days_left": 3, "pruned_rows": 8,
            "pressed_rows": 2,
        },
        "integrity": {"findings": ["forked"], "problem": "y", "rows": 10, "signed_rows": 9},
        "office": {
            "problem": "z", "denied": "revoked", "refused": {"rows": 3}, "uploads": 1, "last_receipt_ms": None,
        },
    }  # fmt: skip
    text = metrics.text(status).decode()
    found = {
        sample.name: sample.value for family in text_string_to_metric_families(text) for sample in family.samples
    }
    assert found["gatepost_disk_full"] == 1
    assert found["gatepost_disk_left_days"] == 3
    assert found["gatepost_pressed_rows_total"] == 2
    assert found["gatepost_integrity_findings"] == 1
    assert found["gatepost_integrity_problem"] == 1
    assert found["gatepost_office_denied"] == 1
    assert found["gatepost_office_refused_rows"] == 3
    assert found["gatepost_wrong_tries_alarms_total"] == 1
    assert found["gatepost_revoked_devices"] == 1
    assert found["gatepost_stranger_frames"] == 4
