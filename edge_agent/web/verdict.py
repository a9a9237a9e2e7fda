"""Layer: a status snapshot -> what somebody should look at, worst first; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

# What the office may answer to a head of this edge's log, and what the edge finds of the office.
LOG_FINDINGS = ("forked", "shrunken", "restarted", "forged", "other_key", "office_lost")
LOW_BATTERY_MV = 3_450  # a Li-ion cell with about a tenth left


class Concern(NamedTuple):
    """mood: bad or warn; text: a name in texts.TEXTS with its values."""

    mood: str
    text: str
    values: tuple[str, ...]


def concerns(status: Mapping[str, Any]) -> list[Concern]:
    """Everything that is not as it should be; an empty list: all well."""
    found: list[Concern] = []
    store, office, backlog = status["store"], status["office"], status["backlog"]
    if store["problem"]:
        found.append(Concern("bad", "store_stalled", (store["problem"],)))
    if status["disk"]["state"] == "full":
        found.append(Concern("bad", "disk_full", (f"{status['disk']['free_bytes'] >> 20:,}",)))
    if office and office["refused"]["rows"]:
        first = office["refused"]["first"]
        found.append(Concern("warn", "rows_refused", (f"{office['refused']['rows']:,}", first["reason"])))
    if office and office["problem"]:
        if office["denied"]:
            found.append(Concern("bad", f"denied_{office['denied']}", ()))
        else:
            found.append(Concern("warn", "office_away", (office["problem"],)))
        if backlog["alarms"]:
            found.append(Concern("bad", "alarms_wait", (f"{backlog['alarms']:,}",)))
    for code in (status.get("integrity") or {"findings": []})["findings"]:
        if code in LOG_FINDINGS:
            found.append(Concern("bad", f"log_{code}", ()))
    if status["guard"]["alarms"]:
        found.append(Concern("warn", "guessing", (f"{status['guard']['wrong']:,}",)))
    away = [label(device) for device in status["devices"] if device["last_contact_ms"] and not device["online"]]
    if len(away) == 1:
        found.append(Concern("warn", "device_offline", (away[0],)))
    elif away:
        found.append(Concern("warn", "devices_offline", (str(len(away)), ", ".join(away[:8]))))
    lost = [str(port["name"]) for port in status["ports"] if not port["up"]]
    if lost:
        found.append(Concern("warn", "port_down", (", ".join(lost[:8]),)))
    docks = [dock["dock"] for port in status["ports"] for dock in port.get("docks", []) if dock["problem"]]
    if docks:
        found.append(Concern("warn", "dock_problem", (", ".join(docks[:8]),)))
    low = [label(device) for device in status["devices"] if 0 < (device["battery_mv"] or 0) < LOW_BATTERY_MV]
    if low:
        found.append(Concern("warn", "battery_low", (", ".join(low[:8]),)))
    if store["held_raw"]:
        found.append(Concern("warn", "held_raw", (f"{store['held_raw']:,}",)))
    return sorted(found, key=lambda concern: concern.mood != "bad")


def label(device: dict[str, Any]) -> str:
    """A device's name, or its number where it has none."""
    return str(device["name"] or device["id"])
