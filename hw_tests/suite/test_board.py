"""What every board must show before its program is trusted with it."""

import ast
import hashlib

import pytest

from hw_tests.suite import wiring
from hw_tests.suite.target import SerialTarget, Target
from tools.device import install

pytestmark = [pytest.mark.vm]

JOURNAL_LEAST = 1 << 20  # 4mb.csv; the 2 MiB of 8mb.csv hold 32,768 events
FILES_LEAST = 160 * 4096  # UPDATES.md: two slots, the log and the factory's version


def test_interpreter(target: Target) -> None:
    print(found := target.run(
        "import sys\n"
        "i = sys.implementation\n"
        "print([i.name, i.version[0], i.version[1], getattr(i, '_mpy', 0) & 0xff, getattr(i, '_machine', '?')])"
    ))  # fmt: skip
    name, major, minor, abi, _machine = ast.literal_eval(found)
    assert (name, abi) == ("micropython", 6)
    assert (major, minor) >= (1, 23)


@pytest.mark.needs("chip")
def test_chip(target: Target) -> None:
    code = (
        "import machine, os, esp32\n"
        "fs = os.statvfs('/') if hasattr(os, 'statvfs') else None\n"
        "print([len(machine.unique_id()), machine.unique_id() != bytes(6), hasattr(os, 'urandom'),"
        " os.urandom(8) != os.urandom(8), fs and fs[1] * fs[2]])"
    )
    length, unique, has_random, random, room = ast.literal_eval(target.run(code))
    assert length >= 6
    assert unique
    assert has_random
    assert random
    if room is not None:
        assert room >= FILES_LEAST


@pytest.mark.needs("chip")
def test_partition_journal(target: Target) -> None:
    code = (
        "from esp32 import Partition\n"
        "p = Partition.find(Partition.TYPE_DATA, label='journal')\n"
        "print([len(p), p[0].info()[:4], p[0].ioctl(5, 0)])"
    )
    count, (kind, _subtype, offset, size), block = ast.literal_eval(target.run(code))
    assert (count, kind, block) == (1, 1, 4096)
    assert size >= JOURNAL_LEAST
    assert offset % 4096 == size % 4096 == 0


@pytest.mark.needs("chip", "console")
def test_files_arrive_whole(device: SerialTarget) -> None:
    wanted = install.role_files(device.role, device.board)
    assert device.console.same(wanted) == set(wanted)
    assert "/main.py" not in device.console.walk("/")


@pytest.mark.needs("chip", "console")
def test_a_flashed_device_leaves_its_slot(device: SerialTarget) -> None:
    """What was flashed runs, not an update from before, even one on trial; nothing older than its floor ever will."""
    write = "import boot\nboot.write(boot.Files(), boot.Record('a', 'b', 2, 12, 9, 9, 0))"
    device.run(write)
    done = install.install(device.console, device.role, device.board, program=False)
    assert (done.written, done.removed) == (1, 0)
    assert device.value("tuple(__import__('boot').read(__import__('boot').Files()))") == ("-", "-", 9, 0, 0, 9, 0)
    device.console.restart_to_prompt()
    assert "/lib" in device.value("__import__('sys').path")
    device.console.remove("/boot.slot")


def test_bytecode_loads(device: Target) -> None:
    """Every module of the role but the program itself, which would start."""
    names = sorted(
        path[len("/lib/") : -len(".mpy")].replace("/", ".").removesuffix(".__init__")
        for path in install.role_files(device.role, device.board)
        if path.endswith(".mpy") and not path.endswith("/main.mpy")
    )
    if device.lacks("chip"):
        # what drives pins and flash needs their modules
        names = [name for name in names if name.startswith(("gatelink", "node"))]
        names = [name for name in names if name not in ("gatelink.ccm_device", "node.node", "node.updating")]
    found = ast.literal_eval(
        device.run(
            "import sys\nfound = []\n"
            f"for name in {names!r}:\n"
            " m = __import__(name, None, None, ('x',))\n"
            " found.append((name, getattr(m, '__file__', '?')))\n"
            "print(found)",
            timeout_s=60,
        )
    )
    assert [name for name, _ in found] == names
    assert all(file.endswith(".mpy") for _, file in found), found


@pytest.mark.needs("chip")
def test_board_file_names_the_pins(device: Target) -> None:
    table = {"tag": "TAG", "barrier": "BARRIER"}[device.role]
    found = ast.literal_eval(device.run(f"import boards\nprint(boards.load({table!r}))"))
    assert found == wiring.pins(device.board, device.role)


@pytest.mark.needs("chip")
def test_aes_ccm_on_the_chip(device: Target) -> None:
    """cryptolib below our CCM, against the host's library, for lengths around every block."""
    from cryptography.hazmat.primitives.ciphers.aead import AESCCM

    key, nonce = bytes(range(16)), bytes(range(16, 29))
    cases = [(hashlib.sha512(bytes([n])).digest()[: n % 65], bytes(1 + n % 23)) for n in range(0, 130, 7)]
    printed = device.run(
        "from gatelink.ccm_device import Ccm\nfrom binascii import hexlify\n"
        f"c = Ccm({key!r})\n"
        f"for text, aad in {cases!r}:\n"
        f" sealed = c.seal({nonce!r}, text, aad)\n"
        f" assert bytes(c.open_({nonce!r}, sealed, aad)) == text\n"
        " print(hexlify(sealed).decode())"
    )
    host = AESCCM(key, tag_length=8)
    assert printed.split() == [host.encrypt(nonce, text, aad).hex() for text, aad in cases]
