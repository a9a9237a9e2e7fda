"""Layer: looks at this machine: software, memory, power, disk, clock, ports, files; leaves nothing behind."""

from __future__ import annotations

import encodings.idna  # noqa: F401 - for names of hosts; later, as another user, Python's own folder may be closed
import grp
import os
import platform
import pwd
import re
import shutil
import socket
import stat
import struct
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import apsw

from edge_agent import kernel_clock
from edge_agent.config import NamedFile, PortConfig
from edge_agent.transports import docks
from tools.doctor.facts import Address, Closed, Disk, File, Machine, Port, Software, Time

SYNCS, BLOCK = 20, 4_096
SYNCS_S = 5.0
_OCTAL = re.compile(r"\\([0-7]{3})")  # how mountinfo writes a blank
THROTTLED = "sys/devices/platform/soc*/soc*:firmware/get_throttled"
SERVICES = (
    ("systemd-timesyncd", "run/systemd/timesync"), ("chrony", "run/chrony"), ("ntpd", "run/ntpd.pid"),
    ("ntpsec", "run/ntpsec"),
)  # fmt: skip


def software() -> Software:
    """What runs here."""
    version = (sys.version_info.major, sys.version_info.minor)
    return Software(apsw.sqlite_lib_version(), version, platform.machine(), struct.calcsize("P") * 8)


def machine(root: Path = Path("/")) -> Machine:
    """Memory by /proc, power by the Raspberry Pi's firmware."""
    found = {"MemTotal": 0, "MemAvailable": 0}
    for line in (root / "proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in found:
            found[name] = int(value.split()[0]) * 1024
    flags = None
    for path in root.glob(THROTTLED):
        text = _text(path)
        flags = int(text, 16) if text else None
    return Machine(found["MemTotal"], found["MemAvailable"], flags)


def disk(folder: Path, root: Path = Path("/")) -> Disk:
    """The disk of data_dir; writes and syncs a small file there some times, then removes it."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    kind, options, device = _mount(there, root)
    usage = shutil.disk_usage(there)
    syncs_ms: list[float] = []
    wal, error = "", ""
    if folder.is_dir():
        try:
            with tempfile.TemporaryDirectory(prefix=".doctor-", dir=folder) as name:
                syncs_ms = _syncs(Path(name) / "tried")
                wal = _journal_mode(Path(name) / "tried.sqlite")
        except OSError as problem:
            error = problem.strerror or str(problem)
        except apsw.Error as problem:
            error = str(problem)
    return Disk(
        str(folder), kind, options, usage.free, usage.total, tuple(syncs_ms), wal, error, *_card(device, root)
    )


def _syncs(path: Path) -> list[float]:
    """How long SYNCS writes took to be on the disk, in ms each; fewer when they are slow."""
    taken: list[float] = []
    end_s = time.monotonic() + SYNCS_S
    with path.open("wb", buffering=0) as file:
        while len(taken) < SYNCS and (not taken or time.monotonic() < end_s):
            at = time.perf_counter()
            file.write(os.urandom(BLOCK))
            os.fsync(file.fileno())
            taken.append((time.perf_counter() - at) * 1_000)
    return taken


def _journal_mode(path: Path) -> str:
    connection = apsw.Connection(str(path))
    try:
        return str(connection.pragma("journal_mode", "wal"))
    finally:
        connection.close()


def _mount(path: Path, root: Path) -> tuple[str, tuple[str, ...], str]:
    """(kind of file system, its options, device as "major:minor") of the mount that holds the path."""
    best = ("", (), "")
    longest = -1
    real = path.resolve()
    for line in (root / "proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        fields, more = left.split(), right.split()
        point = Path(_OCTAL.sub(lambda found: chr(int(found[1], 8)), fields[4]))
        if (point == real or point in real.parents) and len(point.parts) >= longest:
            longest = len(point.parts)
            options = (*fields[5].split(","), *(more[2].split(",") if len(more) > 2 else ()))
            best = (more[0], options, fields[2])
    return best


def _card(device: str, root: Path) -> tuple[int | None, int | None]:
    """(tenths of its life used, end-of-life state) of an eMMC or SD card that tells."""
    for name in ("device", "../device"):
        folder = root / "sys/dev/block" / device / name
        life, end = _text(folder / "life_time"), _text(folder / "pre_eol_info")
        if life or end:
            worn = max((int(part, 16) for part in life.split()), default=0) if life else None
            return worn, int(end, 16) if end else None
    return None, None


def clock(source: str, root: Path = Path("/")) -> Time:
    """This machine's clock."""
    service = next((name for name, path in SERVICES if (root / path).exists()), "")
    chip = any((root / "sys/class/rtc").glob("rtc*"))
    return Time(time.localtime().tm_year, kernel_clock.synchronised(), service, chip, source)


def ports(configured: Sequence[PortConfig], agent: int | None, root: Path = Path("/")) -> list[Port]:
    """Serial ports as the user who asks would find them; of docks what is plugged in now."""
    found = [_port(port.name, Path(port.path), agent, root) for port in configured if port.path]
    for dock in configured:
        plugged = docks.files(dock.match, dock.elsewhere)
        found += [_port(dock.name, Path(path), agent, root) for path in plugged.values()]
    return found


def _port(name: str, path: Path, agent: int | None, root: Path) -> Port:
    try:
        found = path.stat()
    except OSError:
        return Port(name, str(path))
    is_device = stat.S_ISCHR(found.st_mode)
    allowed = os.access(path, os.R_OK | os.W_OK, effective_ids=True)
    try:
        group = grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        group = str(found.st_gid)
    real = path.resolve()
    return Port(
        name,
        str(path),
        exists=True,
        is_device=is_device,
        allowed=allowed,
        group=group,
        holder=_holder(found, agent, root) if is_device else "",
        console=real.name in _consoles(root),
    )


def _consoles(root: Path) -> set[str]:
    """Serial ports that the kernel's console or a login is on."""
    found = set()
    for word in (_text(root / "proc/cmdline") or "").split():
        if word.startswith("console="):
            name = word.removeprefix("console=").partition(",")[0]
            found.add((root / "dev" / name).resolve().name)
    return found - {"tty0", "tty1", "null"}


def _holder(port: os.stat_result, agent: int | None, root: Path) -> str:
    """Who else has the device open: "name (process n)"; "" for nobody that can be seen."""
    for folder in (root / "proc").glob("[0-9]*"):
        if int(folder.name) in (agent, os.getpid()):
            continue
        try:
            for link in (folder / "fd").iterdir():
                found = link.stat()
                if (found.st_rdev, found.st_dev) == (port.st_rdev, port.st_dev):
                    return f"{_text(folder / 'comm')} (process {folder.name})"
        except OSError:
            continue  # another user's process, or one that has ended
    return ""


def addresses(configured: Iterable[PortConfig], status: tuple[str, int]) -> list[Address]:
    """Whether the agent could listen where it should; only while it doesn't run."""
    found = [_address(port.name, port.listen, socket.SOCK_DGRAM) for port in configured if port.kind == "udp"]
    return [*found, _address("status", status, socket.SOCK_STREAM)]


def _address(name: str, listen: tuple[str, int], kind: socket.SocketKind) -> Address:
    shown = f"{listen[0]}:{listen[1]}"
    try:
        family = socket.getaddrinfo(*listen, type=kind)[0][0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1 if kind == socket.SOCK_STREAM else 0)
            probe.bind(listen)
    except OSError as error:
        return Address(name, shown, error.strerror or str(error))
    return Address(name, shown, "")


def closed(wanted: Path) -> Closed | None:
    """The first folder on the way to a file or folder, or itself, that this user may not read; None: the way is open.

    What is not there ends the way: the agent makes it, or somebody else says that it is missing.
    """
    for path in (*reversed(wanted.parents), wanted):
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        may = os.X_OK if stat.S_ISDIR(found.st_mode) else os.R_OK
        if path == wanted:
            may |= os.R_OK
        if not os.access(path, may, effective_ids=True):
            return Closed(str(path), user_name(found.st_uid))
    return None


def user_name(user: int) -> str:
    """A user's name; its number where it has none here."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def files(named: Iterable[NamedFile]) -> list[File]:
    """Files that the agent reads when it starts."""
    found = []
    for path, private, table in named:
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            found.append(File(str(path), None, readable=False, private=private, table=table))
        else:
            readable = os.access(path, os.R_OK, effective_ids=True)
            found.append(File(str(path), mode, readable, private, table))
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
