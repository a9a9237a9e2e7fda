"""Layer: MicroPython's image with our partition table in it, and esptool, which writes it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools.device import partitions
from tools.errors import ToolError

# Where the image of a chip begins: its bootloader.
STARTS = {"esp32": 0x1000, "esp32s3": 0x0, "esp32c3": 0x0}
BAUD = 460800
TABLES = Path(__file__).parent / "tables"
_IMAGE_MAGIC = 0xE9
_DEADLINE_S = 600.0


def chip(board: str) -> str:
    """Which chip a board carries: the part of its name that says so."""
    joined = board.replace("_", "")
    return next((name for name in ("esp32s3", "esp32c3") if joined.startswith(name)), "esp32")


def with_table(image: bytes, start: int, table: Path) -> bytes:
    """The image with the table of a CSV in place of its own. Raises ToolError when its program would not fit."""
    parts = partitions.load(table)
    at = partitions.TABLE_AT - start
    if len(image) < at + partitions.TABLE_SIZE or image[0] != _IMAGE_MAGIC:
        raise ToolError("not a MicroPython image for this chip: right is the .bin that is flashed as a whole")
    theirs = [part for part in partitions.from_bytes(image[at : at + partitions.TABLE_SIZE]) if part.type == 0]
    ours = [part for part in parts if part.type == 0]
    if len(theirs) != 1 or len(ours) != 1 or theirs[0].offset != ours[0].offset:
        raise ToolError("the image's program begins elsewhere than the partition table says")
    app = image[ours[0].offset - start :]
    if not app or app[0] != _IMAGE_MAGIC:
        raise ToolError("there is no program where the image's own partition table says")
    if len(app) > ours[0].size:
        raise ToolError(f"the image's program has {len(app):,} bytes, partition {ours[0].label} {ours[0].size:,}")
    return image[:at] + partitions.to_bytes(parts) + image[at + partitions.TABLE_SIZE :]


def commands(port: str, board: str, file: Path, *, erase: bool) -> list[list[str]]:
    """esptool's arguments, one list a call."""
    name = chip(board)
    head = ["--port", port, "--chip", name, "--baud", str(BAUD)]
    write = [*head, "write-flash", "--flash-size", "detect", hex(STARTS[name]), str(file)]
    return [[*head, "erase-flash"], write] if erase else [write]


def flash(port: str, board: str, image: Path, table: Path, *, erase: bool) -> None:
    """Writes MicroPython and the partition table. erase: everything goes first, journal and keys with it.

    Raises ToolError. What is behind the program's partition stays as it is without `erase`.
    """
    try:
        data = with_table(image.read_bytes(), STARTS[chip(board)], table)
    except OSError as error:
        raise ToolError(f"{image}: can't be read: {error.strerror}") from error
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "image.bin"
        file.write_bytes(data)
        for arguments in commands(port, board, file, erase=erase):
            _esptool(arguments)


def _esptool(arguments: Sequence[str]) -> None:
    try:
        done = subprocess.run(
            [sys.executable, "-m", "esptool", *arguments], capture_output=True, text=True, timeout=_DEADLINE_S,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"esptool {arguments[6]} was not done after {_DEADLINE_S:.0f} s") from error
    if done.returncode:
        words = (done.stdout + done.stderr).strip().splitlines() or ["it said nothing"]
        if any("No module named" in word for word in words):
            raise ToolError("esptool is needed to write an image: pip install 'gatepost[device]'")
        told = next((word for word in words if "fatal error" in word.lower()), words[-1])
        raise ToolError(f"esptool {arguments[6]}: {told.strip()}")
