"""What Prometheus is told, without a server."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from edge_agent.web import metrics


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
