"""Layer: facts -> findings; pure. Every bound is said here once."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from tools.doctor.facts import (
    Address,
    Agent,
    Aside,
    Closed,
    Disk,
    File,
    Machine,
    Office,
    Port,
    Software,
    Store,
    Time,
)
from tools.doctor.finding import Finding, fault, ok, warning

LEAST_SQLITE = (3, 51, 3)
LEAST_PYTHON = (3, 11)
MB, GB = 1_000_000, 1_000_000_000
FREE_FAULT, FREE_WARNING = 100 * MB, GB
SYNC_WARNING_MS, SYNC_FAULT_MS = 60.0, 1_000.0
MEMORY_FAULT, MEMORY_WARNING = 32 * MB, 96 * MB
WAL_WARNING = 256 * MB
AHEAD_WARNING_MS, AHEAD_FAULT_MS = 3_000, 60_000
FIRST_YEAR = 2026
STEP_WARNING_MS = 2_000
IN_MEMORY = ("tmpfs", "ramfs", "overlay", "squashfs")
NO_DISK = ("vfat", "exfat", "msdos", "nfs", "nfs4", "cifs", "smb3", "9p", "fuse", "fuseblk", "ntfs3")
UNSAFE_OPTIONS = ("nobarrier", "barrier=0", "data=writeback", "nofsync")
# Bits of the Raspberry Pi's get_throttled; the same 16 higher: it has happened since the start.
LOW_VOLTAGE, HOT = 1 << 0, 1 << 1 | 1 << 2 | 1 << 3


def software(seen: Software) -> list[Finding]:
    """Python, SQLite, processor."""
    found = []
    version = tuple(int(part) for part in seen.sqlite.split(".")[:3])
    if version < LEAST_SQLITE:
        found.append(fault("sqlite", "sqlite_old", seen.sqlite, ".".join(map(str, LEAST_SQLITE))))
    else:
        found.append(ok("sqlite", "sqlite", seen.sqlite))
    python = ".".join(map(str, seen.python))
    if seen.python < LEAST_PYTHON:
        found.append(fault("python", "python_old", python, ".".join(map(str, LEAST_PYTHON))))
    elif seen.bits < 64:
        found.append(warning("python", "bits_32", python, seen.machine))
    else:
        found.append(ok("python", "python", python, seen.machine))
    return found


def machine(seen: Machine) -> list[Finding]:
    """Memory and power."""
    free = f"{seen.available / MB:,.0f}"
    if seen.available < MEMORY_FAULT:
        found = [fault("memory", "memory_low", free)]
    elif seen.available < MEMORY_WARNING:
        found = [warning("memory", "memory_low", free)]
    else:
        found = [ok("memory", "memory", free)]
    flags = seen.throttled
    if flags is None:
        return found
    if flags & LOW_VOLTAGE:
        found.append(fault("power", "power_low"))
    elif flags >> 16 & LOW_VOLTAGE:
        found.append(warning("power", "power_was_low"))
    elif (flags | flags >> 16) & HOT:
        found.append(warning("power", "power_hot"))
    else:
        found.append(ok("power", "power"))
    return found


def disk(seen: Disk) -> list[Finding]:
    """Kind, room, speed and health of the disk with the store."""
    found = []
    unsafe = [option for option in seen.options if option in UNSAFE_OPTIONS]
    if seen.kind in IN_MEMORY:
        found.append(fault("file system", "disk_memory", seen.folder, seen.kind))
    elif seen.kind in NO_DISK or seen.kind.startswith("fuse."):
        found.append(fault("file system", "disk_kind", seen.folder, seen.kind))
    elif "ro" in seen.options:
        found.append(fault("file system", "disk_read_only", seen.folder))
    elif unsafe:
        found.append(fault("file system", "disk_unsafe", seen.folder, unsafe[0]))
    elif seen.wal not in ("wal", ""):
        found.append(fault("file system", "disk_no_wal", seen.folder, seen.wal))
    else:
        found.append(ok("file system", "disk", seen.folder, seen.kind))
    free = f"{seen.free / GB:,.1f}"
    if seen.free < FREE_FAULT:
        found.append(fault("room", "room_none", free, seen.folder))
    elif seen.free < FREE_WARNING or seen.free * 20 < seen.size:
        found.append(warning("room", "room_little", free, seen.folder))
    else:
        found.append(ok("room", "room", free))
    found.append(_speed(seen))
    if seen.end_of_life is not None or seen.worn is not None:
        found.append(_wear(seen))
    return found


def _speed(seen: Disk) -> Finding:
    if seen.error:
        return fault("disk speed", "disk_fails", seen.folder, seen.error)
    if not seen.syncs_ms:
        return warning("disk speed", "disk_not_tried", seen.folder)
    middle, most = median(seen.syncs_ms), max(seen.syncs_ms)
    values = (f"{middle:.1f}", f"{most:.0f}")
    if middle >= SYNC_FAULT_MS:
        return fault("disk speed", "disk_slow", *values)
    if middle >= SYNC_WARNING_MS or most >= SYNC_FAULT_MS:
        return warning("disk speed", "disk_slow", *values)
    return ok("disk speed", "disk_speed", *values)


def _wear(seen: Disk) -> Finding:
    worn = seen.worn or 0
    if seen.end_of_life == 3 or worn > 10:
        return fault("card", "card_worn_out")
    if seen.end_of_life == 2 or worn >= 9:
        return warning("card", "card_worn", max(worn - 1, 0) * 10)
    return ok("card", "card", worn * 10)


def time(seen: Time) -> list[Finding]:
    """Whether events get a time that is true."""
    if seen.year < FIRST_YEAR:
        found = [fault("clock", "clock_wrong", seen.year)]
    elif seen.synchronised:
        found = [ok("clock", "clock")]
    elif not seen.service:
        found = [(fault if seen.source == "kernel" else warning)("clock", "clock_no_service")]
    else:
        found = [warning("clock", "clock_not_yet", seen.service)]
    if not seen.has_chip:
        found.append(warning("clock chip", "chip_none"))
    else:
        found.append(ok("clock chip", "chip"))
    return found


def ports(seen: Sequence[Port], user: str) -> list[Finding]:
    """Serial ports: there, allowed, free."""
    found = []
    for port in seen:
        check = f"port {port.name}"
        if not port.exists:
            found.append(fault(check, "port_missing", port.path))
        elif not port.is_device:
            found.append(fault(check, "port_no_device", port.path))
        elif not port.allowed:
            found.append(fault(check, "port_forbidden", port.path, user, port.group))
        elif port.console:
            found.append(fault(check, "port_console", port.path))
        elif port.holder:
            found.append(fault(check, "port_busy", port.path, port.holder))
        else:
            found.append(ok(check, "port", port.path))
    return found


def addresses(seen: Sequence[Address]) -> list[Finding]:
    """Addresses to listen on, while no agent has them."""
    return [
        fault(f"port {one.name}", "address_taken", one.listen, one.error)
        if one.error
        else ok(f"port {one.name}", "address", one.listen)
        for one in seen
    ]


def closed(check: str, seen: Closed, user: str, config: str, *, as_agent: bool) -> Finding:
    """What ends the look at more than itself; as_agent: the user is the one that the agent runs as."""
    if seen.owner == user:
        return fault(check, "own_closed", seen.path, user)
    if as_agent:
        return fault(check, "file_unreadable", seen.path, user)
    return fault(check, "not_allowed", seen.path, user, config)


def files(seen: Sequence[File], user: str) -> list[Finding]:
    """Whether what the agent reads is there, and keys are the agent's alone."""
    found = []
    for file in seen:
        if file.mode is None:
            found.append(
                fault("files", "devices_missing" if file.table == "devices" else "file_missing", file.path)
            )
        elif not file.readable:
            found.append(fault("files", "file_unreadable", file.path, user))
        elif file.private and file.mode & 0o077:
            found.append(fault("files", "file_open", file.path, f"{file.mode:o}"))
    return found or [ok("files", "files", sum(file.private for file in seen))]


def steps(seen: Store) -> list[Finding]:
    """Whether this machine's clock runs by itself; nothing is said where the store tells of no step."""
    large = [abs(step) for step in seen.steps_ms if abs(step) >= STEP_WARNING_MS]
    return [warning("clock steps", "clock_stepped", len(large), f"{max(large) / 1000:,.0f}")] if large else []


def store(seen: Store) -> list[Finding]:
    """The store itself."""
    if seen.unread:
        return [fault("store", "store_unread", seen.unread)]
    if seen.damage:
        return [fault("store", "store_damaged", seen.damage)]
    if seen.version > seen.known:
        return [fault("store", "store_newer", seen.version, seen.known)]
    if seen.version == 0:
        return [ok("store", "store_none")]
    if seen.wal_bytes > WAL_WARNING:
        return [warning("store", "store_wal", f"{seen.wal_bytes / MB:,.0f}")]
    return [ok("store", "store", seen.version, f"{seen.waiting:,}")]


def aside(seen: Aside) -> list[Finding]:
    """Stores that nobody uses any more and that take room."""
    if not seen.folders:
        return []
    values = (len(seen.folders), f"{seen.size / MB:,.0f}", ", ".join(seen.folders[:4]))
    return [warning("kept aside", "store_aside", *values)]


def agent(seen: Agent) -> list[Finding]:
    """Whether anybody collects, and what that one says of itself."""
    if seen.pid is None:
        return [warning("agent", "agent_off")]
    if seen.error:
        return [warning("agent", "agent_silent", seen.pid, seen.url, seen.error)]
    says = [(fault if bad else warning)("agent says", "agent_says", *said) for bad, *said in seen.says]
    return [ok("agent", "agent", seen.pid), *says]


def office(seen: Office | None) -> list[Finding]:
    """The way to the office, and how far the clocks are apart."""
    if seen is None:
        return [warning("office", "office_none")]
    if seen.stage:
        return [fault("office", f"office_{seen.stage}", seen.url, seen.error)]
    found = [ok("office", "office", seen.url)]
    if not seen.enrolled and not seen.secure:
        found = [warning("office", "office_plain", seen.url)]
    if seen.ahead_ms is None:
        return found
    apart = abs(seen.ahead_ms)
    seconds = f"{apart / 1000:,.0f}"
    if apart >= AHEAD_FAULT_MS:
        found.append(fault("office clock", "clocks_apart", seconds))
    elif apart >= AHEAD_WARNING_MS:
        found.append(warning("office clock", "clocks_apart", seconds))
    else:
        found.append(ok("office clock", "clocks"))
    return found
