"""Layer: strace's text -> calls in the order in which they returned; pure. COMMAND makes such a text.

Strings come in hexadecimal and descriptors with their paths (-xx -y), so that no byte of a file looks like syntax.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

CALLS = (
    "open", "openat", "creat", "close", "dup", "dup2", "dup3", "fcntl", "lseek", "read", "readv", "write", "writev",
    "pwrite64", "pwritev", "pwritev2", "ftruncate", "truncate", "fallocate", "rename", "renameat", "renameat2",
    "unlink", "unlinkat", "rmdir", "link", "linkat", "symlink", "symlinkat", "mkdir", "mkdirat", "fsync", "fdatasync",
    "sync", "syncfs", "sync_file_range", "mmap", "chdir", "fchdir", "clone", "clone3", "fork", "vfork",
    # What no model here understands: named if it meets the data.
    "openat2", "sendfile", "splice", "copy_file_range", "io_uring_setup", "io_submit",
)  # fmt: skip
_BIGGEST = 1 << 28

_LINE = re.compile(rb"(\d+) +(\d+\.\d+) (?:(\w+)\(|<\.\.\. (\w+) resumed>)")
_END = re.compile(rb"\) += (-?\d+|0x[0-9a-f]+|\?)[^\n]*?(?: <(\d+\.\d+)>)?\n?$")
_UNFINISHED = b" <unfinished ...>"
_TAIL = 20_000  # bytes in which a call's result stands, with a path in hexadecimal


class TraceError(Exception):
    """A program did something that can't be followed; says what."""


class Call(NamedTuple):
    """returned_s: CLOCK_REALTIME. arguments: as strace wrote them. result: None where it never returned."""

    pid: int
    returned_s: float
    name: str
    arguments: bytes
    result: int | None


def command(out: Path) -> list[str]:
    """What to put before a program's command line. strace is not its parent (-DD): see attach.finished()."""
    return [
        "strace", "-f", "-DD", "-q", "--seccomp-bpf", "-ttt", "-T", "-a", "1", "-y", "-xx", "-s", str(_BIGGEST),
        "-e", "signal=none", "-e", f"trace={','.join(CALLS)}", "-o", str(out),
    ]  # fmt: skip


def calls(lines: Iterable[bytes]) -> Iterator[Call]:
    """Every call of a trace, when it returned; those that a kill cut short come last. Raises TraceError."""
    begun: dict[int, tuple[str, bytes]] = {}
    at_s = 0.0
    for line in lines:
        head = _LINE.match(line)
        if head is None:
            continue  # +++ exited +++ and the like
        pid, at_s = int(head[1]), float(head[2])
        rest = line[head.end() :]
        if rest.rstrip().endswith(_UNFINISHED):
            begun[pid] = head[3].decode(), rest.rstrip()[: -len(_UNFINISHED)]
            continue
        tail = max(len(rest) - _TAIL, 0)
        end = None
        for end in _END.finditer(rest, tail):  # noqa: B007 - the last of them
            pass
        if end is None:
            if head[3] is not None and not rest.endswith(b"\n"):
                return  # the text ends here
            raise TraceError(f"strace wrote what is no call: {line[:200]!r}")
        first = b""
        if head[4] is not None:
            name, first = begun.pop(pid)
        else:
            name = head[3].decode()
            at_s += float(end[2] or 0)
        result = None if end[1] == b"?" else int(end[1], 0)
        yield Call(pid, at_s, name, first + rest[: end.start()], result)
    for pid, (name, arguments) in begun.items():
        yield Call(pid, at_s, name, arguments, None)


_HEX = rb'"([^"]*)"(\.\.\.)?'
_STRING = re.compile(_HEX)
_FD = re.compile(rb"(?:AT_FDCWD|(-?\d+))(?:<([^>]*)>(?:\(deleted\))?)?")


def plain(text: bytes) -> bytes:
    r"""\x41\x42 -> AB"""
    return bytes.fromhex(text.replace(b"\\x", b"").decode("ascii"))


def strings(arguments: bytes) -> list[bytes]:
    """The strings among the arguments, in order. Raises TraceError when strace has shortened one."""
    found = []
    for match in _STRING.finditer(arguments):
        if match[2]:
            raise TraceError("strace has shortened a string")
        found.append(plain(match[1]))
    return found


def descriptor(arguments: bytes) -> tuple[int, str]:
    """The descriptor that stands first (-1: the working folder) and its path, "" if it has none."""
    match = _FD.match(arguments)
    if match is None:
        raise TraceError(f"no descriptor in {arguments[:80]!r}")
    path = (
        plain(match[2]).decode(errors="surrogateescape") if match[2] and match[2].startswith(b"\\x") else ""
    )
    return int(match[1]) if match[1] else -1, path
