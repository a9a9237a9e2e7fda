"""Every suite of plain functions once more, in real MicroPython."""

import re
from pathlib import Path

import pytest

from hw_tests.virtual_board import micropython

TESTS = Path(__file__).parent
ROOT = TESTS.parent.parent
SUITES = ("test_bus", "test_cbor", "test_framing", "test_events", "test_messages", "test_cose")


@pytest.mark.vm
@pytest.mark.parametrize("suite", SUITES)
def test_suite(suite: str) -> None:
    code, output = micropython.run(
        TESTS / "run_suites.py",
        sys_path=[ROOT, ROOT / "protocol"],
        args=[f"protocol.tests.{suite}"],
        timeout_s=120,
    )
    tests = len(re.findall(r"^def test_", (TESTS / f"{suite}.py").read_text(encoding="utf-8"), re.MULTILINE))
    assert code == 0, output[-4000:]
    assert f"{tests} tests, 0 failed" in output, output[-4000:]
