"""The manifest suite on real MicroPython, and what a signature costs there."""

import json
import re
from pathlib import Path

import pytest

from hw_tests.virtual_board import micropython

TESTS = Path(__file__).parent
ROOT = TESTS.parent.parent
PATHS = (ROOT, ROOT / "protocol")


@pytest.mark.vm
def test_suite_in_micropython() -> None:
    code, output = micropython.run(
        TESTS / "run_suites.py", sys_path=PATHS, args=["protocol.tests.test_manifest"], timeout_s=120
    )
    tests = len(re.findall(r"^def test_", (TESTS / "test_manifest.py").read_text(), re.MULTILINE))
    assert code == 0, output[-4000:]
    assert f"{tests} tests, 0 failed" in output, output[-4000:]


@pytest.mark.vm
def test_no_step_is_long() -> None:
    code, output = micropython.run(TESTS / "bench_manifest.py", sys_path=PATHS, timeout_s=60)
    assert code == 0, output
    rows = {name: value for name, value, _ in json.loads(output.strip().splitlines()[-1])}
    # A step is a fraction of the whole wherever it runs; the time itself depends on the machine.
    assert rows["verify, longest step with 64 files"] * 8 < rows["verify a manifest of 64 files"], rows
    assert rows["verify, steps"] > 100, rows
