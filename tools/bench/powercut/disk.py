"""Layer: what the disk under one folder holds after a power cut; pure but for its seed and the last step, image().

The rules are those of ext4 as Debian mounts it, in doubt to the good of the program that wrote:
- A file's contents are on the disk as far as a sync of it covered them: every write that had returned before the
  sync did. O_SYNC and O_DSYNC writes are synced as they are made.
- Names (made, renamed, removed) and a file made shorter are in a journal. Any sync of any file or folder that has
  returned took the journal to the disk up to there, and so does the system after COMMIT_S.
- A file that has been dirty for WRITEBACK_S is written by the system, all of it, with its length.
- A file renamed over another has its contents on the disk by then, and so has one that was emptied, when it is
  closed (auto_da_alloc). After the cut there is the old one or the new one.
- Of all the rest, at the cut: nothing (NONE), or by chance (SOME): single pages of what was overwritten, whole pages
  from the front of what was appended, entries of the journal from its front.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from edge_agent.tests.faults.cuts import NONE, PAGE, SOME, File

__all__ = ["COMMIT_S", "NONE", "SOME", "WRITEBACK_S", "Disk", "Inode"]

COMMIT_S = 5.0
WRITEBACK_S = 30.0


class Inode(File):
    """A file's contents: what programs see, and what is on the disk. since_s: dirty since then."""

    def __init__(self, data: bytes = b"") -> None:
        super().__init__()
        self.cache += data
        self.disk += data
        self.since_s: float | None = None
        self.emptied = False

    def write(self, offset: int, data: bytes) -> None:
        """Bytes; a gap before them is zeros from now on."""
        begin = min(len(self.cache), offset)
        super().write(offset, data)
        self.changed.update(range(begin // PAGE, (offset + len(data) + PAGE - 1) // PAGE))

    def sync_pages(self, offset: int, size: int, *, longer: bool) -> None:
        """These bytes' pages are on the disk; longer: those behind its end as well."""
        for page in range(offset // PAGE, (offset + size + PAGE - 1) // PAGE):
            if page in self.changed and (longer or page * PAGE < len(self.disk)):
                self.to_disk(page)
                self.changed.discard(page)

    def left(self, style: int, shorter: list[int], waiting: list[int], rng: random.Random) -> bytes:
        """After a cut. shorter: lengths cut to, in the journal that arrived; waiting: in that which did not."""
        left = bytearray(self.disk)
        for size in shorter:
            del left[size:]
        if style == NONE:
            return bytes(left)
        limit = min(waiting, default=len(self.cache))
        pages = [page for page in sorted(self.changed) if page * PAGE < limit]
        behind = [
            page
            for page in pages
            if (page + 1) * PAGE > len(left) and page * PAGE >= len(left) // PAGE * PAGE
        ]
        arrived = [page for page in pages if page not in behind and rng.random() < 0.5]
        arrived += behind[: rng.randrange(len(behind) + 1)]
        for page in arrived:
            at, data = page * PAGE, self.cache[page * PAGE : (page + 1) * PAGE]
            left.extend(bytes(max(at - len(left), 0)))
            left[at : at + len(data)] = data
        return bytes(left)


class _Entry(NamedTuple):
    """Of the journal. source: "" unless a rename; what: what stands at path from now on, None: nothing; an inode and
    a size >= 0: it is that short."""

    at_s: float
    path: str
    source: str
    what: Inode | str | None
    size: int


FOLDER = "folder"
Names = dict[str, "Inode | str"]


class Disk:
    """One folder: paths in it are relative, "" is itself. `names`: what programs see, `durable`: what a cut leaves."""

    def __init__(self, files: dict[str, bytes], folders: list[str]) -> None:
        self.names: Names = {"": FOLDER, **dict.fromkeys(folders, FOLDER)}
        self.names.update({path: Inode(data) for path, data in files.items()})
        self.durable: Names = dict(self.names)
        self._journal: list[_Entry] = []
        self._dirty: set[Inode] = set()

    @classmethod
    def of(cls, folder: Path) -> Disk:
        """As it stands, all of it durable."""
        files, folders = _walk(folder)
        return cls({path: (folder / path).read_bytes() for path in files}, folders)

    def pass_to(self, now_s: float) -> None:
        """What the system writes on its own until then."""
        for inode in [inode for inode in self._dirty if inode.since_s is not None]:
            if inode.since_s is not None and now_s - inode.since_s >= WRITEBACK_S:
                self._sync(inode)
        old = 0
        while old < len(self._journal) and now_s - self._journal[old].at_s >= COMMIT_S:
            old += 1
        self._commit(old)

    # What programs do.

    def make(self, path: str, what: Inode | str, now_s: float) -> None:
        """A new name."""
        self._note(_Entry(now_s, path, "", what, -1))

    def remove(self, path: str, now_s: float) -> None:
        """A name that goes."""
        self._note(_Entry(now_s, path, "", None, -1))

    def rename(self, source: str, path: str, now_s: float) -> None:
        """A name that changes, with all below it."""
        inode = self.names[source]
        if isinstance(inode, Inode) and path in self.names and path != source:
            self._sync(inode)
        self._note(_Entry(now_s, path, source, None, -1))

    def write(self, inode: Inode, offset: int, data: bytes, now_s: float) -> None:
        """Bytes of a file; no bytes: it gets that long."""
        inode.write(offset, data)
        self._touched(inode, now_s)

    def truncate(self, inode: Inode, size: int, now_s: float) -> None:
        """A file gets that long."""
        if size >= len(inode.cache):
            return self.write(inode, size, b"", now_s)
        del inode.cache[size:]
        inode.changed = {page for page in inode.changed if page * PAGE < size}
        inode.emptied = inode.emptied or size == 0
        self._note(_Entry(now_s, "", "", inode, size))
        return self._touched(inode, now_s)

    def closed(self, inode: Inode) -> None:
        """A descriptor of it is closed."""
        if inode.emptied:
            self._sync(inode)

    def sync(self, inode: Inode | None) -> None:
        """A sync of a file, or of a folder (None), has returned."""
        if inode is not None:
            self._sync(inode)
        self._commit(len(self._journal))

    def sync_write(self, inode: Inode, offset: int, size: int) -> None:
        """A write through O_SYNC or O_DSYNC has returned."""
        inode.sync_pages(offset, size, longer=True)
        self._commit(len(self._journal))

    def sync_all(self) -> None:
        """sync() or syncfs()."""
        for inode in list(self._dirty):
            self._sync(inode)
        self._commit(len(self._journal))

    # What is left.

    def left(self, style: int, rng: random.Random) -> tuple[list[str], dict[str, bytes]]:
        """After a cut at this moment: folders, and files with their contents."""
        arrived = rng.randrange(len(self._journal) + 1) if style == SOME else 0
        names = dict(self.durable)
        shorter: dict[int, list[int]] = {}
        waiting: dict[int, list[int]] = {}
        for number, entry in enumerate(self._journal):
            if isinstance(entry.what, Inode) and entry.size >= 0:
                sizes = shorter if number < arrived else waiting
                sizes.setdefault(id(entry.what), []).append(entry.size)
            elif number < arrived:
                _apply(names, entry)
        reached = {path: what for path, what in names.items() if _parents(path) <= names.keys()}
        files = {
            path: what.left(style, shorter.get(id(what), []), waiting.get(id(what), []), rng)
            for path, what in sorted(reached.items())
            if isinstance(what, Inode)
        }
        return sorted(path for path, what in reached.items() if what == FOLDER), files

    def image(self, folder: Path, style: int, rng: random.Random) -> None:
        """Writes what a cut leaves into a folder that is not there yet."""
        folders, files = self.left(style, rng)
        for path in folders:
            (folder / path).mkdir(parents=True, mode=0o700)
        for path, data in files.items():
            (folder / path).touch(mode=0o600)
            (folder / path).write_bytes(data)

    def differs(self, folder: Path) -> list[str]:
        """Where the real folder is not what this thinks that programs see."""
        files, folders = _walk(folder)
        mine = {path for path, what in self.names.items() if what != FOLDER}
        wrong = mine ^ set(files) | ({path for path in self.names if path} - mine) ^ set(folders)
        for path in mine & set(files):
            inode = self.names[path]
            if isinstance(inode, Inode) and bytes(inode.cache) != (folder / path).read_bytes():
                wrong.add(path)
        return sorted(wrong)

    def _touched(self, inode: Inode, now_s: float) -> None:
        self._dirty.add(inode)
        if inode.since_s is None:
            inode.since_s = now_s

    def _note(self, entry: _Entry) -> None:
        self._journal.append(entry)
        if entry.size < 0:
            _apply(self.names, entry)

    def _sync(self, inode: Inode) -> None:
        inode.sync()
        inode.since_s = None
        inode.emptied = False
        self._dirty.discard(inode)
        self._journal = [entry for entry in self._journal if entry.what is not inode or entry.size < 0]

    def _commit(self, count: int) -> None:
        for entry in self._journal[:count]:
            if isinstance(entry.what, Inode) and entry.size >= 0:
                del entry.what.disk[entry.size :]
            else:
                _apply(self.durable, entry)
        del self._journal[:count]


def _apply(names: Names, entry: _Entry) -> None:
    if entry.source:
        for path in [each for each in names if each == entry.source or each.startswith(entry.source + "/")]:
            names[entry.path + path[len(entry.source) :]] = names.pop(path)
    elif entry.what is None:
        names.pop(entry.path, None)
    else:
        names[entry.path] = entry.what


def _parents(path: str) -> set[str]:
    parts = path.split("/")
    return {"/".join(parts[:count]) for count in range(len(parts))} if path else set()


def _walk(folder: Path) -> tuple[list[str], list[str]]:
    def below() -> Iterator[tuple[str, bool]]:
        for place in folder.rglob("*"):
            yield str(place.relative_to(folder)), place.is_dir()

    found = list(below())
    return [path for path, is_folder in found if not is_folder], [
        path for path, is_folder in found if is_folder
    ]
