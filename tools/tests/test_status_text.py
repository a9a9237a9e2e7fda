"""What `gatepost status` says of backlog and disk, in words."""

from __future__ import annotations

import re

from edge_agent.web import words
from tools.status_text import LABELS, describe


def status(**changes: object) -> dict[str, object]:
    """One of an agent with which all is well, but for `changes`."""
    well: dict[str, object] = {
        "site": "s1", "edge": "e1", "office": None, "guard": {"alarms": 0}, "ports": [], "devices": [],
        "store": {"state": "ok", "problem": "", "held_raw": 0, "events": 3}, "disk": {"state": "ok"},
        "backlog": {"alarms": 0, "words": words.backlog(2, 0, 60_000, 10**9, None)},
    }  # fmt: skip
    return {**well, **changes}


def test_backlog_disk_and_refused_rows_are_told() -> None:
    office = {
        "url": "https://office", "problem": "", "denied": "",
        "refused": {"rows": 3, "first": {"pos": 7, "reason": "HTTP 422 rows[0].items: no\x1b[31m"}},
    }  # fmt: skip
    text = describe(
        status(
            office=office,
            disk={"state": "full", "free_bytes": 1_048_576},
            backlog={"alarms": 4, "words": words.backlog(1_200, 4, 11_520_000, 10**9, 41)},
            store={"state": "stalled", "problem": "disk I/O error", "held_raw": 0, "events": 5},
        ),
        "en",
    )
    assert "1,204 events wait (4 of them alarms), oldest 3 h 12 min, disk holds 41 more days" in text
    told = [line for line in text.splitlines() if line.startswith("! ")]
    assert told == [
        "! The disk takes nothing: devices keep their events and send them when it does again (disk I/O error)",
        "! The disk is full (1 MiB free): events stay with their devices until there is room",
        "! The office does not take 3 rows: they are kept here and tried again daily (HTTP 422 rows[0].items: no?[31m)",
    ]


def test_what_to_look_at_and_the_battery_are_told_in_both_languages() -> None:
    device = {"id": 101, "name": "Tag 1", "online": True, "last_contact_ms": 1, "battery_mv": 3_400, "words": {}}
    english, chinese = (describe(status(devices=[device]), language) for language in ("en", "zh"))
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


def test_an_agent_that_says_less_is_shown_as_well_and_not_taken_for_a_healthy_one() -> None:
    text = describe({"backlog": {}, "office": None}, "en")
    assert "DISK" not in text
    assert "can't be judged" in text
    assert "can't be judged" not in describe(status(), "en")
