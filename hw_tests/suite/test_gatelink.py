"""The protocol's own suites of plain functions, on the device, from the device's own files."""

import json
import re
from pathlib import Path

import pytest

from hw_tests.suite.target import Target

pytestmark = [pytest.mark.vm]

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "protocol" / "tests"
SUITES = ("test_cbor", "test_framing", "test_events", "test_messages", "test_cose")
FOLDER = "/suite"
# A device has not the heap for a file of vectors: there it is a row a line.
LINES = '''
def rows(name):
    with open(_FOLDER + name + ".rows") as file:
        for line in file:
            yield json.loads(line)


def load(name):
    with open(_FOLDER + name + ".json") as file:
        whole = json.loads(file.read())
    whole["vectors"] = rows(name)
    return whole
'''


def suite_files(suite: str) -> dict[str, bytes]:
    """The suite, the vectors that it names and what reads them, as they lie on the device."""
    source = (TESTS / f"{suite}.py").read_text(encoding="utf-8")
    reader = (TESTS / "vectors.py").read_text(encoding="utf-8") + LINES
    files = {
        f"{FOLDER}/protocol/__init__.py": b"",
        f"{FOLDER}/protocol/tests/__init__.py": b"",
        f"{FOLDER}/protocol/tests/vectors.py": reader.encode(),
        f"{FOLDER}/protocol/tests/{suite}.py": source.encode(),
    }
    for name in sorted(set(re.findall(r'"((?:valid|invalid|external)/\w+)"', source))):
        whole = json.loads((ROOT / "protocol" / "vectors" / f"{name}.json").read_bytes())
        found = whole.pop("vectors")
        lines = "".join(json.dumps(row, separators=(",", ":"), ensure_ascii=False) + "\n" for row in found)
        files[f"{FOLDER}/protocol/vectors/{name}.rows"] = lines.encode()
        files[f"{FOLDER}/protocol/vectors/{name}.json"] = json.dumps(whole, ensure_ascii=False).encode()
    return files


@pytest.mark.needs("chip")
@pytest.mark.parametrize("suite", SUITES)
def test_suite(device: Target, suite: str) -> None:
    device.put_all(suite_files(suite))
    code = (
        "import sys, gc\n"
        f"sys.path.append({FOLDER!r})\n"
        f"m = __import__('protocol.tests.{suite}', None, None, ('x',))\n"
        "for name in sorted(dir(m)):\n"
        " if name.startswith('test_'):\n"
        "  getattr(m, name)()\n"
        "  print('ok', name)\n"
        "  gc.collect()\n"
        # the next suite wants its heap
        "for name in [n for n in sys.modules if n.startswith('protocol')]: del sys.modules[name]\n"
        f"sys.path.remove({FOLDER!r})"
    )
    printed = device.run(code, timeout_s=120)
    wanted = set(re.findall(r"^def (test_\w+)", (TESTS / f"{suite}.py").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"^ok (\w+)$", printed, re.MULTILINE)) == wanted
    assert wanted
