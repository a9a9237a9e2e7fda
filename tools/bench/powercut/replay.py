"""Layer: calls of traced programs -> what they do to a disk: descriptors, offsets, working folders; pure.

Descriptors are kept as Linux does: several may share one open file and its offset, by dup() or over fork(); threads
share all. What isn't understood and meets the folder raises, so that no write goes unseen.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tools.bench.powercut.disk import FOLDER, Disk, Inode
from tools.bench.powercut.trace import Call, TraceError, descriptor, plain, strings

_BIRTHS = ("clone", "clone3", "fork", "vfork")
_PATHS = re.compile(rb'(?:(?:AT_FDCWD|-?\d+)(?:<([^>]*)>(?:\(deleted\))?)?, )?"([^"]*)"')
_FLAGS = re.compile(rb'", (O_[A-Z_|]+)')
_MAPPED = re.compile(rb"PROT_WRITE.*MAP_SHARED.*, \d+<([^>]*)>")
_MEMORY = "-shm"  # SQLite's index of its WAL, made anew after a crash

Births = dict[int, tuple[int, bool]]


def births(trace: Iterable[Call]) -> Births:
    """child -> (parent, whether it is a thread). A child's first calls may stand before its parent's clone()."""
    return {
        call.result: (call.pid, b"CLONE_FILES" in call.arguments)
        for call in trace
        if call.name in _BIRTHS and call.result is not None and call.result > 0
    }


@dataclass
class _Open:
    """An open file description; no inode: a folder."""

    inode: Inode | None
    append: bool = False
    sync: bool = False
    offset: int = 0


@dataclass
class _Process:
    """What its threads share."""

    cwd: str
    files: dict[int, _Open] = field(default_factory=dict)


class Replay:
    """Applies calls to a disk, in their order. `root`: the disk's folder, `cwd`: where the first program started."""

    def __init__(self, disk: Disk, root: str, cwd: str, trace: Iterable[Call], born: Births) -> None:
        self.disk = disk
        self.unsure: set[str] = set()  # what a call was meant for that a kill cut short
        self._root = root
        self._cwd = cwd
        self._born = born
        self._processes: dict[int, _Process] = {}
        self._calls = iter(trace)
        self._next: Call | None = next(self._calls, None)
        self._acts: dict[str, Callable[[Call, _Process], None]] = {
            "open": self._open, "openat": self._open, "creat": self._open, "close": self._close, "dup": self._dup,
            "dup2": self._dup, "dup3": self._dup, "fcntl": self._fcntl, "lseek": self._lseek, "read": self._read,
            "readv": self._read, "write": self._write, "writev": self._write, "pwrite64": self._write_at,
            "pwritev": self._write_at, "pwritev2": self._write_at, "ftruncate": self._ftruncate,
            "truncate": self._truncate, "fallocate": self._fallocate, "rename": self._rename,
            "renameat": self._rename, "renameat2": self._rename, "unlink": self._remove, "unlinkat": self._remove,
            "rmdir": self._remove, "link": self._link, "linkat": self._link, "mkdir": self._mkdir,
            "mkdirat": self._mkdir, "fsync": self._sync, "fdatasync": self._sync, "sync": self._sync_all,
            "syncfs": self._sync_all, "sync_file_range": self._sync_range, "mmap": self._mmap, "chdir": self._chdir,
            "fchdir": self._chdir,
        }  # fmt: skip

    def to(self, moment_s: float) -> None:
        """Everything that had returned before that moment, and what the system did by then. Raises TraceError."""
        while self._next is not None and self._next.returned_s < moment_s:
            self.disk.pass_to(self._next.returned_s)
            self._take(self._next)
            self._next = next(self._calls, None)
        self.disk.pass_to(moment_s)

    def to_end(self) -> None:
        """All there is."""
        while self._next is not None:
            self.to(self._next.returned_s + 1e-6)

    def _take(self, call: Call) -> None:
        process = self._process(call.pid)
        if call.result is None:
            self.unsure |= {path for path in self._meant(call, process) if path is not None}
        elif call.result >= 0:
            if call.name in _BIRTHS:
                if call.result:
                    self._process(call.result)
            elif call.name in self._acts:
                self._acts[call.name](call, process)
            elif call.name == "io_uring_setup" or any(
                path is not None for path in self._meant(call, process)
            ):
                raise TraceError(f"{call.name} is not followed")

    def _process(self, pid: int) -> _Process:
        if pid not in self._processes:
            if pid in self._born:
                parent, thread = self._born[pid]
                process = self._process(parent)
                self._processes[pid] = process if thread else _Process(process.cwd, dict(process.files))
            else:
                self._processes[pid] = _Process(self._cwd)
        return self._processes[pid]

    # Where a call goes.

    def _below(self, path: str) -> str | None:
        """Relative to the root; None: elsewhere."""
        path = os.path.normpath(path)
        if path == self._root:
            return ""
        return path[len(self._root) + 1 :] if path.startswith(self._root + "/") else None

    def _paths(self, call: Call, process: _Process) -> list[str | None]:
        found = []
        for match in _PATHS.finditer(call.arguments):
            base = os.fsdecode(plain(match[1])) if match[1] else process.cwd
            found.append(self._below(os.path.join(base, os.fsdecode(plain(match[2])))))  # noqa: PTH118 - pure
        return found

    def _meant(self, call: Call, process: _Process) -> list[str | None]:
        """All that it names by descriptor or path."""
        places = [os.fsdecode(plain(text)) for text in re.findall(rb"<(\\x[^>]*)>", call.arguments[:100_000])]
        by_name = [] if "write" in call.name or "read" in call.name else self._paths(call, process)
        return [self._below(place) for place in places] + by_name

    def _file(self, call: Call, process: _Process) -> _Open | None:
        """The open file of the first argument; None: not of this disk."""
        number, path = descriptor(call.arguments)
        if self._below(path) is None:
            return None
        if number not in process.files:
            raise TraceError(f"{call.name} on {path}, which nobody opened")
        return process.files[number]

    def _inode(self, path: str) -> Inode:
        found = self.disk.names.get(path)
        if not isinstance(found, Inode):
            raise TraceError(f"{path} is no file that was seen")
        return found

    # Descriptors.

    def _open(self, call: Call, process: _Process) -> None:
        assert call.result is not None
        path = self._paths(call, process)[0]
        if path is None:
            process.files.pop(call.result, None)
            return
        match = _FLAGS.search(call.arguments)
        flags = set(match[1].decode().split("|")) if match else {"O_CREAT", "O_WRONLY", "O_TRUNC"}
        found = self.disk.names.get(path)
        if found == FOLDER and "O_TMPFILE" not in flags:
            process.files[call.result] = _Open(None)
            return
        if found is None and "O_CREAT" in flags:
            self.disk.make(path, Inode(), call.returned_s)
        inode = Inode() if "O_TMPFILE" in flags else self._inode(path)
        if "O_TRUNC" in flags and inode.cache:
            self.disk.truncate(inode, 0, call.returned_s)
        process.files[call.result] = _Open(inode, "O_APPEND" in flags, bool(flags & {"O_SYNC", "O_DSYNC"}))

    def _close(self, call: Call, process: _Process) -> None:
        number, path = descriptor(call.arguments)
        file = process.files.pop(number, None)
        if file is not None and file.inode is not None and self._below(path) is not None:
            self.disk.closed(file.inode)

    def _dup(self, call: Call, process: _Process) -> None:
        assert call.result is not None
        file = self._file(call, process)
        if file is None:
            process.files.pop(call.result, None)
        else:
            process.files[call.result] = file

    def _fcntl(self, call: Call, process: _Process) -> None:
        if b"F_DUPFD" in call.arguments:
            self._dup(call, process)
        elif b"F_SETFL" in call.arguments:
            file = self._file(call, process)
            if file is not None:
                file.append = b"O_APPEND" in call.arguments

    def _lseek(self, call: Call, process: _Process) -> None:
        file = self._file(call, process)
        if file is not None and call.result is not None:
            file.offset = call.result

    def _read(self, call: Call, process: _Process) -> None:
        file = self._file(call, process)
        if file is not None and call.result is not None:
            file.offset += call.result

    # Contents.

    def _write(self, call: Call, process: _Process) -> None:
        file = self._file(call, process)
        if file is not None:
            file.offset = self._put(call, file, file.offset)

    def _write_at(self, call: Call, process: _Process) -> None:
        file = self._file(call, process)
        if file is None:
            return
        numbers = call.arguments.rpartition(b"]" if b"]" in call.arguments else b'"')[2].split(b", ")[2:]
        if int(numbers[0]) < 0 or b"RWF_APPEND" in numbers[-1]:
            raise TraceError(f"{call.name} without an offset is not followed")
        self._put(call, file, int(numbers[0]), sync=b"SYNC" in numbers[-1])

    def _put(self, call: Call, file: _Open, offset: int, *, sync: bool = False) -> int:
        """The offset behind what was written."""
        if file.inode is None:
            raise TraceError(f"{call.name} on a folder")
        data = b"".join(strings(call.arguments))[: call.result]
        if file.append:
            offset = len(file.inode.cache)
        self.disk.write(file.inode, offset, data, call.returned_s)
        if sync or file.sync:
            self.disk.sync_write(file.inode, offset, len(data))
        return offset + len(data)

    def _ftruncate(self, call: Call, process: _Process) -> None:
        file = self._file(call, process)
        if file is not None and file.inode is not None:
            self.disk.truncate(file.inode, _last(call), call.returned_s)

    def _truncate(self, call: Call, process: _Process) -> None:
        path = self._paths(call, process)[0]
        if path is not None:
            self.disk.truncate(self._inode(path), _last(call), call.returned_s)

    def _fallocate(self, call: Call, process: _Process) -> None:
        file = self._file(call, process)
        if file is None or file.inode is None:
            return
        mode, offset, size = call.arguments.split(b", ")[1:]
        if mode == b"0":
            end = int(offset) + int(size)
            if end > len(file.inode.cache):
                self.disk.truncate(file.inode, end, call.returned_s)
        elif mode != b"FALLOC_FL_KEEP_SIZE":
            raise TraceError(f"fallocate {mode!r} is not followed")

    def _mmap(self, call: Call, _: _Process) -> None:
        match = _MAPPED.search(call.arguments)
        if match is not None:
            path = self._below(os.fsdecode(plain(match[1])))
            if path is not None and not path.endswith(_MEMORY):
                raise TraceError(f"{path} is written through shared memory: that can't be seen")

    # Names.

    def _rename(self, call: Call, process: _Process) -> None:
        source, path = self._paths(call, process)
        if source is None and path is None:
            return
        if source is None or path is None or b"RENAME_EXCHANGE" in call.arguments:
            raise TraceError("a rename out of the folder, into it or across is not followed")
        self.disk.rename(source, path, call.returned_s)

    def _remove(self, call: Call, process: _Process) -> None:
        path = self._paths(call, process)[0]
        if path is not None:
            self.disk.remove(path, call.returned_s)

    def _link(self, call: Call, process: _Process) -> None:
        source, path = self._paths(call, process)
        if path is not None:
            if source is None:
                raise TraceError("a link into the folder is not followed")
            self.disk.make(path, self._inode(source), call.returned_s)

    def _mkdir(self, call: Call, process: _Process) -> None:
        path = self._paths(call, process)[0]
        if path is not None:
            self.disk.make(path, FOLDER, call.returned_s)

    def _chdir(self, call: Call, process: _Process) -> None:
        if call.name == "fchdir":
            process.cwd = descriptor(call.arguments)[1]
        else:
            process.cwd = os.path.join(process.cwd, os.fsdecode(strings(call.arguments)[0]))  # noqa: PTH118 - pure

    # Syncs.

    def _sync(self, call: Call, process: _Process) -> None:
        file = self._file(call, process)
        if file is not None:
            self.disk.sync(file.inode)

    def _sync_all(self, _: Call, __: _Process) -> None:
        self.disk.sync_all()

    def _sync_range(self, call: Call, process: _Process) -> None:
        # It writes pages, and neither lengths nor names.
        file = self._file(call, process)
        if file is not None and file.inode is not None:
            offset, size, flags = call.arguments.split(b", ")[1:]
            if b"WAIT_AFTER" in flags:
                file.inode.sync_pages(int(offset), int(size) or len(file.inode.cache), longer=False)


def _last(call: Call) -> int:
    return int(call.arguments.rsplit(b", ", 1)[1])
