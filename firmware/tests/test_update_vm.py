"""The update suite on real MicroPython, and what a step costs there."""

import json
import re
from pathlib import Path

import pytest

from hw_tests.virtual_board import micropython

TESTS = Path(__file__).parent
ROOT = TESTS.parent.parent
PATHS = (ROOT, ROOT / "protocol", ROOT / "firmware")


@pytest.mark.vm
@pytest.mark.parametrize("suite", ["test_update", "test_update_disk"])
def test_suite_in_micropython(suite: str) -> None:
    code, output = micropython.run(
        ROOT / "protocol/tests/run_suites.py",
        sys_path=PATHS,
        args=[f"firmware.tests.{suite}"],
        timeout_s=180,
    )
    tests = len(re.findall(r"^def test_", (TESTS / f"{suite}.py").read_text(), re.MULTILINE))
    assert code == 0, output[-4000:]
    assert f"{tests} tests, 0 failed" in output, output[-4000:]


@pytest.mark.vm
def test_no_call_is_long() -> None:
    code, output = micropython.run(TESTS / "bench_update.py", sys_path=PATHS, timeout_s=120)
    assert code == 0, output
    rows = {name: value for name, value, _ in json.loads(output.strip().splitlines()[-1])}
    # The time depends on the machine; that no call stands out against the whole does not.
    whole = rows["update of 42 files, all calls"]
    for call in ("longest handle()", "longest step()"):
        assert rows[f"update of 42 files, {call}"] * 12 < whole, rows
