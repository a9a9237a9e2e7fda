"""The boot selector as the device starts it: import path, watchdog on trial, restart after a crash."""

import sys
import types
from pathlib import Path

import boot
import pytest

from hw_tests.virtual_board import micropython

ROOT = Path(__file__).parents[2]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    found = types.SimpleNamespace(resets=0, watchdogs=[])

    def reset() -> None:
        found.resets += 1

    found.reset = reset
    found.WDT = lambda timeout: found.watchdogs.append(timeout)
    monkeypatch.setitem(sys.modules, "machine", found)
    monkeypatch.setattr(sys, "print_exception", lambda error: print("shown:", error), raising=False)
    return found


@pytest.mark.parametrize(
    ("record", "path", "watchdogs"),
    [
        (boot.confirmed(boot.FACTORY), ["", ".frozen", "/lib"], 0),
        (boot.confirmed("b"), ["/b", "", ".frozen"], 0),
        (boot.Record("a", "b", 3, 7, 0, 0, 0), ["/a", "", ".frozen"], 1),
        (boot.Record("a", "b", 0, 7, 0, 0, 0), ["/b", "", ".frozen"], 0),
        (boot.Record("a", boot.FACTORY, 0, 7, 0, 0, 0), ["", ".frozen", "/lib"], 0),
    ],
)
def test_start(
    record: boot.Record,
    path: list[str],
    watchdogs: int,
    machine: types.SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fs = boot.Files(str(tmp_path))
    monkeypatch.setattr(fs, "sync", lambda: None)
    boot.write(fs, record)
    monkeypatch.setattr(boot, "Files", lambda: fs)
    monkeypatch.setattr(sys, "path", ["", ".frozen", "/lib"])
    boot._start()
    assert sys.path == path
    assert boot.running() == (path[0][1:] or boot.FACTORY)
    assert len(machine.watchdogs) == watchdogs


def test_a_program_that_ends_restarts_the_device(
    machine: types.SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "crashing_role.py").write_text("raise ValueError('no such pin')\n")
    (tmp_path / "ending_role.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    boot.run("crashing_role")
    boot.run("ending_role")
    boot.run("missing_role")
    assert machine.resets == 3
    assert "no such pin" in capsys.readouterr().out


def test_ctrl_c_leaves_to_the_prompt(
    machine: types.SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "interrupted_role.py").write_text("raise KeyboardInterrupt\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        boot.run("interrupted_role")
    assert machine.resets == 0


@pytest.mark.vm
def test_it_starts_on_micropython() -> None:
    code, output = micropython.run(ROOT / "firmware/boot.py", timeout_s=30)
    assert (code, output) == (0, "")


@pytest.mark.vm
def test_it_picks_a_slot_on_micropython(tmp_path: Path) -> None:
    script = tmp_path / "pick.py"
    script.write_text(
        "import os, sys, boot\n"
        "fs = boot.Files()\n"
        "os.mkdir('/a')\n"
        "os.mkdir('/a/slot_role')\n"
        "with open('/a/slot_role/main.py', 'w') as file:\n"
        "    file.write('print(\"running from\", __file__)\\nraise ValueError(1)')\n"
        "for tries in range(5):\n"
        "    if not tries:\n"
        "        boot.write(fs, boot.Record('a', '-', 3, 7, 0, 0, 0))\n"
        "    boot._start()\n"
        "    print(boot.running(), boot.read(fs)[2])\n"
        "    sys.path[:] = ['', '.frozen', '/lib']\n"
        "boot.write(fs, boot.Record('a', '-', 3, 7, 0, 0, 0))\n"
        "boot._start()\n"
        "boot.run('slot_role.main')\n"
    )
    _, output = micropython.run(script, sys_path=[ROOT / "firmware"], timeout_s=30)
    lines = output.splitlines()
    assert lines[:5] == ["a 2", "a 1", "a 0", "- 9", "- 9"], output
    assert "running from /a/slot_role/main.py" in output
    assert "ValueError: 1" in output
    assert "machine.reset" in lines[-1], output
