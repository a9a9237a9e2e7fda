# Layer: /boot.py in the root of the device: picks the application slot. It is written over USB only and is
# never part of an update, so it stays small and knows nothing but the record below; see UPDATES.md.
#   /boot.slot = "gp1 slot back tries seq low floor failed crc32", replaced by renaming /boot.new onto it
import binascii
import os
import sys
from collections import namedtuple

try:
    from typing import Any, Optional
except ImportError:
    pass

RECORD = "/boot.slot"
NEW = "/boot.new"
TRIES = 3
CONFIRMED = 9
FACTORY = "-"  # no slot: what was flashed over USB into /lib
# A version on trial that hangs is reset after this time; node.update feeds it.
WATCHDOG_MS = 60000

# slot: what runs, "a", "b" or "-"; back: what runs again when the trial fails; tries: 0..3 left on trial, 9
# when confirmed; seq, low: of the version in slot, its number and its min_seq; floor: nothing older is
# accepted; failed: seq that was rolled back, 0 for none
Record = namedtuple("Record", ("slot", "back", "tries", "seq", "low", "floor", "failed"))


# The file system as boot and node.update use it; tests put others in its place. root: prefix of every path.
class Files:
    def __init__(self, root: str = "") -> None:
        self._root = root

    def open(self, path: str, mode: str) -> "Any":
        return open(self._root + path, mode)

    def rename(self, old: str, new: str) -> None:
        os.rename(self._root + old, self._root + new)

    def remove(self, path: str) -> None:
        os.remove(self._root + path)

    # -> as os.stat: [0] mode, [6] size in bytes
    def stat(self, path: str) -> "Any":
        return os.stat(self._root + path)

    def listdir(self, path: str) -> "list[str]":
        return os.listdir(self._root + path)

    def mkdir(self, path: str) -> None:
        os.mkdir(self._root + path)

    def sync(self) -> None:
        if hasattr(os, "sync"):
            os.sync()


def exists(fs: "Any", path: str) -> bool:
    try:
        fs.stat(path)
    except OSError:
        return False
    return True


# -> None where there is no record, or none that can be read
def read(fs: "Any") -> "Optional[Record]":
    try:
        with fs.open(RECORD, "rb") as file:
            line = bytes(file.read(128))
        words = line.decode().split(" ")
        crc = binascii.crc32(line[: line.rfind(b" ")])
        if len(words) != 9 or words[0] != "gp1" or int(words[8], 16) != crc:
            return None
        return Record(words[1], words[2], *[int(word) for word in words[3:8]])
    except (OSError, ValueError):
        return None


# Durable when it returns: the rename is the only commit. Raises OSError, and then the old record stands.
def write(fs: "Any", record: "Record") -> None:
    line = ("gp1 " + " ".join([str(value) for value in record])).encode()
    with fs.open(NEW, "wb") as file:
        file.write(line + b" %08x" % binascii.crc32(line))
    fs.sync()
    fs.rename(NEW, RECORD)
    fs.sync()


def confirmed(slot: str) -> "Record":
    return Record(slot, slot, CONFIRMED, 0, 0, 0, 0)


# -> the record after a trial that failed
def rolled_back(record: "Record") -> "Record":
    return Record(record.back, record.back, CONFIRMED, 0, 0, record.floor, record.seq)


# Decides what runs in this boot, and counts the try.
def select(fs: "Any") -> "Record":
    record = read(fs)
    if record is None and exists(fs, RECORD):
        # Only decayed flash comes here. A slot has its manifest only while all of its files are there and
        # checked.
        for slot in ("a", "b"):
            if exists(fs, "/" + slot + "/manifest"):
                return confirmed(slot)
    if record is None:
        return confirmed(FACTORY)
    if record.tries == CONFIRMED:
        return record
    back = rolled_back(record)
    try:
        if record.tries > 0:
            record = Record(record.slot, record.back, record.tries - 1, *record[3:])
            write(fs, record)
            return record
        if exists(fs, "/" + record.slot + "/manifest"):
            fs.remove("/" + record.slot + "/manifest")
        write(fs, back)
    except OSError:
        # A try that can't be counted must not run: the old version serves this boot, the record stays.
        pass
    return back


# -> where the files of a slot are
def base(slot: str) -> str:
    return "/lib" if slot == FACTORY else "/" + slot


# -> the slot whose code runs now
def running() -> str:
    return sys.path[0][1:] if sys.path and sys.path[0] in ("/a", "/b") else FACTORY


# What /main.py calls with the main module of the role: nobody is there to restart a device that stopped.
# Ctrl-C on the USB console is no Exception and leaves to the prompt.
def run(name: str) -> None:
    import machine

    try:
        __import__(name)
    except Exception as error:  # noqa: BLE001 - whatever ends the program, the answer is the same
        sys.print_exception(error)
    machine.reset()


def _start() -> None:
    record = select(Files())
    if record.slot != FACTORY:
        # The whole application comes from one slot: no module of another version may fill a hole.
        sys.path[:] = [base(record.slot)] + [folder for folder in sys.path if folder != "/lib"]
    if record.tries != CONFIRMED:
        from machine import WDT

        WDT(timeout=WATCHDOG_MS)


if __name__ == "__main__":
    _start()
