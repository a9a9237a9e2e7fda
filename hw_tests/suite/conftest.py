"""The targets of the session: one of each role on the virtual bench, one board or interpreter else."""

from collections.abc import Callable, Iterator

import pytest

from hw_tests.conftest import NOT_RUN, target_name
from hw_tests.suite import wiring
from hw_tests.suite.target import ON_REQUEST, NativeTarget, SerialTarget, Target
from hw_tests.suite.virtual import VirtualTarget

Bench = Callable[[str], Target]


@pytest.fixture(scope="session")
def bench(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """role -> the target of that role, switched on when first asked for."""
    name = target_name(pytestconfig)
    board, role = pytestconfig.getoption("--board"), pytestconfig.getoption("--role")
    extra = frozenset(filter(None, pytestconfig.getoption("extra").split(",")))
    if not extra <= set(ON_REQUEST):
        raise pytest.UsageError(f"--with {','.join(sorted(extra - set(ON_REQUEST)))}: right is {', '.join(ON_REQUEST)}")
    if "uart_jumper" in extra and pytestconfig.getoption("--uplink"):
        raise pytest.UsageError("--with uart_jumper and --uplink are two things on one UART; right is one of them")
    targets: dict[str, Target] = {}

    def of(wanted: str) -> Target:
        key = wanted if name == "virtual" else role
        if key not in targets:
            if name == "virtual":
                targets[key] = VirtualTarget(tmp_path_factory.mktemp(key), board, key)
            elif name == "native":
                targets[key] = NativeTarget(board, role)
            else:
                targets[key] = SerialTarget(name, board, role, extra, pytestconfig.getoption("--uplink"))
        return targets[key]

    yield of
    for target in targets.values():
        target.close()


@pytest.fixture
def target(request: pytest.FixtureRequest, bench: Bench, pytestconfig: pytest.Config) -> Target:
    """The target for this test, or a skip that says why."""
    roles = [mark.args[0] for mark in request.node.iter_markers("role")]
    board = pytestconfig.getoption("--board")
    if roles and roles[0] not in wiring.roles(board):
        reason = f"{board} has no pins for a {roles[0]}"
        pytestconfig.stash[NOT_RUN][reason].append(request.node.name)
        pytest.skip(reason)  # this board cannot have the role; the summary names it with the reason
    found = bench(roles[0] if roles else "tag")
    missing = [found.lacks(what) for mark in request.node.iter_markers("needs") for what in mark.args]
    if roles and found.role != roles[0]:
        missing.insert(0, f"{found.name} is wired as {found.role}, not as {roles[0]} (--role)")
    reason = next(filter(None, missing), "")
    if reason:
        pytestconfig.stash[NOT_RUN][reason].append(request.node.name)
        pytest.skip(reason)  # the target lacks what the test drives; the summary names it with the reason
    return found


@pytest.fixture(scope="session")
def _installed() -> set[str]:
    return set()


@pytest.fixture
def device(target: Target, _installed: set[str]) -> Target:
    """The target with the role's files on it, and nothing that runs by itself."""
    if target.role not in _installed:
        target.install()
        _installed.add(target.role)
    return target
