# The update part of the node: every refusal with its reason, order of chunks, resuming, trial and rollback,
# disk full. Plain functions on the interpreter's own file system; test_update_vm.py runs them in real
# MicroPython too.

import boot

from firmware.tests import update_device as device
from firmware.tests.update_device import blank, install
from gatelink import manifest
from node import update as up


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


def test_the_manifest_says_done_only_for_a_whole_version():
    signed = device.SIGNED["v2"] + bytes(900 - len(device.SIGNED["v2"]))
    fs = blank()
    update = device.make(fs, boot.FACTORY)
    device.settle(update)
    assert update.handle("manifest", 900, 512, signed[512:]) == up.NOT_YET
    assert (update.reason, update.detail) == (up.WANT, "manifest 0")
    assert update.handle("manifest", 900, 512, signed[512:]) == up.NOT_YET
    # Another length is another manifest.
    assert update.handle("manifest", 901, 0, signed[:512]) == up.NOT_YET
    assert update.detail == "manifest 512"
    assert update.handle("manifest", 900, 0, signed[:512]) == up.NOT_YET
    assert update.handle("manifest", 900, 512, signed[512:]) == up.NOT_YET
    assert update.reason == up.BUSY
    device.settle(update)
    assert update.handle("manifest", 900, 0, signed[:512]) == up.REFUSED
    assert update.reason == "trailing"
    update = device.make(fs, boot.FACTORY)
    device.settle(update)
    signed = device.SIGNED["v2"]
    contents = device.files("1.1.0")
    contents["manifest"] = signed
    for name in ["manifest"] + sorted(device.SIZES):
        for chunk in device.cut_up(name, contents[name]):
            update.handle(*chunk)
            device.settle(update)
    assert update.handle(*device.cut_up("manifest", signed)[0]) == up.DONE
    # What it says to the same question once the version runs.
    assert update.install()
    update = device.make(fs, boot.select(fs).slot)
    update.self_test_passed()
    assert update.confirm()
    device.settle(update)
    assert device.offer(update, signed) == up.REFUSED
    assert update.reason == up.ALREADY


def test_nonsense_does_nothing():
    fs = blank()
    install(fs, "v1")
    update = device.make(fs, "a")
    device.settle(update)
    device.offer(update, device.SIGNED["v2"])
    state = 1
    for _ in range(600):
        picks = []
        for top in (6, 7, 7, 7, 4):
            state = (state * 1103515245 + 12345) & 0x7FFFFFFF
            picks.append((state >> 8) % top)
        name = ("manifest", "node/journal.mpy", "node/uplink.mpy", "", "boot.slot", "a/../b")[picks[0]]
        total = (-1, 0, 1, 700, 1024, 2700, 1 << 40)[picks[1]]
        offset = (-512, 0, 1, 512, 1024, 2560, 1 << 40)[picks[2]]
        size = (0, 1, 140, 188, 511, 512, 513)[picks[3]]
        code = update.handle(name, total, offset, bytes([picks[4]]) * size)
        assert code in (up.DONE, up.REFUSED, up.NOT_YET)
        if not picks[4]:
            device.settle(update)
        assert not update.install()
    assert (boot.select(fs).slot, boot.select(fs).tries) == ("a", boot.CONFIRMED)
    assert device.whole(fs, "a") == device.SIGNED["v1"]
    # And the good version still gets through, past all the wrong bytes that were taken for its files.
    assert device.send(update, device.SIGNED["v2"], device.files("1.1.0"))


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
