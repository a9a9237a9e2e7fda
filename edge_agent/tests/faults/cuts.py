"""Layer: what a disk holds when the power goes: replays a recorder's log and makes images; pure but for its seed.

A file is the pages that the system holds for it and the bytes that are on the disk. A sync moves its changed pages to
the disk; a failed one forgets that they were changed, as Linux does: the system goes on showing what the disk never
got. At the cut of each changed page nothing, some 512-byte sectors or all of it have arrived.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cbor2

from edge_agent.tests.faults import recorder

PAGE, SECTOR = 4096, 512
NONE, SOME, ALL = 0, 1, 2  # how much of what was not synced has arrived
WRITEBACK = 0.01  # how often the system writes a page on its own


class File:
    """One file: `cache` is what programs see, `disk` what a cut leaves, `changed` the pages that differ by intent.

    gone: deleted, but the folder may not know yet. fresh: made, and not synced yet.
    """

    def __init__(self) -> None:
        self.cache = bytearray()
        self.disk = bytearray()
        self.changed: set[int] = set()
        self.gone = False
        self.fresh = True

    def write(self, offset: int, data: bytes) -> None:
        end = offset + len(data)
        if len(self.cache) < end:
            self.cache.extend(bytes(end - len(self.cache)))
        self.cache[offset:end] = data
        self.changed.update(range(offset // PAGE, (end + PAGE - 1) // PAGE))

    def found(self, data: bytes) -> None:
        """What a new process sees: where the last one was killed, a record may not have been done."""
        size = max(len(data), len(self.cache))
        for page in range((size + PAGE - 1) // PAGE):
            at = slice(page * PAGE, (page + 1) * PAGE)
            if data[at] != self.cache[at]:
                self.changed.add(page)
        self.cache = bytearray(data)

    def to_disk(self, page: int) -> None:
        _put(self.disk, page * PAGE, self.cache[page * PAGE : (page + 1) * PAGE])

    def sync(self) -> None:
        for page in self.changed:
            self.to_disk(page)
        self.changed.clear()
        del self.disk[len(self.cache) :]
        if len(self.disk) < len(self.cache):
            self.disk.extend(bytes(len(self.cache) - len(self.disk)))

    def image(self, style: int, rng: random.Random) -> bytes:
        """What a cut leaves just now."""
        left = bytearray(self.disk)
        for page in sorted(self.changed):
            for at in range(page * PAGE, (page + 1) * PAGE, SECTOR):
                if style == ALL or (style == SOME and rng.random() < 0.5):
                    _put(left, at, self.cache[at : at + SECTOR])
        if len(self.cache) < len(left) and (style == ALL or (style == SOME and rng.random() < 0.5)):
            del left[len(self.cache) :]
        return bytes(left)


def _put(target: bytearray, at: int, data: bytes | bytearray) -> None:
    if data:
        if len(target) < at:
            target.extend(bytes(at - len(target)))
        target[at : at + len(data)] = data


class Disk:
    """All files of one log, record by record; `promised`: device -> highest number that was promised so far."""

    def __init__(self, seed: int) -> None:
        self.files: dict[str, File] = {}
        self.promised: dict[int, int] = {}
        self.failed = 0
        self._rng = random.Random(seed)

    def take(self, record: list[Any]) -> None:
        what, *rest = record
        if what == recorder.PROMISE:
            device, seq = rest
            self.promised[device] = max(seq, self.promised.get(device, 0))
            return
        name, *values = rest
        file = self.files.get(name)
        if file is None or (file.gone and what != recorder.DELETE):
            file = self.files[name] = File()
        if what == recorder.WRITE:
            file.write(*values)
        elif what == recorder.TRUNCATE:
            size = values[0]
            if size < len(file.cache):
                del file.cache[size:]
                file.changed = {page for page in file.changed if page * PAGE < size}
            else:
                file.write(size, b"")
        elif what == recorder.FOUND:
            file.found(values[0])
        elif what == recorder.SYNC:
            file.sync()
            if file.fresh:  # the first sync of a journal or WAL goes to its folder, too: so SQLite does it
                file.fresh = False
                self.files = {name: each for name, each in self.files.items() if not each.gone}
        elif what == recorder.FAILED:
            self.failed += 1
            file.changed.clear()
        else:
            file.gone = True
        if file.changed and self._rng.random() < WRITEBACK:
            page = self._rng.choice(sorted(file.changed))
            file.to_disk(page)

    def image(self, folder: Path, style: int, rng: random.Random) -> None:
        """Writes what a cut leaves into an empty folder; a file that was just deleted may be back."""
        for name, file in self.files.items():
            if file.gone and (style != SOME or rng.random() < 0.5):
                continue
            (folder / name).write_bytes(file.image(style, rng))


def records(log: Path) -> Iterator[list[Any]]:
    """What a recorder wrote; ends before a record that a kill cut short."""
    with log.open("rb") as source:
        decoder = cbor2.CBORDecoder(source)
        while True:
            try:
                yield decoder.decode()
            except cbor2.CBORDecodeEOF:
                return
