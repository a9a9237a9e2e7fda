"""What the hardware suite is run against, and what it could not run there."""

import os
from collections import defaultdict

import pytest

from hw_tests.suite.target import ON_REQUEST

NOT_RUN = pytest.StashKey[defaultdict[str, list[str]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("gatepost", "hardware suite (hw_tests/suite)")
    group.addoption(
        "--target",
        help="virtual (default), native (default when GATEPOST_MICROPYTHON is set), or a serial port: /dev/ttyUSB0",
    )
    group.addoption("--board", default="esp32_devkit", help="file of pins in firmware/boards")
    group.addoption("--role", choices=("tag", "barrier"), default="tag", help="what a real board is wired as")
    group.addoption("--uplink", help="serial port at UART 1 of a real board, for a real edge agent")
    group.addoption(
        "--with", dest="extra", default="", help=f"what a real board has, with commas: {', '.join(ON_REQUEST)}"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*what): what a target must have; see hw_tests/suite/target.py")
    config.addinivalue_line("markers", "role(name): only on a board wired as this; the virtual bench has both")
    config.stash[NOT_RUN] = defaultdict(list)


def target_name(config: pytest.Config) -> str:
    """virtual, native or a port."""
    native = "native" if os.environ.get("GATEPOST_MICROPYTHON") else "virtual"
    return str(config.getoption("--target") or native)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    not_run = config.stash[NOT_RUN]
    count = sum(len(names) for names in not_run.values())
    if not count:
        return
    terminalreporter.section(f"hardware suite on {target_name(config)}: {count} NOT RUN", yellow=True)
    for reason, names in sorted(not_run.items()):
        terminalreporter.line(f"{reason}: {', '.join(names)}")
