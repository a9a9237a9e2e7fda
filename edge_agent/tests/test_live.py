"""What is shown as happening now: judged when an event is on the disk and can be shown, not when it came in."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.live import LIVE_MS
from edge_agent.tests.device import Device
from edge_agent.tests.pump import pump
from gatelink import messages

DEVICE, KEY = 7, bytes(range(32))


def test_the_readme_says_how_long() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    assert f"only if it surely happened within the last {LIVE_MS // 1000} s" in readme
    assert f"did not surely happen within the {LIVE_MS // 1000} s before they were on the disk" in readme


@pytest.mark.parametrize(
    ("waits_ms", "late"), [(0, False), (LIVE_MS - 1_000, False), (LIVE_MS + 1_000, True)]
)
async def test_what_waited_for_the_disk_is_not_live(tmp_path: Path, waits_ms: int, late: bool) -> None:
    device = Device(DEVICE, KEY)
    with pump(tmp_path, {DEVICE: (KEY, 0)}) as edge:
        (welcome,) = [device.take(frame) for frame in edge.take(device.hello())]
        assert isinstance(welcome, messages.Welcome)
        edge.take(device.status((device.uptime_ms, welcome.edge_ms, 20)))
        before_ms = device.uptime_ms
        device.mint()
        edge.now_ms += device.uptime_ms - before_ms
        edge.agent.switchboard.frames(edge.line, None, [device.batch(1, 1)])
        edge.now_ms += waits_ms  # a card that is slow, or full
        edge.flush()
        shown = [seen for seen in edge.agent.feed.after(0) if seen.device == DEVICE]
        assert [(seen.seq, seen.late) for seen in shown] == [(1, late)]
        assert shown[0].at_ms is not None


@pytest.mark.parametrize("synced", [False, True])
async def test_what_was_read_long_ago_is_not_live_by_a_clock_that_is_behind(
    tmp_path: Path, synced: bool
) -> None:
    """A machine without a clock chip: after 40 minutes without power it stands where it stood an hour before."""
    device = Device(DEVICE, KEY)
    with pump(tmp_path, {DEVICE: (KEY, 0)}, '[time]\nsource = "kernel"\n') as edge:
        (welcome,) = [device.take(frame) for frame in edge.take(device.hello())]
        assert isinstance(welcome, messages.Welcome)
        edge.take(device.status((device.uptime_ms, welcome.edge_ms, 20)))
        device.uptime_ms += 600_000
        device.mint()
        edge.now_ms += 2_400_000
        edge.set_ms, edge.synced = -3_600_000, synced
        edge.restart()
        edge.take(device.batch(1, 1))
        shown = [seen for seen in edge.agent.feed.after(0) if seen.device == DEVICE]
        assert [(seen.seq, seen.late) for seen in shown] == [(1, True)]
