"""Updates from end to end: `gatepost edge update`, the real edge, the real device code on the virtual board."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from hw_tests.tests.estate import EPOCH_MS, Estate, Releases
from hw_tests.tests.taps import measure

pytestmark = pytest.mark.vm

CARDS = [bytes([4, 0, 0, 0, 0, 0, n]) for n in range(1, 60)]
TAG = {"watchdog_s": 30, "repeat_ms": 1000}
Started = Callable[..., Awaitable[Estate]]


@pytest.fixture(scope="module")
def tags(tmp_path_factory: pytest.TempPathFactory) -> Releases:
    return Releases(tmp_path_factory.mktemp("tag"), "patrol_tag")


@pytest.fixture(scope="module")
def barriers(tmp_path_factory: pytest.TempPathFactory) -> Releases:
    return Releases(tmp_path_factory.mktemp("barrier"), "barrier")


@pytest.fixture
async def started(tmp_path: Path) -> AsyncIterator[Started]:
    """An estate whose device is online."""
    running = []

    async def start(releases: Releases, config: dict[str, Any], **more: Any) -> Estate:
        estate = Estate(tmp_path, releases, config, **more)
        running.append(estate)
        await estate.start()
        await estate.until(lambda device: device["online"] and device["acked_seq"])
        return estate

    yield start
    for estate in running:
        await estate.stop()


def moved(least: int) -> Callable[[dict[str, Any]], bool]:
    return lambda device: device["update"]["bytes"] >= least


async def test_a_healthy_version_and_what_is_refused_after_it(started: Started, tags: Releases) -> None:
    estate = await started(tags, TAG)
    await estate.board.tap(CARDS[0])
    before = estate.slots()
    found = await estate.over(tags.write(10, min_seq=10))
    assert (found["state"], found["refusal"], found["bytes"]) == ("done", "", found["of"])
    device = await estate.until(lambda device: device["firmware"] == "2.0.10")
    assert device["boot"] == 2
    assert estate.board.resets == 1
    assert (estate.board.files / "a" / "manifest").exists()
    # the journal is the same, and went on
    assert estate.slots()[: len(before)] == before
    await estate.board.tap(CARDS[1])
    assert estate.visits() == CARDS[:2]
    small = {"part.mpy": tags.compiled("x = 1\n")}
    for reason, release in (
        ("bad_signature", tags.write(11, small, spoil=True)),
        ("unknown_key", tags.write(11, small, key=ec.generate_private_key(ec.SECP256R1()))),
        ("wrong_model", tags.write(11, small, model="barrier")),
        ("wrong_abi", tags.write(11, small, mpy_abi=5)),
        ("too_old", tags.write(9, small)),
        ("expired", tags.write(11, small, expires=EPOCH_MS // 1000 - 1)),
    ):
        found = await estate.over(release)
        assert (found["state"], found["refusal"]) == ("refused", reason)
    assert estate.board.resets == 1


async def test_a_crashing_version_is_tried_three_times_and_rolled_back(
    started: Started, tags: Releases
) -> None:
    estate = await started(tags, TAG)
    await estate.board.tap(CARDS[0])
    found = await estate.over(tags.write(3, tags.crashing()), 90)
    assert (found["state"], found["refusal"]) == ("rolled_back", "rolled_back")
    # installed, three starts that crash, the version before again
    assert estate.board.resets == 4
    assert estate.board.console.count(b"not today") == 3
    device = await estate.until(lambda device: device["firmware"] == "tag-0.1.0")
    assert device["firmware"] == "tag-0.1.0"
    await estate.board.tap(CARDS[1])
    assert estate.visits() == CARDS[:2]
    # and the corrected one runs
    found = await estate.over(tags.write(4), 90)
    assert found["state"] == "done"


async def test_a_version_that_hangs_is_ended_by_the_watchdog(started: Started, tags: Releases) -> None:
    estate = await started(tags, TAG, speed=40)
    hangs = tags.compiled("import time\nwhile True:\n    time.sleep_ms(1000)\n")
    found = await estate.over(tags.write(3, {**tags.files, "patrol_tag/main.mpy": hangs}), 90)
    assert found["state"] == "rolled_back"
    assert estate.board.resets == 4
    await estate.until(lambda device: device["firmware"] == "tag-0.1.0")


async def test_it_goes_on_after_power_cut_link_loss_and_a_killed_edge(
    started: Started, tags: Releases
) -> None:
    estate = await started(tags, TAG)
    await estate.update(tags.write(5))
    await estate.until(moved(12_000))
    await estate.board.cut_power(hard=True)
    log = estate.board.files / "update.log"
    kept = log.stat().st_size
    assert kept >= 8_000
    await estate.board.power_on()
    await estate.until(moved(20_000))
    assert log.stat().st_size > kept
    await estate.kill_edge()
    kept = log.stat().st_size
    await estate.start_edge()
    await estate.until(moved(30_000))
    assert log.stat().st_size > kept
    estate.board.unplug()
    await asyncio.sleep(0.3)
    estate.board.plug()
    await estate.until(moved(40_000))
    await estate.board.cut_power_at("file", nth=9)
    await estate.board.wait_off()
    await estate.board.power_on()
    device = await estate.until(lambda device: device["update"]["state"] == "done", 90)
    assert device["update"]["refusal"] in ("", "no_manifest")
    await estate.until(lambda device: device["firmware"] == "2.0.5")


async def test_a_barrier_updates_only_when_it_is_closed_and_free(
    started: Started, barriers: Releases
) -> None:
    estate = await started(barriers, {"watchdog_s": 30, "auto_close_ms": 15_000})
    await estate.board.loop("approach", occupied=True)
    await estate.update(barriers.write(2))
    await estate.until(lambda device: device["update"]["phase"] == "waiting to restart")
    await estate.board.press("open")
    await asyncio.sleep(0.5)
    assert estate.board.resets == 0
    await estate.board.loop("approach", occupied=False)
    await estate.until(lambda device: device["update"]["state"] == "done", 90)
    assert estate.board.resets == 1
    boom = (await estate.board.state())["boom"]
    assert (boom["limit_closed"], boom["collisions"], boom["shorts"]) == (True, 0, 0)


async def test_taps_wait_for_no_update(tmp_path: Path, tags: Releases) -> None:
    found = await measure(tmp_path, tags, 8)
    assert found.state == "waiting to restart"
    assert found.stored == found.visits
    assert found.journal_kept
    assert len(found.during) >= 8
    # the same bound: a reader looks for cards at its own pace, which is what both are made of
    assert max(found.during) <= max(found.without) + 20, found
