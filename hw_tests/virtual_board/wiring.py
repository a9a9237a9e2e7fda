"""Layer: which role is on which pin: read from firmware/boards, the only place where pins are written down."""

import runpy
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
TABLES = {"patrol_tag": "TAG", "barrier": "BARRIER"}


def load(role: str, board: str = "esp32_devkit") -> dict[str, int]:
    """{role name: GPIO or UART number} of a board; role is "patrol_tag" or "barrier". Raises KeyError, OSError."""
    table: dict[str, int] = runpy.run_path(str(REPO / "firmware" / "boards" / f"{board}.py"))[TABLES[role]]
    return dict(table)


def chip(board: str) -> str:
    """Which chip a board carries: the part of its name that says so."""
    for name in ("esp32s3", "esp32c3"):
        if board.replace("_", "").startswith(name):
            return name
    return "esp32"
