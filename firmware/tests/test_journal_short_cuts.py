# A short drill of power cuts that also runs on the real VM: at least 1,500 cuts.
from firmware.tests.cuts import drill


def test_cuts_small_blocks():
    cuts = 0
    for seed in (1, 2):
        cuts += drill(4, 512, 40, seed, step=5, erase_points=16).cuts
    assert cuts >= 1500, cuts


def test_cuts_real_blocks():
    assert drill(2, 4096, 66, 3, step=31, erase_points=8, budget=200).cuts >= 200
