"""Layer: `make soak`: every drill that has a long size, then many nights; a table of both at the end."""

from __future__ import annotations

import argparse
import difflib
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tools.setup.checks import SUITES
from tools.simulate import soak as nights

ROOT = Path(__file__).resolve().parents[1]
SWITCH = "GATEPOST_SOAK"
DRILL_DEADLINE_S = 4 * 3600
NIGHTS = "nights"  # chooses them without the drills


class Drill(NamedTuple):
    """One test in its long size; figures: the lines that it printed; skipped: it is neither well nor not well."""

    name: str
    well: bool
    took_s: float
    figures: tuple[str, ...]
    skipped: bool = False


def drill_files() -> list[Path]:
    """Test files whose sizes follow GATEPOST_SOAK, relative to the repository."""
    found = []
    for suite in SUITES:
        for path in sorted((ROOT / suite).rglob("test_*.py")):
            relative = path.relative_to(ROOT)
            if "node_modules" not in relative.parts and SWITCH in path.read_text(encoding="utf-8"):
                found.append(relative)
    return found


def run_file(path: Path, report: Path) -> Iterator[Drill]:
    """Runs one file's tests, all of them; what it says comes from pytest's report."""
    report.unlink(missing_ok=True)
    begun = time.monotonic()
    try:
        done = subprocess.run(
            [
                sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider",
                f"--junitxml={report}", "-o", "junit_logging=system-out", str(path),
            ],
            cwd=ROOT,
            env={**os.environ, SWITCH: "1"},
            capture_output=True,
            text=True,
            timeout=DRILL_DEADLINE_S,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        yield Drill(str(path), well=False, took_s=DRILL_DEADLINE_S, figures=("not finished in time",))
        return
    if not report.exists():
        print(done.stdout + done.stderr, flush=True)
        yield Drill(str(path), well=False, took_s=time.monotonic() - begun, figures=("did not run",))
        return
    if done.returncode:
        print(done.stdout, flush=True)
    cases = list(ET.parse(report).iter("testcase"))  # noqa: S314 - written by our own pytest a moment ago
    if not cases:
        yield Drill(str(path), well=False, took_s=time.monotonic() - begun, figures=("holds no test",))
    for case in cases:
        well = all(case.find(bad) is None for bad in ("failure", "error"))
        skipped = case.find("skipped") is not None
        said = (case.findtext("system-out") or "").splitlines()
        figures = tuple(line.strip() for line in said if line.strip() and not line.startswith("-"))
        name = f"{path.stem.removeprefix('test_')}: {case.get('name', '').removeprefix('test_')}"
        yield Drill(name, well, float(case.get("time", 0)), figures[-3:], skipped)


def _table(drills: Sequence[Drill]) -> Table:
    table = Table(title="Drills in their long size")
    for heading in ("drill", "", "seconds", "figures"):
        table.add_column(heading, justify="right" if heading == "seconds" else "left", overflow="fold")
    for drill in drills:
        verdict = "[green]well[/]" if drill.well else "[red]NOT WELL[/]"
        if drill.skipped:
            verdict = "[yellow]SKIPPED[/]"
        table.add_row(escape(drill.name), verdict, f"{drill.took_s:.0f}", escape("\n".join(drill.figures)))
    return table


def summary(drills: Sequence[Drill]) -> str:
    """All of the drills in a line; one that was skipped is named, because it has shown nothing."""
    failed = [drill.name for drill in drills if not drill.well]
    skipped = [drill.name for drill in drills if drill.skipped]
    told = f"NOT WELL: {', '.join(failed)}" if failed else "all well"
    if skipped:
        told = told if failed else "the others well"
        told = f"{told}; {len(skipped)} SKIPPED: {', '.join(skipped)}"
    return f"{len(drills)} drills: {told}"


def unknown(only: str, files: Sequence[Path]) -> str:
    """What to say where `only` chooses nothing: what could be meant."""
    names = [*(path.stem.removeprefix("test_") for path in files), NIGHTS]
    near = difflib.get_close_matches(Path(only).stem.removeprefix("test_"), names, 3, 0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known here: {', '.join(names)}"
    return f"soak: ONLY={only} chooses no drill; {hint}"


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every drill and every night ended well (one that was skipped is named), 1 if not, 2 a mistake."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--only", default="", help=f"part of a test file's path, or `{NIGHTS}`")
    parser.add_argument("--nights", type=int, default=nights.NIGHTS)
    parser.add_argument("--seed", type=int, default=1, help="of the first night")
    parser.add_argument("--folder", type=Path, default=Path("build/soak"))
    wanted = parser.parse_args(arguments)
    known = drill_files()
    chosen = [path for path in known if wanted.only in str(path)]
    with_nights = wanted.nights > 0 and wanted.only in ("", NIGHTS)
    if not chosen and not with_nights:
        print(unknown(wanted.only, known), file=sys.stderr)
        return 2
    wanted.folder.mkdir(parents=True, exist_ok=True)
    drills: list[Drill] = []
    for path in chosen:
        print(f"soak: {path} ...", flush=True)
        drills += run_file(path, wanted.folder.resolve() / "drill.xml")
    night = 0
    if with_nights:
        night = nights.main(
            ["--nights", str(wanted.nights), "--seed", str(wanted.seed), "--folder", str(wanted.folder)]
        )
    told = []
    if drills:
        Console(width=160).print(_table(drills))
        told.append(summary(drills))
    if with_nights:
        told.append(f"{wanted.nights} nights: " + ("NOT WELL" if night else "all well"))
    print("; ".join(told))
    return 1 if night or not all(drill.well for drill in drills) else 0


if __name__ == "__main__":
    raise SystemExit(main())
