"""Power cut at every flash operation of an update, on real littlefs: no brick, no lost version, journal untouched."""

import functools
import os
import random

import boot
import pytest

from firmware.tests import lfs_files
from firmware.tests.update_life import Life, live

JOURNAL = lfs_files.FS_BLOCKS * lfs_files.BLOCK
# Torn by chance, and cut again and again: ten times as often when GATEPOST_SOAK=1.
TIMES = 10 if os.environ.get("GATEPOST_SOAK") == "1" else 1


@functools.cache
def start(slot: str) -> bytes:
    """The chip before the update: only the factory's version, or v1 confirmed in slot a."""
    image = lfs_files.fresh()
    if slot == "a":
        live(image, "v1", healthy=True)
    return bytes(image)


def check(before: Life, at: int, after: Life, old: str, *, healthy: bool) -> None:
    first = after.first_boot
    assert first is not None
    if at < before.installing[0]:
        assert (first.slot, first.tries) == (old, boot.CONFIRMED)
    if before.confirmed and at >= before.confirmed[0]:
        assert first.slot != old
        assert first.tries == boot.CONFIRMED
    assert bool(after.confirmed) == healthy
    assert sum(done <= at for done in before.crashes) + len(after.crashes) <= boot.TRIES


@pytest.mark.soak
@pytest.mark.parametrize("how", lfs_files.TORN)
@pytest.mark.parametrize("healthy", [True, False])
@pytest.mark.parametrize("old", [boot.FACTORY, "a"])
def test_every_operation(old: str, healthy: bool, how: str) -> None:
    base = start(old)
    rng = random.Random(f"{old} {healthy} {how}")
    before = live(bytearray(base), "v2", healthy=healthy)
    assert before.flash.reprogrammed == 0
    assert len(before.crashes) == (0 if healthy else boot.TRIES)
    image = bytearray(base)
    times = TIMES if how == "scattered" else 1
    for at, op in enumerate(before.flash.ops):
        for time in range(times):
            left = lfs_files.cut(image, op, how, rng)
            after = live(left, "v2", healthy=healthy, seed=at + 1000 * time)
            check(before, at, after, old, healthy=healthy)
            assert left[JOURNAL:] == base[JOURNAL:]
        lfs_files.apply(image, op)
    cuts = len(before.flash.ops) * times + 1
    print(f"{cuts} cuts of an update from {old!r}, healthy {healthy}, {how}, 0 bricks")
    # Four versions of this, three ways of cutting: at least 1,000 cases.
    assert len(before.flash.ops) * 12 > 1_000
    # After the last operation.
    after = live(image, "v2", healthy=healthy)
    check(before, len(before.flash.ops), after, old, healthy=healthy)
    assert image[JOURNAL:] == base[JOURNAL:]


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.parametrize("healthy", [True, False])
def test_cut_again_and_again(healthy: bool) -> None:
    base = start("a")
    cuts = 0
    for seed in range(150 * TIMES):
        rng = random.Random(seed)
        image = bytearray(base)
        crashes = 0
        for _ in range(rng.randint(2, 6)):
            life = live(bytearray(image), "v2", healthy=healthy, seed=seed)
            if not life.flash.ops:
                break
            at = rng.randrange(len(life.flash.ops))
            for op in life.flash.ops[:at]:
                lfs_files.apply(image, op)
            cuts += 1
            crashes += sum(done <= at for done in life.crashes)
            image = lfs_files.cut(image, life.flash.ops[at], rng.choice(lfs_files.TORN), rng)
        last = live(image, "v2", healthy=healthy, seed=seed)
        assert crashes + len(last.crashes) <= boot.TRIES
        # Cuts during the trial cost tries too: a healthy version may be rolled back, but nothing else may
        # happen.
        assert healthy or not last.confirmed
        assert image[JOURNAL:] == base[JOURNAL:]
    print(f"{cuts} cuts in {150 * TIMES} histories, healthy {healthy}, 0 bricks")
