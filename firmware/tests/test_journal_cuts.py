# The long drill: power is cut at every byte of every program and at 64 points of every erase.
import pytest

from firmware.tests.cuts import drill


@pytest.mark.slow
def test_at_least_70_000_cuts() -> None:
    cuts = survivors = 0
    seed = 0
    while cuts < 70_000:
        world = drill(4, 512, 60, seed)
        cuts += world.cuts
        survivors += world.survivors
        seed += 1
    # blocks of 4 KiB, as on the device
    for seed in range(2):
        cuts += drill(3, 4096, 130, seed, step=11, erase_points=64, budget=1500).cuts
    print(f"{cuts} cuts, the cut event itself survived {survivors} times, 0 lost, 0 invented, 0 reordered")
    assert cuts >= 70_000
    assert survivors > 100
