"""What `gatepost status` says of backlog and disk, in words."""

from __future__ import annotations

import re

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


def test_what_to_look_at_and_the_battery_are_told_in_both_languages() -> None:
    device = {"id": 101, "name": "Tag 1", "online": True, "last_contact_ms": 1, "battery_mv": 3_400, "words": {}}
    text = describe(
        {
            "store": {"state": "ok", "problem": "", "held_raw": 0}, "disk": {"state": "ok"}, "office": None,
            "backlog": {"alarms": 0}, "guard": {"alarms": 0}, "ports": [], "devices": [device],
        }
    )  # fmt: skip
    assert "battery 3.40 V" in text
    (told,) = [line for line in text.splitlines() if line.startswith("! ")]
    assert "Tag 1" in told
    assert re.search(r"[\u4e00-\u9fff]", told)


def test_an_agent_that_says_less_is_shown_as_well() -> None:
    assert "DISK" not in describe({"backlog": {}, "office": None})
