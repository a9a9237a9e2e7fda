"""Layer: the command: `python -m edge_agent.tests.simulation --seeds 10000`, or one seed again with its diary."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from edge_agent.tests.simulation import campaign
from edge_agent.tests.simulation.world import play


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when all invariants held."""
    parser = argparse.ArgumentParser(prog=campaign.COMMAND, description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--jobs", type=int, default=campaign.processors(), help="processors to use")
    parser.add_argument("--seed", type=int, help="this one only")
    parser.add_argument("--trace", action="store_true", help="with --seed: its diary, line by line")
    parser.add_argument("--hashes", action="store_true", help="what each seed's diary comes to, as JSON")
    wanted = parser.parse_args(arguments)
    if wanted.seeds < 1 or wanted.jobs < 1:
        parser.error("--seeds and --jobs: 1 or more")
    if wanted.hashes:
        print(json.dumps(campaign.hashes(range(wanted.first, wanted.first + wanted.seeds))))
        return 0
    if wanted.seed is not None:
        diary: list[str] | None = [] if wanted.trace else None
        played = play(wanted.seed, diary)
        for line in diary or ():
            print(line)
        print(
            f"seed {played.seed}: {played.virtual_ms / 1000:.0f} s virtual, {played.minted} events, "
            f"trace {played.trace}: {played.violation or 'all invariants held'}"
        )
        return 1 if played.violation else 0
    summary = campaign.run(wanted.first, wanted.seeds, wanted.jobs, lambda line: print(line, file=sys.stderr))
    for line in summary.lines():
        print(line)
    return 1 if summary.failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
