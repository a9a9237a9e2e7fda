# Layer: fills one application slot from chunks that come in any order, and goes on after a power cut. Chunks
# are appended to a log in the order of their arrival and copied into the slot once all are there: littlefs
# appends at a bounded price, writing into the middle of a file is not bounded. Generators yield after each
# bounded step.
import hashlib
from array import array

import boot

try:
    from typing import Any, Generator, Iterator
except ImportError:
    pass

LOG = "/update.log"
# Chunks lie on a grid: an offset is a multiple of this, and only the last chunk of a file is shorter.
CHUNK = 512

# A record of the log: chunk number u16, then the chunk, padded. Its place is its number of arrival.
_RECORD = CHUNK + 2
_NONE = 0xFFFF
# Every so many records the log is made durable: about one flash block.
_SYNC_EVERY = 8
_READ = 1024


def chunks(size: int) -> int:
    return (size + CHUNK - 1) // CHUNK


class Stage:
    # files: name -> (size, sha256); target, running: folders of the slots; signed: the manifest's bytes
    def __init__(
        self, fs: "Any", files: "dict[str, tuple[int, bytes]]", signed: bytes, target: str, running: str
    ) -> None:
        self._fs = fs
        self.files = files
        self.signed = signed
        self._base = target + "/"
        self._running = running + "/"
        self._names = sorted(files)
        self._held = set()  # type: set[str]
        self._first = {}  # type: dict[str, int]
        # Where in the log each chunk is.
        self._index = array("H")
        self._missing = 0
        self._records = 0
        self._log = None  # type: Any

    # Takes what is already there: files of this slot, equal files of the version that runs, chunks of the
    # log.
    def prepare(self) -> "Iterator[None]":
        count = 0
        for name in self._names:
            self._first[name] = count
            count += chunks(self.files[name][0])
            yield
        self._index = array("H", b"\xff\xff" * count)
        yield from self._sweep()
        for name in self._names:
            ours = self._running + name
            if (yield from self._matches(self._base + name, name)):
                self._held.add(name)
            elif (yield from self._matches(ours, name)):
                yield from self._write(name, self._read(ours))
                if (yield from self._matches(self._base + name, name)):
                    self._held.add(name)
        yield from self._scan()
        self._missing = 0
        for name in self._names:
            if name not in self._held:
                for number in range(self._first[name], self._first[name] + chunks(self.files[name][0])):
                    if self._index[number] == _NONE:
                        self._missing += 1
            yield

    # Keeps one chunk -> whether it was the last one that was missing. Raises OSError.
    def keep(self, name: str, offset: int, data: bytes) -> bool:
        number = self._first[name] + offset // CHUNK
        if name in self._held or self._index[number] != _NONE:
            return False
        if self._log is None:
            self._log = self._fs.open(LOG, "ab")
        self._log.write(number.to_bytes(2, "big") + data + bytes(CHUNK - len(data)))
        self._index[number] = self._records
        self._records += 1
        self._missing -= 1
        if not self._missing:
            self.close()
            return True
        if not self._records % _SYNC_EVERY:
            self._log.flush()
        return False

    def complete(self) -> bool:
        return not self._missing

    # -> "name offset" of the first chunk that is not here, "" when there is none
    def wanted(self) -> str:
        if self._missing:
            for name in self._names:
                if name not in self._held:
                    for i in range(chunks(self.files[name][0])):
                        if self._index[self._first[name] + i] == _NONE:
                            return name + " " + str(i * CHUNK)
        return ""

    # With all chunks here: from the log into the slot, read back and checked; the slot's manifest last.
    # Yields None, at last "" or the name of the file that is not what was signed: it has to come again.
    def assemble(self) -> "Iterator[Any]":
        for name in self._names:
            if name in self._held:
                continue
            yield from self._write(name, self._from_log(name))
            if not (yield from self._matches(self._base + name, name)):
                # Which chunk is wrong can't be known: all that is not yet in the slot comes again.
                self._fs.remove(self._base + name)
                self._restart()
                yield name
                return
            self._held.add(name)
        remove(self._fs, LOG)
        yield None
        save(self._fs, self._base + "manifest", self.signed)
        yield ""

    def close(self) -> None:
        if self._log is not None:
            log = self._log
            self._log = None
            log.close()

    def _restart(self) -> None:
        remove(self._fs, LOG)
        self._records = 0
        self._missing = 0
        for name in self._names:
            if name not in self._held:
                for number in range(self._first[name], self._first[name] + chunks(self.files[name][0])):
                    self._index[number] = _NONE
                    self._missing += 1

    # Empties the slot of all that does not belong there; its manifest first, for it says "complete".
    def _sweep(self) -> "Iterator[None]":
        base = self._base
        if not boot.exists(self._fs, base[:-1]):
            self._fs.mkdir(base[:-1])
        remove(self._fs, base + "manifest")
        folders = [""]
        while folders:
            folder = folders.pop()
            yield
            for name in self._fs.listdir((base + folder)[:-1]):
                name = folder + name
                if self._fs.stat(base + name)[0] & 0x4000:
                    folders.append(name + "/")
                elif name not in self.files:
                    self._fs.remove(base + name)
                yield

    # Finds the chunks that the log holds from before a power cut.
    def _scan(self) -> "Iterator[None]":
        if not boot.exists(self._fs, LOG):
            return
        count, odd = divmod(self._fs.stat(LOG)[6], _RECORD)
        if not odd and count < _NONE:
            with self._fs.open(LOG, "rb") as log:
                for place in range(count):
                    log.seek(place * _RECORD)
                    number = int.from_bytes(log.read(2), "big")
                    if number >= len(self._index):
                        odd = 1
                        break
                    self._index[number] = place
                    if not place % _SYNC_EVERY:
                        yield
        self._records = count
        if odd:
            self._restart()

    # -> whether the file is there with the size and the hash of the manifest
    def _matches(self, path: str, name: str) -> "Generator[None, None, bool]":
        size, digest = self.files[name]
        yield
        try:
            if self._fs.stat(path)[6] != size:
                return False
        except OSError:
            return False
        found = hashlib.sha256()
        for data in self._read(path):
            found.update(data)
            yield
        return bool(found.digest() == digest)

    def _read(self, path: str) -> "Generator[bytes, None, None]":
        with self._fs.open(path, "rb") as file:
            while True:
                data = file.read(_READ)
                if not data:
                    return
                yield data

    def _from_log(self, name: str) -> "Generator[bytes, None, None]":
        left = self.files[name][0]
        with self._fs.open(LOG, "rb") as log:
            for i in range(chunks(left)):
                log.seek(self._index[self._first[name] + i] * _RECORD + 2)
                yield log.read(min(left, CHUNK))
                left -= CHUNK

    def _write(self, name: str, blocks: "Generator[bytes, None, None]") -> "Iterator[None]":
        path = self._base + name
        at = path.find("/", 1)
        while at > 0:
            if not boot.exists(self._fs, path[:at]):
                self._fs.mkdir(path[:at])
                yield
            at = path.find("/", at + 1)
        try:
            with self._fs.open(path, "wb") as file:
                for data in blocks:
                    file.write(data)
                    yield
        finally:
            blocks.close()  # its file must not stay open when ours fails


def remove(fs: "Any", path: str) -> None:
    if boot.exists(fs, path):
        fs.remove(path)


# Whole or not at all.
def save(fs: "Any", path: str, data: bytes) -> None:
    with fs.open(path + ".new", "wb") as file:
        file.write(data)
    fs.sync()
    fs.rename(path + ".new", path)
    fs.sync()


# -> at most `most` bytes, b"" where there is no file
def load(fs: "Any", path: str, most: int) -> bytes:
    if not boot.exists(fs, path):
        return b""
    with fs.open(path, "rb") as file:
        return bytes(file.read(most))
