"""Scripts on real MicroPython: results, exit codes, the shims, what a stock board lacks."""

from pathlib import Path

import pytest

from hw_tests.virtual_board.micropython import run

PROGRAMS = Path(__file__).parent / "programs"

pytestmark = pytest.mark.vm


def test_every_shim_once() -> None:
    code, output = run(PROGRAMS / "smoke.py", args=["a", "b"])
    lines = output.splitlines()
    assert code == 3, output
    assert lines[:3] == ["caught on purpose", "timeout", "flag 33"]
    assert "['a', 'b'] 7" in lines
    assert (
        "(1, 64, 2097152, 2097152, 'journal', False) bytearray(b'\\xff\\xff\\xff\\xff\\xff0\\xff\\xff')"
        in lines
    )
    assert "5 3 bytearray(b'abc\\x00\\x00\\x00\\x00\\x00')" in lines
    assert lines[-1] == "no hmac"


def test_aes_vectors() -> None:
    code, output = run(PROGRAMS / "aes.py")
    assert code == 0, output
    assert output.count(" ok") == 4


def test_what_is_let_go_is_collected() -> None:
    code, output = run(PROGRAMS / "heap.py")
    assert (code, output) == (0, "ok\n")


def test_exception_gives_traceback_and_code_1(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "helper.py").write_text("def boom():\n    raise ValueError('so')\n")
    script = tmp_path / "bad.py"
    script.write_text("import helper\nhelper.boom()\n")
    code, output = run(script, [tmp_path / "lib"])
    assert code == 1
    assert "helper.py" in output
    assert output.rstrip().endswith("ValueError: so")


def test_timeout_tells_what_was_printed(tmp_path: Path) -> None:
    script = tmp_path / "slow.py"
    script.write_text("print('begun')\nwhile True:\n    pass\n")
    with pytest.raises(TimeoutError, match="begun"):
        run(script, timeout_s=2)


def test_waiting_for_nothing_is_an_error_not_a_hang(tmp_path: Path) -> None:
    script = tmp_path / "deadlock.py"
    script.write_text("import asyncio\nasyncio.run(asyncio.Event().wait())\n")
    code, output = run(script, timeout_s=20)
    assert code != 0
    assert "never come" in output


def test_files_are_written_to_the_host(tmp_path: Path) -> None:
    script = tmp_path / "write.py"
    script.write_text(
        "import os\n"
        "here = __file__.rsplit('/', 1)[0]\n"
        "os.mkdir(here + '/sub')\n"
        "with open(here + '/sub/a', 'wb') as f: f.write(b'one'); f.seek(0); f.write(b'O')\n"
        "os.rename(here + '/sub/a', here + '/b')\n"
        "with open(here + '/b', 'ab') as f: f.write(b'two')\n"
        "print(os.listdir(here), os.stat(here + '/b')[6])\n"
        "os.rmdir(here + '/sub')\n"
        "try: open(here + '/none')\n"
        "except OSError as error: print('missing')\n"
    )
    code, output = run(script)
    assert code == 0, output
    assert (tmp_path / "b").read_bytes() == b"Onetwo"
    assert not (tmp_path / "sub").exists()
    assert output.splitlines()[-1] == "missing"
