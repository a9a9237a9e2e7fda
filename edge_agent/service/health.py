"""Layer: whether the agent gets on, and its state in a sentence; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_agent.web.language import Words
from edge_agent.web.texts import TEXTS
from edge_agent.web.verdict import concerns


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
    """The JSON of /status -> one line, the worst first, in the words of the status page; language: "zh" or "en"."""
    chinese = language == "zh"
    words = Words(TEXTS, language)
    parts = [] if gets_on else [stuck(language)]
    parts += [words(one.text, *one.values) for one in concerns(snapshot)]
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
