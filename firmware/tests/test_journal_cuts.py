# The long drill: power is cut at every byte of every program and at 64 points of every erase. Ten times as often, and
# with many more in the VM, when GATEPOST_SOAK=1.
import os
from pathlib import Path

import pytest

from firmware.tests.cuts import drill
from hw_tests.virtual_board import micropython

ROOT = Path(__file__).resolve().parents[2]
SOAK = os.environ.get("GATEPOST_SOAK") == "1"
CUTS = 700_000 if SOAK else 70_000
# on top of the short drill's 1,500
VM_CUTS = 15_000 if SOAK else 500


@pytest.mark.slow
@pytest.mark.soak
def test_at_least_70_000_cuts() -> None:
    cuts = survivors = 0
    seed = 0
    while cuts < CUTS:
        world = drill(4, 512, 60, seed)
        cuts += world.cuts
        survivors += world.survivors
        seed += 1
    # blocks of 4 KiB, as on the device
    for seed in range(2):
        cuts += drill(3, 4096, 130, seed, step=11, erase_points=64, budget=1500).cuts
    print(f"{cuts} cuts, the cut event itself survived {survivors} times, 0 lost, 0 invented, 0 reordered")
    assert cuts >= CUTS
    assert survivors > 100


@pytest.mark.vm
@pytest.mark.soak
def test_cuts_in_the_vm() -> None:
    code, output = micropython.run(
        Path(__file__).with_name("vm_cuts.py"),
        sys_path=[ROOT, ROOT / "protocol", ROOT / "firmware"],
        args=[str(VM_CUTS)],
        timeout_s=3600,
    )
    assert code == 0, output
    found = output.strip().splitlines()[-1]
    print(f"in the VM: {found}")
    assert int(found.split()[0]) >= VM_CUTS
