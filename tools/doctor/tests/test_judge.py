"""Every outcome of every check, and a sentence with a remedy in both languages for each."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

from edge_agent.sync.signed_post import NOT_ENROLLED, OTHER_OFFICE, REVOKED, UNKNOWN
from edge_agent.web import verdict
from tools.doctor import judge, texts
from tools.doctor.facts import (
    Address,
    Agent,
    Aside,
    Closed,
    Disk,
    File,
    Machine,
    Office,
    Port,
    Software,
    Store,
    Time,
)
from tools.doctor.finding import Finding, Level

MB, GB = judge.MB, judge.GB
OK, WARNING, FAULT = Level.OK, Level.WARNING, Level.FAULT

SOFTWARE = Software("3.54.1", (3, 11), "aarch64", 64)
MACHINE = Machine(1_000 * MB, 500 * MB, None)
DISK = Disk("/data", "ext4", ("rw",), 20 * GB, 30 * GB, (3.0, 4.0, 9.0), "wal", "", None, None)
TIME = Time(2026, True, "systemd-timesyncd", True, "system")
PORT = Port("dock", "/dev/ttyUSB0", exists=True, is_device=True, allowed=True, group="dialout")
STORE = Store(7, 7, "", 0, 0)
OFFICE = Office("https://office", "", "", 0, True, True)

# What is seen, the check that speaks of it, how bad, and which sentence.
CASES: list[tuple[list[Finding], str, Level, str]] = [
    (judge.software(SOFTWARE), "sqlite", OK, "sqlite"),
    (judge.software(SOFTWARE._replace(sqlite="3.51.3")), "sqlite", OK, "sqlite"),
    (judge.software(SOFTWARE._replace(sqlite="3.51.2")), "sqlite", FAULT, "sqlite_old"),
    (judge.software(SOFTWARE._replace(sqlite="3.9")), "sqlite", FAULT, "sqlite_old"),
    (judge.software(SOFTWARE), "python", OK, "python"),
    (judge.software(SOFTWARE._replace(python=(3, 10))), "python", FAULT, "python_old"),
    (judge.software(SOFTWARE._replace(bits=32)), "python", WARNING, "bits_32"),
    (judge.machine(MACHINE), "memory", OK, "memory"),
    (judge.machine(MACHINE._replace(available=95 * MB)), "memory", WARNING, "memory_low"),
    (judge.machine(MACHINE._replace(available=31 * MB)), "memory", FAULT, "memory_low"),
    (judge.machine(MACHINE._replace(throttled=0)), "power", OK, "power"),
    (judge.machine(MACHINE._replace(throttled=0x50005)), "power", FAULT, "power_low"),
    (judge.machine(MACHINE._replace(throttled=0x50000)), "power", WARNING, "power_was_low"),
    (judge.machine(MACHINE._replace(throttled=0x80000)), "power", WARNING, "power_hot"),
    (judge.machine(MACHINE._replace(throttled=0x4)), "power", WARNING, "power_hot"),
    (judge.disk(DISK), "file system", OK, "disk"),
    (judge.disk(DISK._replace(kind="tmpfs")), "file system", FAULT, "disk_memory"),
    (judge.disk(DISK._replace(kind="overlay")), "file system", FAULT, "disk_memory"),
    (judge.disk(DISK._replace(kind="vfat")), "file system", FAULT, "disk_kind"),
    (judge.disk(DISK._replace(kind="fuse.sshfs")), "file system", FAULT, "disk_kind"),
    (judge.disk(DISK._replace(options=("ro",))), "file system", FAULT, "disk_read_only"),
    (judge.disk(DISK._replace(options=("rw", "nobarrier"))), "file system", FAULT, "disk_unsafe"),
    (judge.disk(DISK._replace(wal="delete")), "file system", FAULT, "disk_no_wal"),
    (judge.disk(DISK), "room", OK, "room"),
    (judge.disk(DISK._replace(free=900 * MB)), "room", WARNING, "room_little"),
    (judge.disk(DISK._replace(free=2 * GB, size=60 * GB)), "room", WARNING, "room_little"),
    (judge.disk(DISK._replace(free=99 * MB)), "room", FAULT, "room_none"),
    (judge.disk(DISK), "disk speed", OK, "disk_speed"),
    (judge.disk(DISK._replace(syncs_ms=(61.0, 61.0))), "disk speed", WARNING, "disk_slow"),
    (judge.disk(DISK._replace(syncs_ms=(5.0, 5.0, 1_001.0))), "disk speed", WARNING, "disk_slow"),
    (judge.disk(DISK._replace(syncs_ms=(1_500.0,))), "disk speed", FAULT, "disk_slow"),
    (judge.disk(DISK._replace(error="No space left on device")), "disk speed", FAULT, "disk_fails"),
    (judge.disk(DISK._replace(syncs_ms=())), "disk speed", WARNING, "disk_not_tried"),
    (judge.disk(DISK._replace(worn=3, end_of_life=1)), "card", OK, "card"),
    (judge.disk(DISK._replace(worn=9)), "card", WARNING, "card_worn"),
    (judge.disk(DISK._replace(end_of_life=2)), "card", WARNING, "card_worn"),
    (judge.disk(DISK._replace(worn=11)), "card", FAULT, "card_worn_out"),
    (judge.disk(DISK._replace(end_of_life=3)), "card", FAULT, "card_worn_out"),
    (judge.time(TIME), "clock", OK, "clock"),
    (judge.time(TIME._replace(year=1970)), "clock", FAULT, "clock_wrong"),
    (judge.time(TIME._replace(synchronised=False)), "clock", WARNING, "clock_not_yet"),
    (judge.time(TIME._replace(synchronised=False, service="")), "clock", WARNING, "clock_no_service"),
    (
        judge.time(TIME._replace(synchronised=False, service="", source="kernel")),
        "clock", FAULT, "clock_no_service",
    ),
    (judge.time(TIME), "clock chip", OK, "chip"),
    (judge.time(TIME._replace(has_chip=False)), "clock chip", WARNING, "chip_none"),
    (judge.ports([PORT], "u"), "port dock", OK, "port"),
    (judge.ports([PORT._replace(exists=False)], "u"), "port dock", FAULT, "port_missing"),
    (judge.ports([PORT._replace(is_device=False)], "u"), "port dock", FAULT, "port_no_device"),
    (judge.ports([PORT._replace(allowed=False)], "u"), "port dock", FAULT, "port_forbidden"),
    (judge.ports([PORT._replace(console=True)], "u"), "port dock", FAULT, "port_console"),
    (judge.ports([PORT._replace(holder="minicom (process 7)")], "u"), "port dock", FAULT, "port_busy"),
    (judge.addresses([Address("radio", "0.0.0.0:4711", "")]), "port radio", OK, "address"),
    (judge.addresses([Address("radio", "0.0.0.0:4711", "in use")]), "port radio", FAULT, "address_taken"),
    (judge.files([File("/k", 0o600, readable=True, private=True)], "u"), "files", OK, "files"),
    (judge.files([], "u"), "files", OK, "files"),
    (judge.files([File("/c", 0o644, readable=True, private=False)], "u"), "files", OK, "files"),
    (judge.files([File("/k", None, readable=False, private=True)], "u"), "files", FAULT, "file_missing"),
    (
        judge.files([File("/d", None, readable=False, private=True, table="devices")], "u"),
        "files", FAULT, "devices_missing",
    ),
    (judge.files([File("/k", 0o600, readable=False, private=True)], "u"), "files", FAULT, "file_unreadable"),
    (judge.files([File("/k", 0o640, readable=True, private=True)], "u"), "files", FAULT, "file_open"),
    (judge.store(STORE), "store", OK, "store"),
    (judge.store(STORE._replace(version=3)), "store", OK, "store"),
    (judge.store(STORE._replace(version=0)), "store", OK, "store_none"),
    (judge.store(STORE._replace(version=8)), "store", FAULT, "store_newer"),
    (judge.store(STORE._replace(damage="row 7 missing")), "store", FAULT, "store_damaged"),
    (judge.store(STORE._replace(version=0, unread="database is locked")), "store", FAULT, "store_unread"),
    (judge.aside(Aside(("/data/replaced-1",), 300 * MB)), "kept aside", WARNING, "store_aside"),
    (
        [judge.closed("files", Closed("/data", "gatepost"), "gatepost", "edge.toml", as_agent=True)],
        "files", FAULT, "own_closed",
    ),
    (
        [judge.closed("files", Closed("/data", "root"), "gatepost", "edge.toml", as_agent=True)],
        "files", FAULT, "file_unreadable",
    ),
    (
        [judge.closed("files", Closed("/data", "gatepost"), "pi", "edge.toml", as_agent=False)],
        "files", FAULT, "not_allowed",
    ),
    (judge.store(STORE._replace(wal_bytes=300 * MB)), "store", WARNING, "store_wal"),
    (judge.agent(Agent(7)), "agent", OK, "agent"),
    (judge.agent(Agent(None)), "agent", WARNING, "agent_off"),
    (judge.agent(Agent(7, "http://x", "refused")), "agent", WARNING, "agent_silent"),
    (judge.agent(Agent(7, says=((True, "坏", "bad", "disk_full"),))), "agent says", FAULT, "agent_says"),
    (judge.agent(Agent(7, says=((False, "坏", "bad", "guessing"),))), "agent says", WARNING, "agent_says"),
    (judge.steps(STORE._replace(steps_ms=(-2_000, 100, 7_000))), "clock steps", WARNING, "clock_stepped"),
    (judge.office(OFFICE), "office", OK, "office"),
    (judge.office(None), "office", WARNING, "office_none"),
    (judge.office(OFFICE._replace(enrolled=False, secure=False)), "office", WARNING, "office_plain"),
    (judge.office(OFFICE._replace(stage="name")), "office", FAULT, "office_name"),
    (judge.office(OFFICE._replace(stage="connect")), "office", FAULT, "office_connect"),
    (judge.office(OFFICE._replace(stage="tls")), "office", FAULT, "office_tls"),
    (judge.office(OFFICE._replace(stage="pin")), "office", FAULT, "office_pin"),
    (judge.office(OFFICE._replace(stage="answer")), "office", FAULT, "office_answer"),
    (judge.office(OFFICE), "office clock", OK, "clocks"),
    (judge.office(OFFICE._replace(ahead_ms=-3_500)), "office clock", WARNING, "clocks_apart"),
    (judge.office(OFFICE._replace(ahead_ms=3_600_000)), "office clock", FAULT, "clocks_apart"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("found", "check", "level", "key"), CASES, ids=[f"{c[3]}-{c[2].name}" for c in CASES]
)
def test_the_outcome(found: list[Finding], check: str, level: Level, key: str) -> None:
    (about,) = [finding for finding in found if finding.check == check]
    assert (about.level, about.key) == (level, key)
    for language in ("zh", "en"):
        sentence, remedy = texts.sentence(about, language), texts.remedy(about, language)
        assert sentence.isprintable()
        assert "{" not in sentence + remedy
        assert bool(remedy) == (level != OK)
    assert any("\u4e00" <= char <= "\u9fff" for char in texts.sentence(about, "zh")) or key in (
        "sqlite",
        "python",
    )


def test_what_is_not_known_is_not_said() -> None:
    assert judge.aside(Aside((), 0)) == []
    assert judge.steps(STORE._replace(steps_ms=(1_999, -5))) == []
    assert [finding.check for finding in judge.machine(MACHINE)] == ["memory"]
    assert "card" not in {finding.check for finding in judge.disk(DISK)}
    assert [finding.check for finding in judge.office(OFFICE._replace(ahead_ms=None))] == ["office"]


def test_every_sentence_is_reached_by_a_test_and_has_its_remedy() -> None:
    seen = {key for _, _, _, key in CASES} | {"config", "config_wrong"}
    assert set(texts.SENTENCES) == seen
    wrong = {key for _, _, level, key in CASES if level != OK} | {"config_wrong"}
    assert set(texts.REMEDIES) == wrong - {"agent_says"}


def test_every_concern_of_the_agent_has_its_remedy() -> None:
    """The names as they stand in verdict.py's source: none is forgotten, none stays behind."""
    source = Path(verdict.__file__).read_text()
    named = set(re.findall(r'Concern\("\w+", "(\w+)"', source))
    denied = {f"denied_{state}" for state in (NOT_ENROLLED, REVOKED, UNKNOWN, OTHER_OFFICE)}
    assert "disk_full" in named
    assert set(texts.CONCERNS) == named | denied | {f"log_{code}" for code in verdict.LOG_FINDINGS}
    for name in texts.CONCERNS:
        (_, about) = judge.agent(Agent(7, says=((False, "坏", "bad", name),)))
        assert any("\u4e00" <= char <= "\u9fff" for char in texts.remedy(about, "zh"))
        assert texts.remedy(about, "en").replace("…", "").isascii()
        assert "{" not in texts.remedy(about, "zh") + texts.remedy(about, "en")


@pytest.mark.parametrize("key", sorted(texts.SENTENCES))
def test_both_languages_say_the_same_values(key: str) -> None:
    def fields(text: str) -> list[str]:
        names = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
        return sorted(name or str(at) for at, name in enumerate(names))

    if key != "agent_says":  # its values are a text in each language
        assert fields(texts.SENTENCES[key][0]) == fields(texts.SENTENCES[key][1])
    if key in texts.REMEDIES:
        assert fields(texts.REMEDIES[key][0]) == fields(texts.REMEDIES[key][1])


def test_text_from_elsewhere_can_not_act() -> None:
    found = judge.ports([PORT._replace(holder="evil\x1b[2J\n (process 7)")], "u")
    assert texts.sentence(found[0], "en").isprintable()
