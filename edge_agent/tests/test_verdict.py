"""Every concern of the status page by itself, worst first, and its text in both languages."""

from __future__ import annotations

import re
from typing import Any

import pytest

from edge_agent.link import DISK_FULL
from edge_agent.sync.signed_post import NOT_ENROLLED, OTHER_OFFICE, REVOKED, UNKNOWN
from edge_agent.transports.polling import BABBLE, BROKEN, ECHO, LATE, UNASKED
from edge_agent.transports.udp import QUEUE_FULL
from edge_agent.updates.sender import FINAL
from edge_agent.web.texts import TEXTS
from edge_agent.web.verdict import LOG_FINDINGS, concerns
from gatelink import reasons


def status(**changes: Any) -> dict[str, Any]:
    device = {"id": 7, "name": "一号", "online": True, "last_contact_ms": 5, "battery_mv": 3_900}
    found: dict[str, Any] = {
        "store": {"problem": "", "held_raw": 0},
        "office": {"problem": "", "denied": "", "refused": {"rows": 0, "first": None}},
        "disk": {"state": "ok", "free_bytes": 50 << 20},
        "backlog": {"alarms": 0},
        "guard": {"wrong": 4, "alarms": 0},
        "devices": [device, {**device, "id": 8, "name": "", "battery_mv": None}],
        "ports": [{"name": "A", "up": True}],
    }
    for path, value in changes.items():
        place, _, key = path.partition("__")
        if isinstance(found.get(place), list):
            found[place] = [{**one, key: value} for one in found[place]]
        elif key:
            found[place] = {**found[place], key: value}
        else:
            found[place] = value
    return found


def test_all_well() -> None:
    assert concerns(status()) == []
    assert concerns(status(office=None)) == []
    # Never heard is not offline; alarms on their way to an office that is reached are on their way.
    assert concerns(status(devices__last_contact_ms=0, devices__online=False, backlog__alarms=3)) == []


@pytest.mark.parametrize(
    ("changes", "mood", "name", "values"),
    [
        ({"store__problem": "disk full"}, "bad", "store_stalled", ("disk full",)),
        ({"office__problem": "HTTP 503"}, "warn", "office_away", ("HTTP 503",)),
        ({"guard__wrong": 1_005, "guard__alarms": 1}, "warn", "guessing", ("1,005",)),
        ({"devices__online": False}, "warn", "devices_offline", ("2", "一号, 8")),
        ({"ports__up": False}, "warn", "port_down", ("A",)),
        ({"devices__battery_mv": 3_400}, "warn", "battery_low", ("一号, 8",)),
        ({"store__held_raw": 2}, "warn", "held_raw", ("2",)),
        ({"disk__state": "full", "disk__free_bytes": 63 << 20}, "bad", "disk_full", ("63",)),
        (
            {"office__refused": {"rows": 3, "first": {"reason": "HTTP 422 rows[0].items: no"}}},
            "warn", "rows_refused", ("3", "HTTP 422 rows[0].items: no"),
        ),
    ],
)  # fmt: skip
def test_each(changes: dict[str, Any], mood: str, name: str, values: tuple[str, ...]) -> None:
    assert concerns(status(**changes)) == [(mood, name, values)]
    for text in TEXTS[name]:
        assert values[-1] in text.format(*values)


@pytest.mark.parametrize("state", [NOT_ENROLLED, REVOKED, UNKNOWN, OTHER_OFFICE])
def test_an_office_that_refuses_this_edge(state: str) -> None:
    found = status()
    found["office"] = {**found["office"], "problem": "refused", "denied": state}
    assert concerns(found) == [("bad", f"denied_{state}", ())]
    assert all(TEXTS[f"denied_{state}"])


@pytest.mark.parametrize("code", LOG_FINDINGS)
def test_what_the_office_finds_in_the_log(code: str) -> None:
    found = status(integrity={"findings": [code, "something younger"]})
    assert concerns(found) == [("bad", f"log_{code}", ())]
    assert all(TEXTS[f"log_{code}"])
    assert concerns(status(integrity={"findings": []})) == concerns(status(integrity=None)) == []


def test_one_device_is_named_and_the_worst_stands_first() -> None:
    found = status(office__problem="away", backlog__alarms=3)
    found["devices"][0]["online"] = False
    assert [(one.mood, one.text) for one in concerns(found)] == [
        ("bad", "alarms_wait"), ("warn", "office_away"), ("warn", "device_offline"),
    ]  # fmt: skip


def test_every_text_has_the_same_blanks_in_both_languages() -> None:
    for name, (zh, en) in TEXTS.items():
        assert zh.count("{}") == en.count("{}"), name


def test_codes_that_the_page_shows_have_words() -> None:
    refused = [value for name, value in vars(reasons).items() if name.isupper()]
    assert len(refused) > 15
    phases = ("asking", "no answer", "sending", "checking", "waiting to restart", "on trial")
    refused += [DISK_FULL, BROKEN, LATE, UNASKED, BABBLE, ECHO, QUEUE_FULL]
    for name in [f"reject_{one}" for one in refused] + [f"phase_{one}" for one in (*phases, *FINAL)]:
        zh, en = TEXTS[name]
        assert re.search(r"[\u4e00-\u9fff]", zh), name
        assert en.isascii(), name
