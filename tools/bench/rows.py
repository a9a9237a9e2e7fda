"""One figure of a benchmark, the table of them, and the JSON file that holds them."""

from __future__ import annotations

import json
import platform
import resource
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import apsw
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Row:
    """A figure; `goal` is the bound it is held against in words, `met` whether it held (None: no goal)."""

    part: str
    name: str
    value: float
    unit: str
    goal: str = ""
    met: bool | None = None


def at_most(part: str, name: str, value: float, unit: str, bound: float) -> Row:
    """A figure that should not exceed `bound`."""
    return Row(part, name, value, unit, f"<= {bound:g}", value <= bound)


def at_least(part: str, name: str, value: float, unit: str, bound: float) -> Row:
    """A figure that should reach `bound`."""
    return Row(part, name, value, unit, f">= {bound:g}", value >= bound)


def peak_rss_mib() -> float:
    """Peak resident memory of this process so far, in MiB (Linux counts it in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _shown(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 10 else f"{value:.1f}"


def print_table(rows: list[Row]) -> None:
    """Print every figure, missed goals marked in words as well as in colour."""
    table = Table(title="Gatepost bench")
    for heading in ("part", "figure", "value", "unit", "goal", ""):
        table.add_column(heading, justify="right" if heading == "value" else "left")
    previous = ""
    for row in rows:
        if previous and row.part != previous:
            table.add_section()
        previous = row.part
        verdict = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}[row.met]
        table.add_row(row.part, row.name, _shown(row.value), row.unit, row.goal, verdict)
    Console(width=140).print(table)


def write_json(rows: list[Row], path: Path) -> None:
    """Write the figures with the machine they were taken on; replaces the file in one step."""
    document = {
        "taken_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {
            "system": platform.platform(),
            "processor": platform.machine(),
            "python": platform.python_version(),
            "sqlite": apsw.sqlite_lib_version(),
        },
        "rows": [asdict(row) for row in rows],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(document, indent=1) + "\n")
    scratch.replace(path)
