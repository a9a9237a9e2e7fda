"""Layer: many nights with many seeds, one after the other; each in a process of its own."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

NIGHTS = 10
NIGHT_DEADLINE_S = 600


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every night ended well."""
    parser = argparse.ArgumentParser(prog="make soak", description="many nights with many seeds")
    parser.add_argument("--nights", type=int, default=NIGHTS)
    parser.add_argument("--seed", type=int, default=1, help="of the first night; the next ones count up")
    parser.add_argument("--folder", type=Path, default=Path("build/soak"))
    wanted = parser.parse_args(arguments)
    failed = []
    for seed in range(wanted.seed, wanted.seed + wanted.nights):
        begun = time.monotonic()
        folder = wanted.folder / str(seed)
        command = [sys.executable, "-m", "tools.cli", "simulate", "--folder", str(folder)]
        try:
            done = subprocess.run(
                [*command, "--seed", str(seed), "--once"],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=NIGHT_DEADLINE_S,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            said = (late.stdout or b"").decode(errors="replace")
            said += f"\nnot finished in {NIGHT_DEADLINE_S} s"
            well = False
        else:
            said = done.stdout
            well = done.returncode == 0
        total = next((line for line in said.splitlines() if line.split()[:1] == ["all"]), "")
        print(
            f"seed {seed}: {'all well' if well else 'NOT WELL'} in {time.monotonic() - begun:.0f} s  {total}",
            flush=True,
        )
        if not well:
            failed.append(seed)
            print(said, flush=True)
    print(f"{wanted.nights} nights: " + (f"NOT WELL with seeds {failed}" if failed else "all well"))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
