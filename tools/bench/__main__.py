"""`python -m tools.bench [--only PART]`: run the benchmarks, print one table, write build/bench.json."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from tools.bench.rows import Row, print_table, write_json

# In this order, cheapest first; each is a module here with `run() -> list[Row]`.
PARTS = (
    "wire",
    "codec",
    "journal",
    "ingest",
    "latency",
    "backlog",
    "drain",
    "rivals",
    "compare",
    "powercut",
    "keys",
    "integrity",
    "clock",
    "device",
    "update",
)
OUTPUT = Path("build/bench.json")


def main(arguments: list[str] | None = None) -> int:
    """Run all parts or the one named; 0 when they ran, whatever the figures (a bench is no test)."""
    parser = argparse.ArgumentParser(prog="gatepost bench", description=__doc__)
    parser.add_argument("--only", choices=PARTS, help="run one part")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the JSON goes")
    options = parser.parse_args(arguments)
    rows: list[Row] = []
    for part in [options.only] if options.only else PARTS:
        print(f"bench: {part} ...", file=sys.stderr, flush=True)
        module = importlib.import_module(f"tools.bench.{part}")
        rows += module.run()
    print_table(rows)
    write_json(rows, options.output)
    print(f"written to {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
