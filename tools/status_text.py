"""Layer: the edge agent's status JSON -> lines for people; what is missing is shown as such."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from edge_agent.web.language import Words
from edge_agent.web.texts import TEXTS
from edge_agent.web.verdict import concerns


def _table(value: object) -> Mapping[str, object]:
    return cast(Mapping[str, object], value) if isinstance(value, dict) else {}


def _tables(value: object) -> list[Mapping[str, object]]:
    return [_table(entry) for entry in value] if isinstance(value, list) else []


def _words(value: object) -> str:
    """A sentence that the agent wrote, in English and Chinese."""
    words = _table(value)
    return " · ".join(_shown(words[language]) for language in ("en", "zh") if language in words) or _shown(
        value
    )


def _shown(value: object) -> str:
    """One value, printable and short: the agent's text may come from a device."""
    text = "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
    return "".join(char if char.isprintable() else "?" for char in text)[:200]


def _battery(millivolts: object) -> str:
    return f", battery {millivolts / 1000:.2f} V" if isinstance(millivolts, int) and millivolts else ""


def _counts(value: object) -> str:
    found = [f"{_shown(reason)} {_shown(count)}" for reason, count in sorted(_table(value).items()) if count]
    return ", ".join(found) or "none"


def _concerns(status: Mapping[str, object]) -> list[str]:
    """What somebody should look at, as the status page says it; nothing of an agent that says less."""
    try:
        found = concerns(status)
    except (KeyError, TypeError):
        return []
    both = [Words(TEXTS, language) for language in ("en", "zh")]
    return ["! " + _shown(" · ".join(words(one.text, *one.values) for words in both)) for one in found]


def describe(status: object) -> str:
    """The whole status as text."""
    top = _table(status)
    store, office = _table(top.get("store")), _table(top.get("office"))
    lines = [
        f"site {_shown(top.get('site'))}, edge {_shown(top.get('edge'))}",
        *_concerns(top),
        f"waiting for the office: {_words(_table(top.get('backlog')).get('words'))}",
    ]
    problem = office.get("problem")
    if office:
        lines.append(f"office {_shown(office.get('url'))}: " + (_shown(problem) if problem else "reached"))
    lines.append(f"store: {_shown(store.get('state'))}, {_shown(store.get('events'))} events")
    disk, refused = _table(top.get("disk")), _table(office.get("refused"))
    if disk.get("state") == "full":
        lines.append(f"DISK FULL, {_shown(disk.get('free_bytes'))} bytes free: events stay with their devices")
    if refused.get("rows"):
        first = _table(refused.get("first"))
        lines.append(
            f"the office refuses {_shown(refused.get('rows'))} rows, kept and tried again daily:"
            f" {_shown(first.get('reason'))}"
        )
    if store.get("problem"):
        lines.append(f"store problem: {_shown(store.get('problem'))}")
    for port in _tables(top.get("ports")):
        state = "up" if port.get("up") else "DOWN"
        lines.append(f"port {_shown(port.get('name'))} ({_shown(port.get('where'))}): {state}")
        lines += [f"    {_shown(dock.get('dock'))}: {_words(dock.get('words'))}" for dock in _tables(port.get("docks"))]
        quiet = [each for each in _tables(port.get("bus")) if not each.get("answers")]
        if quiet:
            lines.append("    no answer from " + ", ".join(str(each.get("device")) for each in quiet))
    for device in _tables(top.get("devices")):
        held = _table(device.get("office"))
        lines.append(
            f"device {_shown(device.get('id')).replace(',', '')} {_shown(device.get('name'))}:"
            f" {_words(device.get('words'))}; acknowledged to {_shown(device.get('acked_seq'))},"
            f" {_shown(device.get('pending'))} pending, office complete to {_shown(held.get('complete_to'))}"
            + _battery(device.get("battery_mv"))
        )
        key = _table(device.get("key"))
        if key.get("pending") is not None:
            problem = f", refused: {_shown(key.get('problem'))}" if key.get("problem") else ""
            lines.append(f"    link key of epoch {_shown(key.get('pending'))} waits for the device{problem}")
        update = _table(device.get("update"))
        if update:
            lines.append(
                f"    version {_shown(update.get('version'))}: {_shown(update.get('phase'))},"
                f" {_shown(update.get('bytes'))} of {_shown(update.get('of'))} bytes"
                + (f", last refusal {_shown(update.get('refusal'))}" if update.get("refusal") else "")
            )
        if _counts(device.get("rejects")) != "none":
            lines.append(f"    refused frames: {_counts(device.get('rejects'))}")
    for device in _tables(top.get("revoked")):
        number = _shown(device.get("id")).replace(",", "")
        lines.append(f"device {number}: REVOKED, refused frames: {_counts(device.get('rejects'))}")
    lines.append(f"refused frames: {_counts(top.get('rejects'))}")
    strangers = _tables(top.get("unprovisioned"))
    if strangers:
        shown = ", ".join(
            f"{_shown(s.get('device')).replace(',', '')} ({_shown(s.get('frames'))})" for s in strangers
        )
        lines.append(f"not provisioned here, but heard (frames): {shown}")
    return "\n".join(lines)
