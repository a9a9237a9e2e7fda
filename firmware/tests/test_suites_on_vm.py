"""The plain suites of node, drivers and roles once more, in the real MicroPython VM."""

import importlib
import re
from pathlib import Path

import pytest

from hw_tests.virtual_board import micropython

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SUITES = (
    "test_barrier",
    "test_clock",
    "test_drivers",
    "test_ds3231",
    "test_forgery",
    "test_gate",
    "test_journal",
    "test_journal_short_cuts",
    "test_keystore",
    "test_node",
    "test_patrol_tag",
    "test_piv_cuts",
    "test_pn532",
    "test_pn532_i2c",
    "test_power",
    "test_rekey",
    "test_turns",
    "test_uplink",
    "test_uplink_hostile",
)


@pytest.mark.vm
@pytest.mark.parametrize("suite", SUITES)
def test_in_the_vm(suite: str) -> None:
    module = f"firmware.tests.{suite}"
    wanted = {name for name in vars(importlib.import_module(module)) if name.startswith("test_")}
    code, output = micropython.run(
        HERE / "vm_suite.py",
        sys_path=[ROOT, ROOT / "protocol", ROOT / "firmware"],
        args=[module],
        timeout_s=120,
    )
    assert code == 0, output
    assert set(re.findall(r"^ok (\w+)$", output, re.MULTILINE)) == wanted
