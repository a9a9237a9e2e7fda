"""What `gatepost status` says of backlog and disk, in words."""

from __future__ import annotations

from edge_agent.web import words
from tools.status_text import describe


def test_backlog_disk_and_refused_rows_are_told() -> None:
    text = describe(
        {
            "site": "s1", "edge": "e1", "store": {"state": "ok", "events": 5}, "ports": [], "devices": [],
            "backlog": {"words": words.backlog(1_200, 4, 11_520_000, 10**9, 41)},
            "disk": {"state": "full", "free_bytes": 1_048_576},
            "office": {
                "url": "https://office", "problem": "",
                "refused": {"rows": 3, "first": {"pos": 7, "reason": "HTTP 422 rows[0].items: no\x1b[31m"}},
            },
        }
    )  # fmt: skip
    assert "1,204 events wait (4 of them alarms), oldest 3 h 12 min, disk holds 41 more days" in text
    assert "磁盘还可存 41 天" in text
    assert "DISK FULL, 1,048,576 bytes free" in text
    assert "refuses 3 rows, kept and tried again daily: HTTP 422 rows[0].items: no?[31m" in text


def test_an_agent_that_says_less_is_shown_as_well() -> None:
    assert "DISK" not in describe({"backlog": {}, "office": None})
