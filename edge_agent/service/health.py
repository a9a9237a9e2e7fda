"""Layer: whether the agent gets on, and its state in a sentence; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Progress:
    """Whether a worker gets on: it has nothing to do, or its count moved within patience_s.

    A commit that fails and is tried again counts: a full disk is told, but it is no reason to start anew.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._turns = -1
        self._since_s = 0.0

    def look(self, turns: int, waiting: int, now_s: float) -> bool:
        """turns: what the worker finished or tried so far; waiting: what it still has to do; now_s is monotonic."""
        if turns != self._turns or not waiting:
            self._turns, self._since_s = turns, now_s
        return now_s - self._since_s <= self._patience_s


def sentence(snapshot: Mapping[str, Any], language: str, *, gets_on: bool = True) -> str:
    """The JSON of /status -> one line, the worst first; language: "zh" or "en"."""
    chinese = language == "zh"
    parts: list[str] = []
    if not gets_on:
        parts.append(stuck(language))
    problem = snapshot["store"]["problem"]
    if problem:
        parts.append(
            f"磁盘写不进去（{problem}）：暂不确认，事件留在设备上"
            if chinese
            else f"THE DISK TAKES NOTHING ({problem}): nothing is acknowledged, the devices keep their events"
        )
    lost = [str(port["name"]) for port in snapshot["ports"] if not port["up"]]
    if lost:
        named = ", ".join(lost[:4]) + (" ..." if len(lost) > 4 else "")
        parts.append(f"端口断开：{named}" if chinese else f"port lost: {named}")
    office = snapshot["office"]
    if office is not None and office["problem"]:
        parts.append(
            f"联系不上办公室（{office['problem']}）"
            if chinese
            else f"office not reached ({office['problem']})"
        )
    parts.append(snapshot["backlog"]["words"][language])
    devices = snapshot["devices"]
    online = sum(bool(device["online"]) for device in devices)
    parts.append(
        f"{len(devices)} 台设备，{online} 台在线" if chinese else f"{online} of {len(devices)} devices online"
    )
    return ("；" if chinese else "; ").join(parts)


def stuck(language: str) -> str:
    """The writer neither finishes nor tries anything."""
    return "写入线程停住了" if language == "zh" else "THE WRITER DOES NOT GET ON"


def unread(problem: str, language: str) -> str:
    """The state can't be told because the store can't be read."""
    return f"存储读不出来（{problem}）" if language == "zh" else f"THE STORE CAN'T BE READ ({problem})"
