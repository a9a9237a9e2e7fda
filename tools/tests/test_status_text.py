"""What `gatepost status` says of backlog and disk, in words."""

from __future__ import annotations

import re

from edge_agent.web import words
from tools.status_text import LABELS, describe


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
        },
        "en",
    )  # fmt: skip
    assert "1,204 events wait (4 of them alarms), oldest 3 h 12 min, disk holds 41 more days" in text
    assert "DISK FULL, 1,048,576 bytes free" in text
    assert "refuses 3 rows, kept and tried again daily: HTTP 422 rows[0].items: no?[31m" in text


def test_what_to_look_at_and_the_battery_are_told_in_both_languages() -> None:
    device = {"id": 101, "name": "Tag 1", "online": True, "last_contact_ms": 1, "battery_mv": 3_400, "words": {}}
    status = {
        "site": "s1", "store": {"state": "ok", "problem": "", "held_raw": 0, "events": 3}, "disk": {"state": "ok"},
        "office": None, "backlog": {"alarms": 0, "words": words.backlog(2, 0, 60_000, 10**9, None)},
        "guard": {"alarms": 0}, "ports": [], "devices": [device],
    }  # fmt: skip
    english, chinese = describe(status, "en"), describe(status, "zh")
    assert "battery 3.40 V" in english
    assert "电池 3.40 V" in chinese
    assert english.isascii()
    (told,) = [line for line in chinese.splitlines() if line.startswith("! ")]
    assert "Tag 1" in told
    for line in chinese.splitlines():
        assert re.search(r"[\u4e00-\u9fff]", line), line


def test_every_label_has_the_same_blanks_in_both_languages() -> None:
    for name, (zh, en) in LABELS.items():
        assert zh.count("{") == en.count("{"), name


def test_an_agent_that_says_less_is_shown_as_well() -> None:
    assert "DISK" not in describe({"backlog": {}, "office": None}, "en")
