"""The edge's own key: made once, private, refused where it is open or damaged."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edge_agent import identity
from edge_agent.errors import StoreError


def test_made_once_and_found_again(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    first = identity.load_or_make(folder)
    assert stat.S_IMODE((folder / "identity.key").stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == ["identity.key"]
    assert identity.load_or_make(folder).public == identity.load(folder).public == first.public
    assert identity.load_or_make(tmp_path / "other").public != first.public
    assert len(first.public) == identity.KEY_BYTES
    assert first.fingerprint in repr(first)


def test_signatures(tmp_path: Path) -> None:
    mine, other = identity.load_or_make(tmp_path / "a"), identity.load_or_make(tmp_path / "b")
    signature = mine.sign(b"a head")
    assert len(signature) == identity.SIGNATURE_BYTES
    assert identity.verify(mine.public, signature, b"a head")
    assert not identity.verify(mine.public, signature, b"another head")
    assert not identity.verify(other.public, signature, b"a head")
    assert not identity.verify(mine.public, signature[:-1], b"a head")
    assert not identity.verify(b"short", signature, b"a head")


def test_rfc_8032_vector() -> None:
    """RFC 8032, 7.1, TEST 2."""
    public = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert identity.verify(public, signature, b"\x72")
    assert not identity.verify(public, signature, b"\x73")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    identity.load_or_make(tmp_path)
    (tmp_path / "identity.key").chmod(mode)
    with pytest.raises(StoreError, match="open to other users; right is: chmod 600"):
        identity.load_or_make(tmp_path)


def test_damaged_is_refused_and_stays(tmp_path: Path) -> None:
    identity.load_or_make(tmp_path)
    path = tmp_path / "identity.key"
    whole = path.read_bytes()
    foreign = Ed448PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content in (b"", whole[: len(whole) // 2], whole[:-40], bytes(5_000), foreign):
        path.write_bytes(content)
        with pytest.raises(StoreError, match="from a backup"):
            identity.load_or_make(tmp_path)
        assert path.read_bytes() == content


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    path.symlink_to("nowhere")
    with pytest.raises(StoreError, match="can't be read"):
        identity.load_or_make(tmp_path)
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(StoreError, match="no plain file"):
        identity.load_or_make(tmp_path)
    with pytest.raises(StoreError, match="can't be read: No such file"):
        identity.load(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_two_that_start_at_once_have_one_key(tmp_path: Path) -> None:
    for turn in range(20):
        folder = tmp_path / str(turn)
        together = threading.Barrier(4)
        found: list[bytes] = []

        def start(
            folder: Path = folder, together: threading.Barrier = together, found: list[bytes] = found
        ) -> None:
            together.wait(10)
            found.append(identity.load_or_make(folder).public)

        threads = [threading.Thread(target=start) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert len(found) == 4
        assert len(set(found)) == 1
        assert [path.name for path in folder.iterdir()] == ["identity.key"]
