"""Layer: the edge agent's status JSON -> lines for people, in one language; what is missing is shown as such."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from edge_agent.web.language import Words
from edge_agent.web.texts import TEXTS
from edge_agent.web.verdict import concerns

# Chinese, English.
LABELS = {
    "title": ("项目 {}，边缘主机 {}", "site {}, edge {}"),
    "backlog": ("等待上传到办公室：{}", "waiting for the office: {}"),
    "office": ("办公室 {}：{}", "office {}: {}"),
    "reached": ("上次上传已送达", "reached"),
    "store": ("存储：{}，{} 条事件", "store: {}, {} events"),
    "other_version": (
        "! 该边缘主机的程序版本不同，无法判断有什么需要处理",
        "! this agent is of another version: what to look at can't be judged",
    ),
    "port": ("端口 {}（{}）：{}", "port {} ({}): {}"),
    "up": ("已连接", "up"),
    "down": ("已断开", "DOWN"),
    "no_answer": ("    无应答：{}", "    no answer from {}"),
    "device": (
        "设备 {} {}：{}；已确认至 {}，设备上 {} 条，办公室完整至 {}",
        "device {} {}: {}; acknowledged to {}, {} pending, office complete to {}",
    ),
    "battery": ("，电池 {:.2f} V", ", battery {:.2f} V"),
    "key": ("    第 {} 代链路密钥等待设备", "    link key of epoch {} waits for the device"),
    "key_refused": ("，被拒绝：{}", ", refused: {}"),
    "update": ("    版本 {}：{}，{} / {} 字节", "    version {}: {}, {} of {} bytes"),
    "last_refusal": ("，最近一次拒绝 {}", ", last refusal {}"),
    "refused_of": ("    拒收的帧：{}", "    refused frames: {}"),
    "revoked": ("设备 {}：密钥已吊销，拒收的帧：{}", "device {}: REVOKED, refused frames: {}"),
    "refused": ("拒收的帧：{}", "refused frames: {}"),
    "strangers": ("未在本机登记但收到过（帧数）：{}", "not provisioned here, but heard (frames): {}"),
    "none": ("无", "none"),
}


def describe(status: object, language: str) -> str:
    """The whole status as text; language: zh or en."""
    return "\n".join(_Told(language).lines(_table(status)))


class _Told:
    def __init__(self, language: str) -> None:
        self._language = language
        self._t = Words(LABELS, language)

    def lines(self, top: Mapping[str, object]) -> list[str]:
        t = self._t
        store, office = _table(top.get("store")), _table(top.get("office"))
        lines = [
            t("title", _shown(top.get("site")), _shown(top.get("edge"))),
            *self._concerns(top),
            t("backlog", self._words(_table(top.get("backlog")).get("words"))),
        ]
        problem = office.get("problem")
        if office:
            lines.append(t("office", _shown(office.get("url")), _shown(problem) if problem else t("reached")))
        lines.append(t("store", _shown(store.get("state")), _shown(store.get("events"))))
        for port in _tables(top.get("ports")):
            lines += self._port(port)
        for device in _tables(top.get("devices")):
            lines += self._device(device)
        for device in _tables(top.get("revoked")):
            lines.append(t("revoked", _number(device.get("id")), self._counts(device.get("rejects"))))
        lines.append(t("refused", self._counts(top.get("rejects"))))
        strangers = _tables(top.get("unprovisioned"))
        if strangers:
            shown = ", ".join(f"{_number(one.get('device'))} ({_shown(one.get('frames'))})" for one in strangers)
            lines.append(t("strangers", shown))
        return lines

    def _port(self, port: Mapping[str, object]) -> list[str]:
        t = self._t
        state = t("up" if port.get("up") else "down")
        lines = [t("port", _shown(port.get("name")), _shown(port.get("where")), state)]
        lines += [
            f"    {_shown(dock.get('dock'))}: {self._words(dock.get('words'))}" for dock in _tables(port.get("docks"))
        ]
        quiet = [_number(each.get("device")) for each in _tables(port.get("bus")) if not each.get("answers")]
        return [*lines, t("no_answer", ", ".join(quiet))] if quiet else lines

    def _device(self, device: Mapping[str, object]) -> list[str]:
        t = self._t
        held, battery = _table(device.get("office")), device.get("battery_mv")
        line = t(
            "device", _number(device.get("id")), _shown(device.get("name")), self._words(device.get("words")),
            _shown(device.get("acked_seq")), _shown(device.get("pending")), _shown(held.get("complete_to")),
        )  # fmt: skip
        if isinstance(battery, int) and battery:
            line += t("battery", battery / 1000)
        lines = [line]
        key = _table(device.get("key"))
        if key.get("pending") is not None:
            refused = t("key_refused", _shown(key.get("problem"))) if key.get("problem") else ""
            lines.append(t("key", _shown(key.get("pending"))) + refused)
        update = _table(device.get("update"))
        if update:
            refusal = t("last_refusal", _shown(update.get("refusal"))) if update.get("refusal") else ""
            shown = [_shown(update.get(name)) for name in ("version", "phase", "bytes", "of")]
            lines.append(t("update", *shown) + refusal)
        if any(_table(device.get("rejects")).values()):
            lines.append(t("refused_of", self._counts(device.get("rejects"))))
        return lines

    def _concerns(self, status: Mapping[str, object]) -> list[str]:
        """What somebody should look at, as the status page says it."""
        try:
            found = concerns(status)
        except (KeyError, TypeError):  # its status lacks what this program judges by
            return [self._t("other_version")]
        words = Words(TEXTS, self._language)
        return ["! " + _shown(words(one.text, *one.values)) for one in found]

    def _words(self, value: object) -> str:
        """A sentence that the agent wrote in both languages."""
        return _shown(_table(value).get(self._language, value))

    def _counts(self, value: object) -> str:
        found = [f"{_shown(reason)} {_shown(count)}" for reason, count in sorted(_table(value).items()) if count]
        return ", ".join(found) or self._t("none")


def _table(value: object) -> Mapping[str, object]:
    return cast(Mapping[str, object], value) if isinstance(value, dict) else {}


def _tables(value: object) -> list[Mapping[str, object]]:
    return [_table(entry) for entry in value] if isinstance(value, list) else []


def _shown(value: object) -> str:
    """One value, printable and short: the agent's text may come from a device."""
    text = "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
    return "".join(char if char.isprintable() else "?" for char in text)[:200]


def _number(value: object) -> str:
    """A device's number, as it is written elsewhere."""
    return _shown(value).replace(",", "")
