"""Layer: the files of a role onto a device's file system: compiled, compared, and the program last."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tools.device.console import Console
from tools.errors import ToolError

ROOT = Path(__file__).resolve().parents[2]
ROLES = {"tag": "patrol_tag", "barrier": "barrier"}
MAIN, BOOT = "/main.py", "/boot.py"
# Everything of ours below it; what else a technician keeps in /lib stays.
LIB = "/lib"

# Back to the factory's version, which was just written; what no update may go below stays.
_FACTORY = """
import boot
_r = boot.read(boot.Files())
if _r and _r.slot != boot.FACTORY:
    _new = boot.Record(boot.FACTORY, boot.FACTORY, boot.CONFIRMED, 0, 0, _r.floor, 0)
    boot.write(boot.Files(), _new)
"""


class Installed(NamedTuple):
    """What an installation did."""

    written: int
    kept: int
    removed: int
    bytes: int


def boards() -> list[str]:
    """The names of all boards that have a file of pins. Raises ToolError outside a checkout."""
    folder = ROOT / "firmware" / "boards"
    if not folder.is_dir():
        raise ToolError("a device's code is not part of the installed package: run this from a checkout")
    return sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))


@functools.cache
def _compiled(role: str) -> dict[str, bytes]:
    from tools.release import build

    try:
        return build.role_files(ROOT, ROLES[role])
    except build.BuildError as error:
        raise ToolError(str(error)) from error


def role_files(role: str, board: str) -> dict[str, bytes]:
    """Device path -> bytes of everything but /main.py. Raises ToolError."""
    if board not in boards():
        raise ToolError(f"no board is called {board!r}; there are {', '.join(boards())}")
    files = {f"{LIB}/{name}": data for name, data in _compiled(role).items()}
    files[BOOT] = (ROOT / "firmware" / "boot.py").read_bytes()
    files["/board.txt"] = f"{board}\n".encode()
    return files


def main_file(role: str) -> bytes:
    """/main.py: what starts the role, and the device again when the role ends."""
    return f'import boot\n\nboot.run("{ROLES[role]}.main")\n'.encode()


def stop_for_good(console: Console) -> None:
    """No program, no slot and no watchdog after this: /main.py and /boot.py go, the board starts anew; open again."""
    console.remove(MAIN)
    console.remove(BOOT)
    console.restart_to_prompt()


def install(
    console: Console,
    role: str,
    board: str,
    *,
    program: bool = True,
    tell: Callable[[str], None] = lambda _: None,
) -> Installed:
    """Makes the device hold exactly the role's files; program: with /main.py, which is written last.

    Power that fails in between leaves a device without a program; the next installation goes on. Raises ToolError.
    """
    files = role_files(role, board)
    stop_for_good(console)
    check_interpreter(console)
    ours = {path.split("/")[2] for path in files if path.startswith(f"{LIB}/")} | set(ROLES.values())
    removed = 0
    for path in console.walk(LIB):
        # a .py beside its .mpy would be imported in its place
        if path.split("/")[2] in ours and path not in files:
            console.remove(path)
            removed += 1
    for folder in sorted({path.rpartition("/")[0] for path in files} - {""}):
        console.make_folder(folder)
    kept = console.same(files)
    fresh = {path: files[path] for path in sorted(files) if path not in kept}
    for path, data in fresh.items():
        console.put(path, data)
        tell(path)
    console.run(_FACTORY)
    if program:
        console.put(MAIN, main_file(role))
    return Installed(len(fresh), len(kept), removed, sum(map(len, fresh.values())))


def check_interpreter(console: Console) -> None:
    """Raises ToolError unless this MicroPython loads our bytecode and has the machine modules."""
    from tools.release.build import MPY_ABI

    abi = console.value("getattr(__import__('sys').implementation, '_mpy', 0) & 0xff")
    if abi != MPY_ABI:
        raise ToolError(f"{console.port}: this MicroPython loads bytecode {abi}, ours is {MPY_ABI}: --image first")
    console.run("import esp32, cryptolib, machine")
