"""Layer: the plan of an estate's night, loaded and checked; pure values below, no files or clocks."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from tools.simulate.reading import Table, TomlFile

HAPPENINGS = ("missed", "out_of_order", "incident", "sos", "double_tap")
TABLES = (
    *("estate", "night", "checkpoint", "incident_card", "guard", "tag"),
    *("happening", "barrier", "traffic", "fault"),
)
FAULTS = ("office_unreachable", "edge_killed", "power_cut", "acks_lost")
MAX_DEVICE = 0xFFFFFFFF


@dataclass(frozen=True)
class Card:
    """A thing with a UID: checkpoint, incident card or a guard's card."""

    id: str
    name_zh: str
    name_en: str
    uid: bytes


@dataclass(frozen=True)
class Tag:
    """A patrol tag with the route that its guard walks once in every_min."""

    device: int
    name_zh: str
    name_en: str
    guard: str
    route: tuple[str, ...]
    every_min: int
    start_jitter_min: int
    walk_s: tuple[int, int]


@dataclass(frozen=True)
class Happening:
    """Something out of the ordinary on one round of one tag."""

    kind: str
    tag: int
    round: int
    checkpoint: str
    card: str = ""


@dataclass(frozen=True)
class Barrier:
    """A barrier in one lane."""

    device: int
    name_zh: str
    name_en: str
    direction: str


@dataclass(frozen=True)
class Traffic:
    """One kind of people at the barriers; per_hour counts both directions."""

    who: str
    name_zh: str
    name_en: str
    per_hour: tuple[int, ...]
    inward: float
    denied: float
    cards: int
    first_card: int


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong from from_ms to to_ms of the night; device 0 where it concerns none."""

    kind: str
    device: int
    from_ms: int
    to_ms: int


@dataclass(frozen=True)
class Plan:
    """Everything that the night needs; times in ms from the night's beginning."""

    site: str
    name_zh: str
    name_en: str
    epoch_ms: int
    begin_min: int
    utc_offset: str
    length_ms: int
    checkpoints: tuple[Card, ...]
    incident_cards: tuple[Card, ...]
    guards: tuple[Card, ...]
    tags: tuple[Tag, ...]
    happenings: tuple[Happening, ...]
    barriers: tuple[Barrier, ...]
    traffic: tuple[Traffic, ...]
    faults: tuple[Fault, ...]

    def name_of(self, device: int) -> str:
        """What people call the device: Chinese, then English."""
        return next(f"{entry.name_zh} {entry.name_en}" for entry in self.devices if entry.device == device)

    @property
    def devices(self) -> list[Tag | Barrier]:
        """Tags, then barriers."""
        return [*self.tags, *self.barriers]


def load(path: Path) -> Plan:
    """Path of an estate file -> plan. Raises PlanError."""
    file = TomlFile(path)
    file.refuse_unknown_tables(TABLES)
    estate = file.one("estate", ("id", "name_zh", "name_en"))
    site = estate.text("id")
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", site):
        raise estate.refused("id", "letters, digits, '-', '_' and '.', for example \"riverside\"")
    night = file.one("night", ("date", "from", "to", "utc_offset"))
    epoch_ms, length_ms = _night(night)
    used: dict[bytes, str] = {}
    checkpoints = _cards(file, "checkpoint", used)
    incident_cards = _cards(file, "incident_card", used)
    guards = _cards(file, "guard", used)
    devices: dict[int, str] = {}
    tags = _tags(file, checkpoints, guards, devices)
    barriers = _barriers(file, devices)
    return Plan(
        site=site,
        name_zh=estate.text("name_zh"),
        name_en=estate.text("name_en"),
        epoch_ms=epoch_ms,
        begin_min=night.minute("from"),
        utc_offset=night.text("utc_offset"),
        length_ms=length_ms,
        checkpoints=checkpoints,
        incident_cards=incident_cards,
        guards=guards,
        tags=tags,
        happenings=_happenings(file, tags, incident_cards, length_ms),
        barriers=barriers,
        traffic=_traffic(file, -(-length_ms // 3_600_000), bool(barriers)),
        faults=_faults(file, devices, night.minute("from"), length_ms),
    )


def _night(table: Table) -> tuple[int, int]:
    offset = re.fullmatch(r"([+-])(\d\d):(\d\d)", table.text("utc_offset"))
    if not offset or int(offset[2]) > 14 or int(offset[3]) > 59:
        raise table.refused("utc_offset", 'the distance from UTC such as "+08:00"')
    begin, end = table.minute("from"), table.minute("to")
    ahead = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
    try:
        midnight = datetime.fromisoformat(table.text("date") + "T00:00:00+00:00")
    except ValueError as error:
        raise table.refused("date", 'a day such as "2026-03-14"') from error
    start = midnight + timedelta(minutes=begin) - (ahead if offset[1] == "+" else -ahead)
    length_min = (end - begin) % 1440
    if not 10 <= length_min <= 12 * 60:
        raise table.refused("to", "10 minutes to 12 hours after from")
    return int(start.timestamp() * 1000), length_min * 60_000


def _cards(file: TomlFile, name: str, used: dict[bytes, str]) -> tuple[Card, ...]:
    cards: list[Card] = []
    for table in file.many(name, ("id", "name_zh", "name_en", "uid")):
        card = Card(table.text("id"), table.text("name_zh"), table.text("name_en"), table.uid("uid"))
        if any(other.id == card.id for other in cards):
            raise table.refused("id", f"an id that no other {name} has")
        if card.uid in used:
            raise table.refused("uid", f'a UID of its own; this one belongs to "{used[card.uid]}"')
        used[card.uid] = card.id
        cards.append(card)
    return tuple(cards)


def _device(table: Table, devices: dict[int, str], role: str) -> int:
    device = table.whole("id", 2, MAX_DEVICE)
    if device in devices:
        raise table.refused("id", f"a number that no other device has; this one is a {devices[device]}")
    devices[device] = role
    return device


def _tags(
    file: TomlFile, checkpoints: tuple[Card, ...], guards: tuple[Card, ...], devices: dict[int, str]
) -> tuple[Tag, ...]:
    keys = ("id", "name_zh", "name_en", "guard", "route", "every_min", "start_jitter_min", "walk_s")
    tags: list[Tag] = []
    for table in file.many("tag", keys):
        route = table.choices("route", [card.id for card in checkpoints])
        every = table.whole("every_min", 5, 24 * 60)
        jitter = table.whole("start_jitter_min", 0, every // 2)
        low, high = table.wholes("walk_s", 2, 5, 3600)
        if low > high:
            raise table.refused("walk_s", "[shortest, longest]")
        if any(first == second for first, second in itertools.pairwise(route)):
            raise table.refused("route", "no checkpoint twice in a row")
        if (len(route) * (high + 30) + 2 * jitter * 60) > every * 60:
            raise table.refused("every_min", "long enough for the slowest walk, jitter included")
        guard = table.choice("guard", [card.id for card in guards])
        if any(tag.guard == guard for tag in tags):
            raise table.refused("guard", "a guard who carries no other tag")
        device = _device(table, devices, "tag")
        tags.append(
            Tag(
                device, table.text("name_zh"), table.text("name_en"), guard, route, every, jitter, (low, high)
            )
        )
    return tuple(tags)


def rounds_in(tag: Tag, length_ms: int) -> int:
    """How many whole rounds the tag walks in a night of that length."""
    return length_ms // (tag.every_min * 60_000)


def _happenings(
    file: TomlFile, tags: tuple[Tag, ...], cards: tuple[Card, ...], length_ms: int
) -> tuple[Happening, ...]:
    found = []
    by_device = {tag.device: tag for tag in tags}
    for table in file.many("happening", ("kind", "tag", "round", "checkpoint", "card")):
        kind = table.choice("kind", HAPPENINGS)
        tag = by_device.get(table.whole("tag", 2, MAX_DEVICE))
        if tag is None:
            raise table.refused("tag", f"one of {', '.join(map(str, by_device))}")
        number = table.whole("round", 1, max(1, rounds_in(tag, length_ms)))
        checkpoint = table.choice("checkpoint", tag.route)
        if kind == "out_of_order" and checkpoint in (tag.route[0], tag.route[-1]):
            raise table.refused("checkpoint", "one inside the route, neither its first nor its last")
        if kind == "missed" and tag.route.count(checkpoint) > 1:
            raise table.refused("checkpoint", "one that the route passes only once")
        card = ""
        if kind == "incident":
            card = table.choice("card", [entry.id for entry in cards])
        elif table.has("card"):
            raise table.wrong("card", 'belongs to kind = "incident" only; leave it out')
        found.append(Happening(kind, tag.device, number, checkpoint, card))
    return tuple(found)


def _barriers(file: TomlFile, devices: dict[int, str]) -> tuple[Barrier, ...]:
    return tuple(
        Barrier(
            _device(table, devices, "barrier"),
            table.text("name_zh"),
            table.text("name_en"),
            table.choice("direction", ("in", "out")),
        )
        for table in file.many("barrier", ("id", "name_zh", "name_en", "direction"))
    )


def _traffic(file: TomlFile, hours: int, barriers: bool) -> tuple[Traffic, ...]:
    keys = ("who", "name_zh", "name_en", "per_hour", "inward", "denied", "cards", "first_card")
    found: list[Traffic] = []
    for table in file.many("traffic", keys):
        if not barriers:
            raise table.wrong("who", "there is no [[barrier]] to pass; add one or leave the traffic out")
        entry = Traffic(
            table.choice("who", ("resident", "visitor", "delivery", "contractor")),
            table.text("name_zh"),
            table.text("name_en"),
            table.wholes("per_hour", hours, 0, 200),
            table.share("inward"),
            table.share("denied"),
            table.whole("cards", 1, 1000),
            table.whole("first_card", 1, 64_000),
        )
        for other in found:
            apart = entry.first_card >= other.first_card + other.cards
            if not apart and other.first_card < entry.first_card + entry.cards:
                raise table.refused("first_card", f"numbers that don't overlap with those of {other.who}")
        found.append(entry)
    return tuple(found)


def _faults(file: TomlFile, devices: dict[int, str], begin_min: int, length_ms: int) -> tuple[Fault, ...]:
    faults: list[Fault] = []
    for table in file.many("fault", ("kind", "device", "from", "to", "at", "off_s")):
        kind = table.choice("kind", FAULTS)
        spans = kind in ("office_unreachable", "acks_lost")
        needed, foreign = (("from", "to"), ("at", "off_s")) if spans else (("at", "off_s"), ("from", "to"))
        for key in foreign:
            if table.has(key):
                raise table.wrong(key, f'does not belong to "{kind}"; right are {needed[0]} and {needed[1]}')
        from_ms = (table.minute(needed[0]) - begin_min) % 1440 * 60_000
        if spans:
            to_ms = (table.minute("to") - begin_min) % 1440 * 60_000
        else:
            to_ms = from_ms + table.whole("off_s", 10, 3600) * 1000
        if not 0 < from_ms < to_ms <= length_ms:
            raise table.refused(needed[0], "a time inside the night, with the end after the beginning")
        device = 0
        if kind in ("power_cut", "acks_lost"):
            device = table.whole("device", 2, MAX_DEVICE)
            if device not in devices:
                raise table.refused("device", f"one of {', '.join(map(str, devices))}")
            if kind == "power_cut" and devices[device] != "tag":
                raise table.refused("device", "a tag: the cut is made while it writes a visit")
        elif table.has("device"):
            raise table.wrong("device", f'does not belong to kind = "{kind}"; leave it out')
        for other in faults:
            same = (other.kind, other.device) == (kind, device)
            if same and from_ms < other.to_ms and other.from_ms < to_ms:
                raise table.refused(needed[0], "a time at which the same fault isn't already there")
        faults.append(Fault(kind, device, from_ms, to_ms))
    return tuple(faults)
