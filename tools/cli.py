"""The command `gatepost`: finds the sub-command and hands over."""

from __future__ import annotations


def main() -> int:
    """Run the command line; exit code 0 done, 1 failed, 2 user mistake."""
    raise SystemExit("gatepost: the command line is being written")
