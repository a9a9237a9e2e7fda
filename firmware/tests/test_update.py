# The update part of the node: every refusal with its reason, order of chunks, resuming, trial and rollback,
# disk full. Plain functions on the interpreter's own file system; test_update_vm.py runs them in real
# MicroPython too.
import os
import sys

import boot

from firmware.tests import update_device as device
from gatelink import manifest
from node import update as up

_HERE = __file__.replace("\\", "/").rsplit("/", 3)[0]
# In MicroPython's VM only /tmp is free to write; the host's build folder is git-ignored.
_ROOT = "/tmp" if sys.implementation.name == "micropython" else _HERE + "/build"
_COUNT = [0]


# Syncing the host's disks proves nothing here and holds up everybody on it.
class Files(boot.Files):
    def sync(self):
        pass


# A new, empty "flash".
def blank():
    _COUNT[0] += 1
    for folder in (_ROOT, _ROOT + "/update_tests"):
        try:
            os.mkdir(folder)
        except OSError:
            pass
    root = _ROOT + "/update_tests/" + str(_COUNT[0])
    device.wipe(root)
    os.mkdir(root)
    return Files(root)


# Takes version `name` from the start to its confirmation, as the selector and the node do it.
def install(fs, name):
    update = device.make(fs, boot.select(fs).slot)
    device.settle(update)
    assert device.send(update, device.SIGNED[name], device.files(device.VERS[name])), update.reason
    assert update.install()
    record = boot.select(fs)
    assert record.tries == 2
    assert device.whole(fs, record.slot) == device.SIGNED[name]
    update = device.make(fs, record.slot)
    update.self_test_passed()
    assert update.confirm()
    device.settle(update)
    return update


# Every other one, backwards, twice.
def jumbled(chunks):
    return list(reversed(chunks))[::2] + chunks[:3] + chunks[::2] + chunks[1::2]


def reason_of(name, **settings):
    fs = blank()
    if settings.pop("after", None):
        install(fs, "v2")
    update = device.make(fs, boot.select(fs).slot, **settings)
    device.settle(update)
    code = device.offer(update, device.SIGNED[name])
    found = update.reason
    assert code in (up.REFUSED, up.NOT_YET), name
    if code == up.REFUSED:
        # Files of a refused manifest go nowhere.
        assert update.handle("node/uplink.mpy", 1024, 0, bytes(512)) == up.REFUSED
        assert update.reason == found
        assert not boot.exists(fs, up.LOG)
        assert not boot.exists(fs, up.STAGED)
    return found


def test_slots_take_turns():
    fs = blank()
    assert boot.select(fs) == boot.confirmed(boot.FACTORY)
    install(fs, "v1")
    assert boot.select(fs).slot == "a"
    install(fs, "v2")
    assert boot.select(fs).slot == "b"
    install(fs, "v3")
    record = boot.select(fs)
    assert (record.slot, record.tries, record.seq, record.floor) == ("a", boot.CONFIRMED, 6, 5)
    assert sorted(fs.listdir("/")) == ["a", "b", "boot.slot"]


def test_each_refusal_has_its_reason():
    assert reason_of("v2") == up.WANT
    assert reason_of("bad signature") == manifest.BAD_SIGNATURE
    assert reason_of("another key") == manifest.UNKNOWN_KEY
    assert reason_of("unknown field") == manifest.UNKNOWN_FIELD
    assert reason_of("wrong model") == up.WRONG_MODEL
    assert reason_of("v2", model="barrier") == up.WRONG_MODEL
    assert reason_of("wrong mpy_abi") == up.WRONG_ABI
    assert reason_of("v2", mpy_abi=7) == up.WRONG_ABI
    assert reason_of("expired") == up.EXPIRED
    assert reason_of("older than min_seq", after=True) == up.TOO_OLD
    assert reason_of("v2", after=True) == up.ALREADY
    # Older than what runs, but not than its min_seq: a deliberate step back.
    assert reason_of("v1", after=True) == up.WANT


def test_without_trusted_time_nothing_expires_until_it_is_known():
    assert reason_of("expired", now_s=None) == up.WANT
    fs = blank()
    now = [None]
    update = up.Update(fs, device.KEYS, "patrol_tag", 6, lambda: now[0], boot.FACTORY)
    device.settle(update)
    assert device.send(update, device.SIGNED["v2"], device.files("1.1.0"))
    now[0] = 1900000001
    assert not update.install()
    assert update.reason == up.EXPIRED
    now[0] = 1900000000
    assert update.install()


def test_files_come_before_their_manifest():
    update = device.make(blank(), boot.FACTORY)
    assert update.handle("node/uplink.mpy", 1024, 0, bytes(512)) == up.NOT_YET  # it still looks at its disk
    device.settle(update)
    assert update.handle("node/uplink.mpy", 1024, 0, bytes(512)) == up.REFUSED
    assert update.reason == up.NO_MANIFEST


def test_chunks_that_fit_nowhere():
    update = device.make(blank(), boot.FACTORY)
    device.settle(update)
    assert device.offer(update, device.SIGNED["v2"]) == up.NOT_YET
    assert update.detail == "gatelink/cbor.mpy 0"
    for total, offset, size, why in (
        (1024, 1, 512, up.BAD_CHUNK),
        (1024, 0, 511, up.BAD_CHUNK),
        (1024, 512, 513, up.BAD_CHUNK),
        (1024, 1024, 0, up.BAD_CHUNK),
        (1024, -512, 512, up.BAD_CHUNK),
        (0, 0, 0, up.BAD_CHUNK),
        (1025, 0, 512, up.BAD_SIZE),
        (512, 0, 512, up.BAD_SIZE),
    ):
        assert update.handle("node/uplink.mpy", total, offset, bytes(size)) == up.REFUSED
        assert update.reason == why, (total, offset, size)
    for name in ("node/other.mpy", "../boot.slot", "/a/node/uplink.mpy", "", "boot.slot"):
        assert update.handle(name, 1024, 0, bytes(512)) == up.REFUSED
        assert update.reason == up.UNKNOWN_FILE
    assert update.handle("manifest", 6145, 0, bytes(512)) == up.REFUSED
    assert update.reason == up.TOO_LONG


def test_chunks_in_any_order_and_repeated():
    fs = blank()
    update = device.make(fs, boot.FACTORY)
    device.settle(update)
    assert device.send(update, device.SIGNED["v2"], device.files("1.1.0"), jumbled)
    assert device.whole(fs, "a") == device.SIGNED["v2"]
    assert not boot.exists(fs, up.LOG)
    assert not boot.exists(fs, "/boot.slot")


def test_goes_on_after_a_restart_at_every_chunk():
    fs = blank()
    chunks = []
    for name, data in device.files("1.1.0").items():
        chunks += device.cut_up(name, data)
    update = device.make(fs, boot.FACTORY)
    device.settle(update)
    device.offer(update, device.SIGNED["v2"])
    for chunk in chunks:
        assert update.handle(*chunk) == up.DONE
        update._stage.close()  # what the flash holds after a sync; losing more is the power cuts' test
        again = device.make(fs, boot.FACTORY)
        device.settle(again)
        assert again.handle(*chunk) in (up.DONE, up.NOT_YET)
        update = again
    device.settle(update)
    assert update.state == up.READY
    assert device.whole(fs, "a") == device.SIGNED["v2"]


def test_bit_flipped_and_truncated_files_come_again():
    for spoil in (
        lambda data: bytes([data[0] ^ 1]) + data[1:],
        lambda data: data[:-1] + bytes([data[-1] ^ 128]),
    ):
        fs = blank()
        update = device.make(fs, boot.FACTORY)
        device.settle(update)
        good = device.files("1.1.0")
        bad = dict(good)
        bad["node/journal.mpy"] = spoil(good["node/journal.mpy"])
        code = device.offer(update, device.SIGNED["v2"])
        for name, data in bad.items():
            for chunk in device.cut_up(name, data):
                update.handle(*chunk)
        device.settle(update)
        assert update.fault == up.BAD_FILE + " node/journal.mpy"
        assert update.state == up.RECEIVING
        assert not update.install()
        assert not boot.exists(fs, "/a/manifest")
        assert not boot.exists(fs, "/a/node/journal.mpy")
        assert code == up.NOT_YET
        # The file before it in the list was right and is kept; the rest is asked for.
        assert device.send(update, device.SIGNED["v2"], good)
    # A file that lost its end on the disk is found when the version is looked at again.
    with fs.open("/a/node/journal.mpy", "wb") as file:
        file.write(good["node/journal.mpy"][:-1])
    update = device.make(fs, boot.FACTORY)
    device.settle(update)
    assert update.handle(*device.cut_up("manifest", device.SIGNED["v2"])[0]) == up.NOT_YET
    assert (update.reason, update.detail) == (up.WANT, "node/journal.mpy 0")


def test_equal_files_are_taken_from_the_version_that_runs():
    fs = blank()
    install(fs, "v2")
    update = device.make(fs, "a")
    device.settle(update)
    signed = device.SIGNED["v2 with one file changed"]
    assert device.offer(update, signed) == up.NOT_YET
    assert update.detail == "node/uplink.mpy 0"
    changed = {"node/uplink.mpy": device.content("1.4.0", "node/uplink.mpy", 1024)}
    assert device.send(update, signed, changed)
    assert device.whole(fs, "b") == signed


def test_a_newer_manifest_takes_over_and_a_refused_one_does_not():
    fs = blank()
    update = device.make(fs, boot.FACTORY)
    device.settle(update)
    device.offer(update, device.SIGNED["v1"])
    for chunk in device.cut_up("node/journal.mpy", device.files("1.0.0")["node/journal.mpy"]):
        assert update.handle(*chunk) == up.DONE
    assert device.offer(update, device.SIGNED["bad signature"]) == up.REFUSED
    assert device.offer(update, device.SIGNED["v1"]) == up.NOT_YET
    assert update.detail == "gatelink/cbor.mpy 0"
    assert device.send(update, device.SIGNED["v1"], device.files("1.0.0"))
    assert device.send(update, device.SIGNED["v2"], device.files("1.1.0"))
    assert device.whole(fs, "a") == device.SIGNED["v2"]


def test_three_tries_then_the_old_version():
    fs = blank()
    install(fs, "v1")
    update = device.make(fs, "a")
    device.settle(update)
    assert device.send(update, device.SIGNED["v2"], device.files("1.1.0"))
    assert update.install()
    assert update.handle("node/uplink.mpy", 1024, 0, bytes(512)) == up.NOT_YET
    assert [boot.select(fs).slot for _ in range(6)] == ["b", "b", "b", "a", "a", "a"]
    record = boot.select(fs)
    assert (record.tries, record.failed) == (boot.CONFIRMED, 5)
    update = device.make(fs, "a")
    device.settle(update)
    assert device.offer(update, device.SIGNED["v2"]) == up.REFUSED
    assert update.reason == up.ROLLED_BACK
    install(fs, "v3")


def test_confirmation_needs_the_self_test():
    fs = blank()
    update = device.make(fs, boot.FACTORY)
    device.settle(update)
    assert not update.confirm()
    assert device.send(update, device.SIGNED["v2"], device.files("1.1.0"))
    assert update.install()
    update = device.make(fs, boot.select(fs).slot)
    assert update.on_trial
    assert update.handle("manifest", 1, 0, b"x") == up.REFUSED
    assert update.reason == up.ON_TRIAL
    assert not update.confirm()
    assert not update.overdue(up.CONFIRM_MS)
    assert update.overdue(up.CONFIRM_MS + 1)
    update.self_test_passed()
    assert update.confirm()
    assert not update.confirm()
    assert not update.overdue(up.CONFIRM_MS + 1)
    assert [boot.select(fs).tries for _ in range(5)] == [boot.CONFIRMED] * 5


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
