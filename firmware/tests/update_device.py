# A device as an update sees it: boots through the selector, runs what lies in the slot, takes a version from
# a sender that sends its chunks in any order. For both interpreters.
import hashlib
import os
import sys
from binascii import unhexlify

import boot

from gatelink import manifest
from node import update as up
from protocol.tests import vectors

_HERE = __file__.replace("\\", "/").rsplit("/", 3)[0]
# In MicroPython's VM only /tmp is free to write; the host's build folder is git-ignored.
_ROOT = "/tmp" if sys.implementation.name == "micropython" else _HERE + "/build"
_COUNT = [0]


_FOUND = vectors.load("valid/manifest_update")
PUBLIC = unhexlify(_FOUND["public_key"])
KEYS = {manifest.kid(PUBLIC): PUBLIC}
SIZES = _FOUND["sizes"]
SIGNED = {row["name"]: unhexlify(row["signed"]) for row in _FOUND["vectors"]}
VERS = {"v1": "1.0.0", "v2": "1.1.0", "v3": "1.2.0"}
NOW_S = 1800000000
_READ = {}


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
    wipe(root)
    os.mkdir(root)
    return Files(root)


def content(ver, name, size):
    found = b""
    count = 0
    while len(found) < size:
        found += hashlib.sha256((ver + " " + name + " " + str(count)).encode()).digest()
        count += 1
    return found[:size]


def files(ver):
    return {name: content(ver, name, SIZES[name]) for name in SIZES}


def wipe(path):
    try:
        names = os.listdir(path)
    except OSError:
        return
    for name in names:
        name = path + "/" + name
        if os.stat(name)[0] & 0x4000:
            wipe(name)
        else:
            os.remove(name)
    os.rmdir(path)


def read(fs, path):
    with fs.open(path, "rb") as file:
        return bytes(file.read(100000))


# What a slot holds when it is whole -> its manifest's bytes; AssertionError when it is not: a brick.
def whole(fs, slot):
    signed = read(fs, "/" + slot + "/manifest")
    if signed not in _READ:
        _READ[signed] = manifest.verify(signed, KEYS)
    found = _READ[signed]
    for name in found.files:
        data = read(fs, "/" + slot + "/" + name)
        assert (len(data), hashlib.sha256(data).digest()) == found.files[name], "brick: " + name
    return signed


def make(fs, slot, now_s=NOW_S, model="patrol_tag", mpy_abi=6, kind=up.Update):
    return kind(fs, KEYS, model, mpy_abi, lambda: now_s, slot)


# Steps until there is nothing to do -> how many.
def settle(update):
    count = 0
    while update.step():
        count += 1
        assert count < 5000
    return count


def cut_up(name, data):
    return [(name, len(data), at, data[at : at + up.CHUNK]) for at in range(0, len(data), up.CHUNK)]


# Sends every chunk of the manifest until it is judged -> code of the last answer.
def offer(update, signed, order=None):
    code = up.NOT_YET
    for _ in range(3):
        for chunk in (order or list)(cut_up("manifest", signed)):
            code = update.handle(*chunk)
        settle(update)
    return code


# Sends a version from the manifest on -> True when it is READY.
def send(update, signed, contents, order=list):
    code = offer(update, signed, order)
    for _ in range(3):
        if code != up.NOT_YET:
            break
        chunks = []
        for name in contents:
            chunks += cut_up(name, contents[name])
        for chunk in order(chunks):
            update.handle(*chunk)
            update.step()
        settle(update)
        code = update.handle(*cut_up("manifest", signed)[0])
    return code == up.DONE and update.state == up.READY


# Takes version `name` from the start to its confirmation, as the selector and the node do it.
def install(fs, name):
    update = make(fs, boot.select(fs).slot)
    settle(update)
    assert send(update, SIGNED[name], files(VERS[name])), update.reason
    assert update.install()
    record = boot.select(fs)
    assert record.tries == 2
    assert whole(fs, record.slot) == SIGNED[name]
    update = make(fs, record.slot)
    update.self_test_passed()
    assert update.confirm()
    settle(update)
    return update
