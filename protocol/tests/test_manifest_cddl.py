"""manifest.cddl against every vector of manifests: valid ones fit, what is invalid in shape does not."""

from pathlib import Path
from typing import Any

import cbor2
import pytest

from protocol.tests.cddl import Cddl
from protocol.tests.vectors import rows

SCHEMA = Cddl((Path(__file__).parent.parent / "manifest.cddl").read_text(encoding="utf-8"))
RULE = "signed-manifest"
SHAPE = {"bad_header", "unknown_field", "missing_field", "bad_field", "bad_name", "empty", "too_long"}
# Refused by a relation between fields, by what a letter is, or by a size of the whole: beyond CDDL.
BEYOND_CDDL = {
    "ver = '1\\n2'",
    "ver = '版'",
    "model = 'a b'",
    "min_seq = 6",
    "256 KiB and a byte",
    "file name 'boot.mpy'",
    "file name 'main.mpy'",
    "file name 'boot/x.mpy'",
}


@pytest.mark.parametrize("suite", ["valid/manifest", "valid/manifest_update"])
def test_valid_manifests(suite: str) -> None:
    for row in rows(suite):
        good = row["name"] != "unknown field"  # the update suite has one for the device to refuse
        assert SCHEMA.fits(RULE, cbor2.loads(bytes.fromhex(row["signed"]))) == good, row["name"]


def test_invalid_manifests() -> None:
    refused = []
    for row in rows("invalid/manifest"):
        signed = bytes.fromhex(row["signed"])
        if row["reason"] not in SHAPE or len(signed) > 6144:
            continue
        fits = SCHEMA.fits(RULE, cbor2.loads(signed))
        beyond = any(row["name"].startswith(name) for name in (*BEYOND_CDDL, "file name 'xxxx"))
        assert fits == beyond, row["name"]
        refused += [] if fits else [row["name"]]
    assert len(refused) >= 55


def test_the_reader_itself() -> None:
    """The reader itself, on what only this file uses."""
    small = Cddl('a = {"n" => uint .size 1, 1*2 k => bstr .cbor b}\nb = 0..9\nk = tstr .regexp "[a-z]+[.]x"')
    good: dict[Any, Any] = {"n": 255, "a.x": b"\x09"}
    assert small.fits("a", good)
    assert small.fits("a", {**good, "b.x": b"\x00"})
    for bad in (
        {"n": 256},
        {"a.x": b"\x09"},
        {**good, "n": True},
        {**good, "A.x": b"\x00"},
        {**good, "b.x": b"\x0a"},
        {**good, "b.x": b"\x18"},
        {**good, "b.x": b"\x00", "c.x": b"\x00"},
        {**good, 5: 5},
    ):
        assert not small.fits("a", bad), bad
