"""Layer: what is looked at, as values; None: it could not be seen, or does not apply."""

from __future__ import annotations

from typing import NamedTuple


class Software(NamedTuple):
    """sqlite: of apsw, as in 3.54.1; python: (3, 11); machine: of uname; bits: of a pointer."""

    sqlite: str
    python: tuple[int, int]
    machine: str
    bits: int


class Machine(NamedTuple):
    """Bytes of memory; throttled: the Raspberry Pi's flags."""

    memory: int
    available: int
    throttled: int | None


class Disk(NamedTuple):
    """The disk of data_dir. syncs_ms: how long 4 KiB took to be on it, each; wal: journal mode that SQLite got."""

    folder: str
    kind: str
    options: tuple[str, ...]
    free: int
    size: int
    syncs_ms: tuple[float, ...]
    wal: str
    error: str
    worn: int | None  # tenths of the card's life that are used up, where it says so
    end_of_life: int | None  # 1 normal, 2 warning, 3 urgent


class Time(NamedTuple):
    """This machine's clock. service: one that sets it; source: [time] source."""

    year: int
    synchronised: bool
    service: str
    has_chip: bool
    source: str


class Port(NamedTuple):
    """One port; serial and rs485 have a device file. holder: who else has it open; console: the kernel talks there."""

    name: str
    path: str
    exists: bool = False
    is_device: bool = False
    allowed: bool = False
    group: str = ""
    holder: str = ""
    console: bool = False


class Address(NamedTuple):
    """One address to listen on; error: why it can't be had."""

    name: str
    listen: str
    error: str


class File(NamedTuple):
    """A file that the agent reads; mode of it, or None where it is missing; private: it holds keys.

    table: of edge.toml, where it is named there.
    """

    path: str
    mode: int | None
    readable: bool
    private: bool
    table: str = ""


class Store(NamedTuple):
    """version 0: there is none yet; known: what this program knows; damage: of quick_check; unread: why it can't tell.

    steps_ms: by how much this machine's clock was set in the last day, each time.
    """

    version: int
    known: int
    damage: str
    wal_bytes: int
    waiting: int
    steps_ms: tuple[int, ...] = ()
    unread: str = ""


class Closed(NamedTuple):
    """A folder on the way to something, or the thing itself, that the user may not read; owner: whose it is."""

    path: str
    owner: str


class Aside(NamedTuple):
    """Stores in data_dir that were replaced by a restore or a rollback; size in bytes, as far as it can be seen."""

    folders: tuple[str, ...]
    size: int


class Agent(NamedTuple):
    """pid of the one that holds data_dir; None: none runs. error: why it does not answer at `url`.

    says: what it finds wrong itself, each (whether it is bad, in Chinese, in English, the text's name).
    """

    pid: int | None
    url: str = ""
    error: str = ""
    says: tuple[tuple[bool, str, str, str], ...] = ()


class Office(NamedTuple):
    """How far one got: stage "name", "connect", "tls", "pin", "answer" or "" when it answered as an office does."""

    url: str
    stage: str
    error: str
    ahead_ms: int | None  # its clock before ours
    enrolled: bool
    secure: bool
