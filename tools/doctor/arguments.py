"""Layer: the command line of `gatepost doctor`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    """Adds `gatepost doctor`."""
    doctor = commands.add_parser("doctor", help="what is wrong with an edge's machine, and the remedy")
    doctor.add_argument("--config", type=Path, required=True, metavar="FILE", help="edge.toml")
    doctor.add_argument("--lang", choices=("zh", "en"), help="default: by LANG")
    doctor.add_argument("--json", action="store_true", help="for programs; both languages")
    doctor.set_defaults(handler=_run)


def _run(wanted: argparse.Namespace) -> int:
    from tools.doctor import command

    return command.run(wanted)
