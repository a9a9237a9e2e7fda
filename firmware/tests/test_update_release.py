"""A real release of each role: built, signed, sent to a device with real littlefs, in bounded calls."""

import random
from pathlib import Path

import boot
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from firmware.tests.lfs_files import Flash, LfsFiles, fresh
from firmware.tests.update_device import send, settle
from firmware.tests.update_life import Life, counted
from gatelink import manifest
from tools.release import __main__ as command
from tools.release import build, sign

ROOT = Path(__file__).parents[2]
KEY = ec.generate_private_key(ec.SECP256R1())
PUBLIC = sign.public_bytes(KEY.public_key())
# Two slots of a role, the log between them, the selector's record and some room: what the device's file
# system has to have. Small files take a block each.
FS_BLOCKS = 160


def release(role: str, seq: int, files: dict[str, bytes]) -> bytes:
    fields = {
        "ver": f"1.0.{seq}",
        "seq": seq,
        "min_seq": 0,
        "model": role,
        "mpy_abi": build.MPY_ABI,
        "expires": 2_000_000_000,
        "files": sign.entries(files),
    }
    return sign.sign(fields, KEY)


@pytest.mark.parametrize("role", build.ROLES)
def test_two_releases_on_one_device(role: str) -> None:
    files = build.role_files(ROOT, role)
    flash = Flash(fresh(FS_BLOCKS))
    life = Life(flash, random.Random(1))
    most = 0
    for seq in (1, 2, 3):
        # Every file differs from the version before: the largest update there is.
        changed = {name: data + bytes([seq]) for name, data in files.items()}
        fs = LfsFiles(flash)
        slot = boot.select(fs).slot
        update = counted(life)(fs, {manifest.kid(PUBLIC): PUBLIC}, role, build.MPY_ABI, lambda: None, slot)
        settle(update)
        assert send(update, release(role, seq, changed), changed, life.shuffled), (
            update.reason,
            update.fault,
        )
        most = max(most, fs.blocks_used())
        assert update.install()
        fs = LfsFiles(flash)
        slot = boot.select(fs).slot
        assert slot == ("a", "b")[(seq + 1) % 2]
        update = counted(life)(fs, {}, role, build.MPY_ABI, lambda: None, slot)
        update.self_test_passed()
        assert update.confirm()
        settle(update)
    total = sum(len(data) for data in files.values())
    print(
        f"{role}: {len(files)} files, {total:,} bytes, at most {most} blocks of 4 KiB; (erases, programs): {life.worst}"
    )
    # A tap waits for one call at most: an erase of 4 KiB takes some 45 ms on these flashes.
    assert life.worst["handle"][0] <= 2
    assert life.worst["step"][0] <= 2


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = tmp_path / "release.pem"
    assert command.run(["keygen", str(key)]) == 0
    assert key.stat().st_mode & 0o777 == 0o600
    public = capsys.readouterr().out.split()[-1]
    assert command.run(["keygen", str(key)]) == 1
    out = tmp_path / "tag-1.0.0"
    options = ["--key", str(key), "--ver", "1.0.0", "--seq", "7", "--min-seq", "5", "--out", str(out)]
    assert command.run(["build", "patrol_tag", *options]) == 0
    assert command.run(["show", str(out), "--public", public]) == 0
    shown = capsys.readouterr().out
    assert "1.0.0 (seq 7, refuses below 5) for patrol_tag, mpy 6" in shown
    assert "node/journal.mpy" in shown
    assert not any(name.startswith("boot") for name in shown.split())
    broken = out / "node" / "journal.mpy"
    broken.write_bytes(broken.read_bytes()[:-1])
    assert command.run(["show", str(out), "--public", public]) == 1
    assert "journal.mpy: not the file that was signed" in capsys.readouterr().err
    assert command.run(["show", str(out), "--public", "00" * 64]) == 1
    assert "unknown_key" in capsys.readouterr().err


def test_only_plain_bytecode_is_released() -> None:
    build.check_bytecode(b"M\x06\x00\x1f", "x.mpy")
    for header in (b"", b"M\x05\x00\x1f", b"C\x06\x00\x1f", b"M\x06\x08\x1f", b"M\x06\x00\x3f"):
        with pytest.raises(build.BuildError):
            build.check_bytecode(header, "x.mpy")
