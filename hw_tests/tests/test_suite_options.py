"""The hardware suite on a port by name, as on a real board: the suite knows nothing of what is behind it."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from hw_tests.tests.test_mpremote import console

ROOT = Path(__file__).resolve().parents[2]
QUICK = "hw_tests/suite/test_board.py", "hw_tests/suite/test_wires.py"

pytestmark = pytest.mark.vm


async def suite(*more: str, **environment: str) -> tuple[int, str]:
    """Exit code and output of a run of the quick part."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *more, *QUICK, cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **environment},
    )  # fmt: skip
    async with asyncio.timeout(120):
        output = (await process.communicate())[0].decode()
    return process.returncode or 0, output


async def test_a_port_by_name(tmp_path: Path) -> None:
    async with console(tmp_path) as (board, _):
        port = board.open_console()
        code, output = await suite(
            "--target", port, "-k", "interpreter or test_chip or partition or relays or hears_itself or card"
        )
    assert code == 0, output
    assert f"hardware suite on {port}: 5 NOT RUN" in output
    assert "is wired as tag, not as barrier (--role): test_relays_fall_off_at_a_reset" in output
    assert "jumper from UART 1's TX to its RX (--with uart_jumper): test_uart_hears_itself[9600]" in output
    assert "PN532 on the reader's UART (--with reader): test_card" in output


async def test_a_port_where_nobody_is(tmp_path: Path) -> None:
    code, output = await suite("--target", str(tmp_path / "none"), "-k", "interpreter")
    assert code == 1
    assert "no MicroPython prompt there" in output


@pytest.mark.parametrize(
    ("options", "complaint"),
    [(["--with", "luck"], "--with luck: right is scratch, "), (["--target", "native"], "needs GATEPOST_MICROPYTHON=")],
)
async def test_wrong_options(options: list[str], complaint: str) -> None:
    code, output = await suite(*options, "-k", "interpreter", GATEPOST_MICROPYTHON="")
    assert code != 0
    assert complaint in output


async def test_a_native_interpreter(tmp_path: Path) -> None:
    """Its command line and its search path, with the VM in the place of one: what it lacks is said."""
    fake = tmp_path / "micropython"
    fake.write_text(
        f"#!{sys.executable}\n"
        "import os, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from hw_tests.virtual_board.micropython import run\n"
        "del os.environ['GATEPOST_MICROPYTHON']\n"
        "folders = [f for f in os.environ['MICROPYPATH'].split(':') if f != '.frozen']\n"
        "code, output = run(sys.argv[1], folders, sys.argv[2:])\n"
        "print(output, end='')\n"
        "sys.exit(code)\n"
    )
    fake.chmod(0o700)
    code, output = await suite("-k", "interpreter or bytecode or card", GATEPOST_MICROPYTHON=str(fake))
    assert code == 0, output
    assert "2 passed, 2 skipped" in output
    assert "hardware suite on native: 2 NOT RUN" in output
    assert "native has not machine, esp32 and cryptolib: test_card_reader_answers, test_card_is_read" in output
