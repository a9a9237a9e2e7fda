"""The suite of what must work without memory, in the real MicroPython VM, where the heap can be locked."""

import importlib
import re
from pathlib import Path

import pytest

from hw_tests.virtual_board import micropython

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SUITE = "firmware.tests.test_no_allocation"


@pytest.mark.vm
def test_with_the_heap_locked() -> None:
    wanted = {name for name in vars(importlib.import_module(SUITE)) if name.startswith("test_")}
    code, output = micropython.run(
        HERE / "vm_suite.py",
        sys_path=[ROOT, ROOT / "protocol", ROOT / "firmware"],
        args=[SUITE],
        timeout_s=120,
    )
    assert code == 0, output
    assert set(re.findall(r"^ok (\w+)$", output, re.MULTILINE)) == wanted
