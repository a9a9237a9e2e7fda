"""Part `clock`: how wide the intervals of event times are, over random lives of device and edge clocks."""

from __future__ import annotations

import importlib

from edge_agent.timing import UNKNOWN_MS
from tools.bench.rows import Row, at_most

HISTORIES = 3_300


def run() -> list[Row]:
    """Median and 90th percentile of what is known best, by kind of life; statements without the true time: 0."""
    lives = importlib.import_module("edge_agent.tests.clock_histories")
    found, wrong = lives.play(HISTORIES, seed=2)
    statements = sum(life.statements for each in found.values() for life in each)
    rows = [
        Row("clock", f"statements in {HISTORIES:,} histories", statements, ""),
        at_most("clock", "statements without the true time", wrong, "", 0),
    ]
    for name, each in found.items():
        for which in ("first", "best"):
            widths = lives.widths(each, which)
            closed = [width for width in widths if width < UNKNOWN_MS]
            rows += [
                Row("clock", f"{name}, {which}, median width", closed[len(closed) // 2], "ms"),
                Row("clock", f"{name}, {which}, p90 width", closed[len(closed) * 9 // 10], "ms"),
                Row("clock", f"{name}, {which}, one end open", 100 * (1 - len(closed) / len(widths)), "%"),
            ]
    return rows
