"""Journal, counters and resets, on the board's own flash."""

import ast
from pathlib import Path

import pytest

from hw_tests.suite.target import SerialTarget
from hw_tests.suite.virtual import VirtualTarget
from tools.device import install
from tools.errors import ToolError

pytestmark = [pytest.mark.vm]

PROGRAMS = Path(__file__).parent / "programs"
COUNT = 150  # over two blocks: erases included
RESET_CAUSES = {"power": 1, "hard": 2, "watchdog": 3}


@pytest.fixture
def journal(device: SerialTarget) -> SerialTarget:
    """The device with programs/journal.py loaded."""
    device.run((PROGRAMS / "journal.py").read_text(encoding="utf-8"))
    return device


@pytest.mark.needs("chip", "console", "scratch")
def test_journal_keeps_every_event_over_a_reset(journal: SerialTarget) -> None:
    journal.run("wipe()", timeout_s=120)
    mount_us, append_us, worst_us, next_seq = ast.literal_eval(journal.run(f"print(append({COUNT}))", timeout_s=120))
    assert next_seq == COUNT + 1
    journal.console.restart_to_prompt()
    journal.run((PROGRAMS / "journal.py").read_text(encoding="utf-8"))
    again_us, read_us, good, next_seq, chain = ast.literal_eval(journal.run(f"print(read({COUNT}))", timeout_s=120))
    assert (good, next_seq, chain[0]) == (COUNT, COUNT + 1, COUNT)
    print(
        f"\n{journal.name}: append {append_us} us, at worst {worst_us} us; mount {mount_us} us empty, {again_us} us "
        f"with {COUNT} events; read {read_us} us"
    )
    assert ast.literal_eval(journal.run("print(wipe())", timeout_s=120)) == 3


@pytest.mark.needs("chip", "console", "scratch", "processor")
def test_journal_is_quick_enough(journal: SerialTarget) -> None:
    """The guard hears the sound within a second of the card: an append, with its erase, must be well below."""
    journal.run("wipe()", timeout_s=120)
    mount_us, append_us, worst_us, _ = ast.literal_eval(journal.run(f"print(append({COUNT}))", timeout_s=120))
    journal.run("wipe()", timeout_s=120)
    assert mount_us < 2_000_000
    assert append_us < 50_000
    assert worst_us < 500_000


@pytest.mark.needs("chip", "console")
def test_boot_counter_moves_before_it_is_used(device: SerialTarget) -> None:
    """In a namespace of its own: the board's keys are not touched."""
    device.run(
        "from esp32 import NVS\nnvs = NVS('bench')\n"
        "for key in ('cur', 'next'):\n"
        " try: nvs.erase_key(key)\n"
        " except OSError: pass\n"
        "nvs.set_i32('dev', 7); nvs.set_blob('link', bytes(range(32))); nvs.set_blob('event', bytes(range(1, 33)))\n"
        "nvs.set_i32('epoch', 0); nvs.set_i32('boot', 41); nvs.commit()"
    )
    used = "from esp32 import NVS\nfrom node.keystore import KeyStore\nprint(KeyStore(NVS('bench')).next_boot())"
    for boot in (42, 43):
        assert int(device.run(used)) == boot
        device.console.restart_to_prompt()
        assert int(device.run("from esp32 import NVS\nprint(NVS('bench').get_i32('boot'))")) == boot
    gone = (
        "from esp32 import NVS\nfrom node.keystore import KeyStore\nfrom node.errors import NotProvisioned\n"
        "nvs = NVS('bench')\nnvs.erase_key('boot')\nnvs.commit()\n"
        "try: KeyStore(nvs)\nexcept NotProvisioned as e: print('silent:', e)"
    )
    assert device.run(gone).strip() == "silent: boot"


@pytest.mark.needs("chip", "console")
def test_resets_say_their_cause(target: SerialTarget) -> None:
    target.console.restart_to_prompt()
    cause = "__import__('machine').reset_cause()"
    # an ESP32 calls machine.reset() a hard reset or a power-on, by its version
    assert target.value(cause) in (RESET_CAUSES["hard"], RESET_CAUSES["power"])
    # The sleep is the fault: a program that hangs on the device, until its watchdog bites.
    target.console.restart_to_prompt("import machine, time\nw = machine.WDT(timeout=2000)\ntime.sleep(60)")  # the hang
    assert target.value(cause) == RESET_CAUSES["watchdog"]


@pytest.mark.needs("chip", "console")
def test_a_fed_watchdog_waits(target: SerialTarget) -> None:
    target.run("from esp32 import NVS\nnvs = NVS('bench')\nnvs.set_i32('fed', 0)\nnvs.commit()")
    target.console.restart_to_prompt(
        "import machine, time\nw = machine.WDT(timeout=1000)\n"
        "for _ in range(15):\n time.sleep_ms(100)\n w.feed()\n"
        "nvs.set_i32('fed', 1)\nnvs.commit()\nmachine.reset()"
    )
    assert target.value("__import__('esp32').NVS('bench').get_i32('fed')") == 1


@pytest.mark.needs("chip", "console", "power")
@pytest.mark.parametrize(("op", "nth"), [("file", 1), ("name", 2)])
def test_power_fails_while_a_file_is_written(device: VirtualTarget, op: str, nth: int) -> None:
    """The old file or the new one is there, whole; an installation that was cut goes on."""
    path, old, new = "/lib/node/bench.txt", b"old" * 500, b"new" * 1500
    device.console.put(path, old)
    device.cut_power_at(op, nth, 100)
    with pytest.raises(ToolError):
        device.console.put(path, new)
    device.power_on()
    assert device.console.get(path) in (old, new)
    done = install.install(device.console, device.role, device.board, program=False)
    assert done.written == 1  # boot.py, which goes first, so that no slot and no watchdog disturbs
    assert done.removed in (1, 2)  # the file is none of ours, nor is its half
