"""Partition tables, images, esptool's part and what `flash` and `provision --port` refuse; the rest: hw_tests/suite."""

from __future__ import annotations

import os
import pty
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tools import cli
from tools.device import image, install, keys, partitions
from tools.device.console import Console
from tools.errors import ToolError

# The table of a stock 4 MiB ESP32 image, made by hand from ESP-IDF's description of the format.
STOCK = [
    partitions.Part("nvs", 1, 2, 0x9000, 0x6000),
    partitions.Part("phy_init", 1, 1, 0xF000, 0x1000),
    partitions.Part("factory", 0, 0, 0x10000, 0x1F0000),
    partitions.Part("vfs", 1, 0x81, 0x200000, 0x200000),
]


def micropython(start: int, app: int = 100_000, table: bytes | None = None) -> bytes:
    """Something that is laid out as a MicroPython image: bootloader, table, program."""
    whole = bytearray(b"\xff" * (0x10000 - start)) + b"\xe9" + bytes(range(250)) * (app // 250)
    whole[0] = 0xE9
    whole[0x8000 - start : 0x8C00 - start] = partitions.to_bytes(STOCK) if table is None else table
    return bytes(whole)


@pytest.mark.parametrize("name", ["4mb", "8mb"])
def test_our_tables(name: str) -> None:
    parts = partitions.load(image.TABLES / f"{name}.csv")
    assert partitions.from_bytes(partitions.to_bytes(parts)) == parts
    assert max(part.offset + part.size for part in parts) == int(name[0]) << 20
    room = {part.label: part.size for part in parts}
    assert room["journal"] == (1 << 20 if name == "4mb" else 2 << 20)
    assert room["vfs"] >= 160 * 4096  # UPDATES.md


def test_table_as_the_bootloader_reads_it() -> None:
    table = partitions.to_bytes(STOCK)
    assert len(table) == 0xC00
    assert table[:12] == bytes.fromhex("aa5001020090000000600000")
    assert table[12:28] == b"nvs".ljust(16, b"\0")
    assert table[128:144] == b"\xeb\xeb" + b"\xff" * 14
    assert set(table[160:]) == {0xFF}
    with pytest.raises(ToolError, match="checksum"):
        partitions.from_bytes(bytes([*table[:40], table[40] ^ 1, *table[41:]]))


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ("nvs, data, nvs, 0x9000, 0x6000\n", "no partition factory, journal, vfs"),
        ("a, data, 0x40, 0x9000, 0x2000\nb, data, 0x40, 0xa000, 0x1000\n", "overlaps"),
        ("a, app, factory, 0x11000, 0x1000\n", "not aligned"),
        ("a, data, nvs, here, 0x1000\n", ":1: right is"),
        ("a, data\n", ":1: right is"),
        (f"{'n' * 17}, data, nvs, 0x9000, 0x1000\n", "longer than 16"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, rows: str, complaint: str) -> None:
    (tmp_path / "t.csv").write_text(rows)
    with pytest.raises(ToolError, match=complaint):
        partitions.load(tmp_path / "t.csv")


@pytest.mark.parametrize("start", [0x1000, 0])
def test_image_with_our_table(start: int) -> None:
    before = micropython(start)
    after = image.with_table(before, start, image.TABLES / "8mb.csv")
    at = 0x8000 - start
    assert len(after) == len(before)
    assert after[:at] == before[:at]
    assert after[at + 0xC00 :] == before[at + 0xC00 :]
    labels = [part.label for part in partitions.from_bytes(after[at : at + 0xC00])]
    assert labels == ["nvs", "phy_init", "factory", "journal", "vfs"]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "not a MicroPython image"),
        (b"\x7fELF" + bytes(100_000), "not a MicroPython image"),
        (micropython(0x1000, table=bytes(0xC00)), "no partition table"),
        (micropython(0x1000, app=0x1F0000 + 1000), "has 2,0"),
        (micropython(0x1000)[:0xF000], "no program"),
        (micropython(0x1000, table=partitions.to_bytes([*STOCK, STOCK[2]])), "begins elsewhere"),
    ],
)
def test_images_that_are_refused(data: bytes, complaint: str) -> None:
    with pytest.raises(ToolError, match=complaint):
        image.with_table(data, 0x1000, image.TABLES / "8mb.csv")


def test_chip_of_every_board() -> None:
    assert {board: image.chip(board) for board in install.boards()}.items() >= {
        ("esp32_devkit", "esp32"),
        ("esp32_s3_devkitc", "esp32s3"),
    }
    assert set(map(image.chip, install.boards())) <= set(image.STARTS)


def test_commands_for_esptool() -> None:
    erase, write = image.commands("/dev/ttyUSB0", "esp32_s3_devkitc", Path("x.bin"), erase=True)
    assert erase[-1] == "erase-flash"
    assert write == [
        *("--port", "/dev/ttyUSB0", "--chip", "esp32s3", "--baud", "460800"),
        *("write-flash", "--flash-size", "detect", "0x0", "x.bin"),
    ]
    assert image.commands("/dev/ttyUSB0", "esp32_devkit", Path("x.bin"), erase=False)[0][-2] == "0x1000"


def test_the_real_esptool_takes_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No chip here: it gets as far as the port."""
    (tmp_path / "m.bin").write_bytes(micropython(0x1000))
    wanted = ["flash", "--port", str(tmp_path / "none"), "--role", "tag", "--image", str(tmp_path / "m.bin")]
    assert cli.main(wanted) == 2
    complaint = capsys.readouterr().err
    assert "esptool write-flash" in complaint
    assert "port" in complaint.lower()


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--board", "toaster"], "no board is called 'toaster'; there are "),
        (["--erase"], "--erase needs --image"),
        (["--image", "/nowhere/x.bin"], "can't be read"),
    ],
)
def test_flash_refuses(capsys: pytest.CaptureFixture[str], more: list[str], complaint: str) -> None:
    assert cli.main(["flash", "--port", "/nowhere", "--role", "tag", *more]) == 2
    assert complaint in capsys.readouterr().err


def test_provision_needs_one_device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--edge", str(tmp_path / "e"), "--office", str(tmp_path / "o")]
    who = ["--site", "s", "--device", "7", "--role", "tag", *files]
    assert cli.main(["provision", *who, "--port", "/nowhere", "--board", str(tmp_path)]) == 2
    assert "--port and --board" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_nobody_answers() -> None:
    """A port with something else behind it: an error in time, one sentence."""
    master, slave = pty.openpty()
    try:
        with pytest.raises(ToolError, match="no MicroPython prompt"):
            Console(os.ttyname(slave)).open(within_s=0.5)
    finally:
        os.close(master)
        os.close(slave)
    with pytest.raises(ToolError, match="no MicroPython prompt"):
        Console("/nowhere").open(within_s=0)


def test_what_a_role_gets() -> None:
    tag, barrier = install.role_files("tag", "esp32_devkit"), install.role_files("barrier", "esp32_devkit")
    assert "/lib/patrol_tag/main.mpy" in tag
    assert "/lib/barrier/main.mpy" in barrier
    assert not any("barrier" in path for path in tag)
    assert not any("patrol" in path for path in barrier)
    assert "/main.py" not in tag  # it is written last
    assert tag["/board.txt"] == b"esp32_devkit\n"
    assert all(data[:2] == struct.pack("BB", ord("M"), 6) for path, data in tag.items() if path.endswith(".mpy"))
    assert b'boot.run("patrol_tag.main")' in install.main_file("tag")


def test_a_board_in_anothers_place_boots_under_other_numbers() -> None:
    """The program that runs on the device, on a flash that keeps what it is told."""

    class Nvs(dict[str, object]):
        set_i32 = set_blob = dict.__setitem__
        get_i32 = dict.__getitem__

        def erase_key(self, key: str) -> None:
            if self.pop(key, None) is None:
                raise OSError

        def commit(self) -> None:
            """At once."""

        def __missing__(self, key: str) -> object:
            raise OSError(key)

    def provisioned(nvs: Nvs, epoch: int) -> object:
        space: dict[str, Any] = {"esp32": SimpleNamespace(NVS=lambda _: nvs)}
        exec(keys._WRITE, space)  # what is sent to the device
        space["_gp_provision"](7, b"l" * 32, b"e" * 32, epoch)
        return nvs["boot"]

    first = Nvs()
    assert provisioned(first, 0) == 0
    first["boot"] = 300
    assert provisioned(first, 1) == 300  # the same board goes on
    starts = [provisioned(Nvs(), epoch) for epoch in range(16)]
    assert starts == sorted(set(starts))
    assert starts[1] == 4_096
    assert starts[15] < 1 << 16
