"""The conductor's promises: what people did against what the devices recorded."""

from collections import Counter
from pathlib import Path

import pytest

from gatelink import events
from tools import device_code

device_code.use()

from tools.simulate import conductor as conducting  # noqa: E402 - the virtual board is found by the line above
from tools.simulate import plan as plans  # noqa: E402

ESTATE = Path(plans.__file__).parent / "estate.toml"
A, B = b"\x04\x01\x02\x03", b"\x04\x01\x02\x04"


class Played:
    """What a conductor remembers, without a night."""

    def __init__(self) -> None:
        self.taps = {101: Counter({A: 2, B: 1}), 102: Counter[bytes]()}
        self.twice = {101: Counter({B: 1}), 102: Counter[bytes]()}
        self.presses = Counter({101: 1})
        self.vehicles = {201: Counter({"passed": 2, "turned_away": 1}), 202: Counter[str]()}


VISITS = [[events.VISIT, A], [events.VISIT, B], [events.VISIT, A]]
SOS = [events.SOS, None]
ASKED = [[events.ACCESS, b"\x11\x00\x01", 1, 16, 0]] * 3


@pytest.mark.parametrize(
    ("tag", "barrier", "wrong"),
    [
        ([*VISITS, SOS], ASKED, []),
        ([*VISITS, [events.VISIT, B], SOS], ASKED, []),
        ([*VISITS[:2], SOS], ASKED, ["cards tapped on tag 101"]),
        ([*VISITS, [events.VISIT, A], SOS], ASKED, ["cards tapped on tag 101"]),
        ([*VISITS, *[[events.VISIT, B]] * 2, SOS], ASKED, ["cards tapped on tag 101"]),
        (VISITS, ASKED, ["SOS on tag 101"]),
        ([*VISITS, SOS, SOS], ASKED, ["SOS on tag 101"]),
        ([*VISITS, SOS], ASKED[:2], ["vehicles at 201"]),
    ],
)
def test_promises(tag: list[list[object]], barrier: list[list[object]], wrong: list[str]) -> None:
    flash = {101: tag, 102: [], 201: barrier, 202: []}
    found = conducting.promises(plans.load(ESTATE), Played(), flash)  # type: ignore[arg-type]  # its memory is enough
    assert [finding.what for finding in found if not finding.so] == wrong
