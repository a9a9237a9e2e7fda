"""The roles' and drivers' plain suites once more, in the real MicroPython VM."""

import importlib
import re
from pathlib import Path

import pytest

from hw_tests.virtual_board import micropython

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SUITES = (
    "test_barrier",
    "test_drivers",
    "test_gate",
    "test_patrol_tag",
    "test_pn532",
    "test_pn532_i2c",
    "test_power",
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
