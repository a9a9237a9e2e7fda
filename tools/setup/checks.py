"""Layer: every check of `make test`, each with its time; all run even when one fails, the suites two at a time."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tools.setup.bytecode import check_bytecode

ROOT = Path(__file__).resolve().parents[2]
# The longest first: they run in two lanes, since most of their time is waiting for other processes.
SUITES = ("edge_agent", "firmware", "tools", "hw_tests", "protocol")
LANES = 2
# No step may hold the whole run up for ever.
STEP_DEADLINE_S = 1800


class Step(NamedTuple):
    """One check: `run` prints what people need and returns whether all is well."""

    name: str
    run: Callable[[], bool]


def _command(command: Sequence[str], *, last_line_only: bool = False) -> bool:
    """Runs a command in the repository; its output is shown when it fails, or its last line."""
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE if last_line_only else None,
            stderr=subprocess.STDOUT if last_line_only else None,
            text=True,
            timeout=STEP_DEADLINE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        print((error.stdout or b"").decode(errors="replace") if isinstance(error.stdout, bytes) else "")
        print(f"not finished after {STEP_DEADLINE_S} s: {' '.join(command)}")
        return False
    if last_line_only:
        lines = (done.stdout or "").strip().splitlines()
        skipped = [line for line in lines if line.startswith("SKIPPED")]
        # in one piece: the other lane prints, too
        print("\n".join([*skipped, *lines[-1:]] if done.returncode == 0 else lines), flush=True)
    return done.returncode == 0


def _python(*arguments: str, last_line_only: bool = False) -> bool:
    return _command([sys.executable, *arguments], last_line_only=last_line_only)


def _device_types() -> bool:
    """Device code against the stubs of the ESP32 port."""
    settings = ROOT / "firmware" / "mypy.ini"
    if not settings.exists():
        print("firmware/mypy.ini is missing")
        return False
    return _python("-m", "mypy", "--config-file", str(settings), "--no-error-summary")


def _suite(folder: str) -> Step:
    def run() -> bool:
        quiet = ("-q", "--no-header", "-p", "no:cacheprovider")
        return _python("-m", "pytest", *quiet, folder, last_line_only=True)

    return Step(f"tests-{folder}", run)


def _night() -> bool:
    """An hour of the estate, end to end, with two faults."""
    plan = ROOT / "tools" / "simulate" / "hour.toml"
    folder = ROOT / "build" / "hour"
    return _python(
        "-m", "tools.cli", "simulate", "--plan", str(plan), "--folder", str(folder), "--seed", "1", "--once"
    )


def steps() -> tuple[list[Step], list[Step], list[Step]]:
    """All checks: quick ones first, then the suites, and at last the night, whose clock runs many times too fast."""
    quick = [
        Step("ruff", lambda: _python("-m", "ruff", "check", "--quiet", ".")),
        Step("types-host", lambda: _python("-m", "mypy", "--no-error-summary")),
        Step("types-device", _device_types),
        Step("bytecode", lambda: check_bytecode(ROOT)),
    ]
    return quick, [_suite(folder) for folder in SUITES], [Step("night", _night)]


def _run(step: Step) -> bool:
    print(f"--- {step.name}", flush=True)
    at = time.monotonic()
    good = step.run()
    print(f"--- {step.name}: {'ok' if good else 'FAILED'} in {time.monotonic() - at:.1f} s", flush=True)
    return good


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the checks; 0 if all are well."""
    parser = argparse.ArgumentParser(prog="make test", description="every check of the repository")
    parser.add_argument("--only", help="part of a step's name, for example tests-protocol")
    wanted = parser.parse_args(arguments).only
    parts = [[step for step in part if not wanted or wanted in step.name] for part in steps()]
    if not any(parts):
        names = ", ".join(step.name for part in steps() for step in part)
        print(f"no step is called {wanted!r}; there are: {names}", file=sys.stderr)
        return 2
    quick, suites, last = parts
    begun = time.monotonic()
    done = [(step.name, _run(step)) for step in quick]
    with ThreadPoolExecutor(LANES) as lanes:
        done += zip([step.name for step in suites], lanes.map(_run, suites), strict=True)
    done += [(step.name, _run(step)) for step in last]
    failed = [name for name, good in done if not good]
    took = time.monotonic() - begun
    verdict = f"FAILED: {', '.join(failed)}" if failed else "all ok"
    print(f"=== {len(done)} checks in {took:.0f} s: {verdict}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
