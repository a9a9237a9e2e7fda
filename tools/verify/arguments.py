"""The arguments of `gatepost verify`; apart from the rest so that `gatepost --help` is quick."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument(
        "--office", type=Path, metavar="FILE", help="office.toml: check the office's database"
    )
    parser.add_argument("--edge", type=Path, metavar="FILE", help="edge.toml: check the edge's store")
    parser.add_argument("--site", help="only this site")
    parser.add_argument("--device", type=int, help="only this device")
    parser.add_argument("--day", help="only events of this day (YYYY-MM-DD, the office's time)")
    parser.add_argument("--event", metavar="DEVICE/BOOT/SEQ", help="only this event")
    parser.add_argument(
        "--proof",
        type=Path,
        metavar="FILE",
        help="with --event: write its proof there; alone: check the proof",
    )
    parser.add_argument("--key", help="fingerprint or public key that the edge's signatures must have")
    parser.add_argument(
        "--event-keys", type=Path, metavar="FILE", help="event keys, to check the chain in a proof"
    )
    parser.add_argument(
        "--lang", choices=("zh", "en"), default=None, help="language (default: that of the system)"
    )
    parser.add_argument("--json", action="store_true", help="for machines")
