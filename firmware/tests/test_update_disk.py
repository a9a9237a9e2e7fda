# Updates on a disk that is full or decays. Runs on both interpreters, like test_update.py.
import boot

from firmware.tests import update_device as device
from firmware.tests.update_device import Files, blank, install
from node import update as up


# The file system of a device, with so many bytes left.
class Tight(Files):
    def __init__(self, fs, room):
        super().__init__(fs._root)
        self.room = room

    def open(self, path, mode):
        file = super().open(path, mode)
        return file if mode == "rb" else Counting(self, file)


class Counting:
    def __init__(self, fs, file):
        self.fs = fs
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, data):
        self.fs.room -= len(data)
        if self.fs.room < 0:
            raise OSError(28)
        return self.file.write(data)

    def flush(self):
        self.file.flush()

    def close(self):
        self.file.close()


def test_disk_full_at_every_point():
    fs = blank()
    install(fs, "v1")
    seen = 0
    room = 0
    while True:
        tight = Tight(fs, room)
        update = device.make(tight, "a")
        device.settle(update)
        if device.send(update, device.SIGNED["v2"], device.files("1.1.0")) and update.install():
            break
        assert update.fault == up.DISK_FULL
        seen += 1
        # Nothing changed for the selector. Only a version that is complete keeps its place and waits.
        assert (boot.select(fs).slot, boot.select(fs).tries) == ("a", boot.CONFIRMED)
        assert not boot.exists(fs, up.LOG)
        assert update.state == up.READY or not boot.exists(fs, up.STAGED)
        room += 401
    assert seen > 20
    assert boot.select(fs).slot == "b"


def test_disk_full_on_trial():
    fs = blank()
    install(fs, "v1")
    update = device.make(fs, "a")
    device.settle(update)
    assert device.send(update, device.SIGNED["v2"], device.files("1.1.0"))
    assert update.install()
    full = Tight(fs, 0)
    # A try that can't be counted is not made.
    assert boot.select(full).slot == "a"
    update = device.make(full, "a")
    assert update.on_trial
    assert not update.overdue(up.CONFIRM_MS + 1)
    assert not update.confirm()
    full.room = 1000
    # Room again: what the selector could not write down is written now.
    assert update.confirm()
    record = boot.select(fs)
    assert (record.slot, record.tries, record.failed) == ("a", boot.CONFIRMED, 5)


def test_confirmation_waits_for_room():
    fs = blank()
    update = device.make(fs, boot.FACTORY)
    device.settle(update)
    assert device.send(update, device.SIGNED["v2"], device.files("1.1.0"))
    assert update.install()
    full = Tight(fs, 1000)
    update = device.make(full, boot.select(fs).slot)
    update.self_test_passed()
    full.room = 0
    assert not update.confirm()
    assert update.fault == up.DISK_FULL
    full.room = 1000
    assert update.confirm()


def test_a_decayed_record():
    fs = blank()
    install(fs, "v1")
    line = device.read(fs, boot.RECORD)
    assert boot.read(fs).slot == "a"
    for at in range(len(line)):
        with fs.open(boot.RECORD, "wb") as file:
            file.write(line[:at] + bytes([line[at] ^ 1]) + line[at + 1 :])
        assert boot.read(fs) is None, at
        assert boot.select(fs) == boot.confirmed("a")
    for broken in (b"", b"\xff" * 40, line[:-1], line + b"0", b"gp1 a a 9 1 1 1 0 zz"):
        with fs.open(boot.RECORD, "wb") as file:
            file.write(broken)
        assert boot.select(fs) == boot.confirmed("a"), broken
