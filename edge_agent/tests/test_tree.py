"""Trees of RFC 6962: published vectors, and everything against an implementation that follows the RFC's words."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.integrity import tree
from edge_agent.integrity.tree import EMPTY_ROOT, Frontier, consistent, included

# The eight leaves of Certificate Transparency's reference tests (merkle tree tests of google/certificate-transparency
# and transparency-dev/merkle), with the roots of the first n of them.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    bytes.fromhex(text)
    for text in (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    )
]
# (leaf, size, path) and (before, size, proof), leaves counted from 0, of the same reference tests.
PATHS = [
    (0, 1, ()),
    (
        0, 8,
        (
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ),
    ),
    (
        5, 8,
        (
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ),
    ),
    (2, 3, ("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",)),
    (
        1, 5,
        (
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ),
    ),
]  # fmt: skip
PROOFS = [
    (1, 1, ()),
    (
        1, 8,
        (
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ),
    ),
    (
        6, 8,
        (
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ),
    ),
    (
        2, 5,
        (
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ),
    ),
]  # fmt: skip


# RFC 6962, 2.1, word by word.


def mth(data: list[bytes]) -> bytes:
    if not data:
        return hashlib.sha256(b"").digest()
    if len(data) == 1:
        return hashlib.sha256(b"\x00" + data[0]).digest()
    k = split(len(data))
    return hashlib.sha256(b"\x01" + mth(data[:k]) + mth(data[k:])).digest()


def split(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def path(m: int, data: list[bytes]) -> list[bytes]:
    if len(data) == 1:
        return []
    k = split(len(data))
    return [*path(m, data[:k]), mth(data[k:])] if m < k else [*path(m - k, data[k:]), mth(data[:k])]


def subproof(m: int, data: list[bytes], whole: bool) -> list[bytes]:
    if m == len(data):
        return [] if whole else [mth(data)]
    k = split(len(data))
    if m <= k:
        return [*subproof(m, data[:k], whole), mth(data[k:])]
    return [*subproof(m - k, data[k:], False), mth(data[:k])]


def node_of(data: list[bytes]) -> tree.Node:
    def node(level: int, index: int) -> bytes:
        part = data[index << level : (index + 1) << level]
        assert len(part) == 1 << level, "only full subtrees may be asked for"
        return mth(part)

    return node


def texts(count: int, seed: int = 1) -> list[bytes]:
    rng = random.Random(seed)
    return [rng.randbytes(rng.randrange(9)) for _ in range(count)]


def test_published_roots() -> None:
    frontier = Frontier()
    assert frontier.root() == ROOTS[0] == EMPTY_ROOT
    for size, leaf in enumerate(LEAVES, 1):
        frontier.append(mth([leaf]))
        assert frontier.root() == ROOTS[size] == mth(LEAVES[:size])


@pytest.mark.parametrize(("index", "size", "wanted"), PATHS)
def test_published_paths(index: int, size: int, wanted: tuple[str, ...]) -> None:
    found = tree.inclusion_proof(index, size, node_of(LEAVES))
    assert [one.hex() for one in found] == list(wanted)
    assert included(mth([LEAVES[index]]), index, size, found, ROOTS[size])


@pytest.mark.parametrize(("before", "size", "wanted"), PROOFS)
def test_published_consistency(before: int, size: int, wanted: tuple[str, ...]) -> None:
    found = tree.consistency_proof(before, size, node_of(LEAVES))
    assert [one.hex() for one in found] == list(wanted)
    assert consistent(before, size, ROOTS[before], ROOTS[size], found)


def test_every_proof_of_every_small_tree() -> None:
    """All leaves and all earlier trees of trees up to 40 leaves; the right proof fits, and fits nothing else."""
    data = texts(40)
    roots = [mth(data[:size]) for size in range(len(data) + 1)]
    proofs = 0
    for size in range(1, len(data) + 1):
        node = node_of(data[:size])
        for index in range(size):
            found = tree.inclusion_proof(index, size, node)
            assert found == path(index, data[:size])
            assert included(mth([data[index]]), index, size, found, roots[size])
            assert not included(mth([b"other"]), index, size, found, roots[size])
            for other in {(index + 1) % size, (index ^ 1) % size} - {index}:
                assert not included(mth([data[index]]), other, size, found, roots[size])
            proofs += 1
        for before in range(1, size + 1):
            found = tree.consistency_proof(before, size, node)
            assert found == subproof(before, data[:size], True)
            assert consistent(before, size, roots[before], roots[size], found)
            assert not consistent(before, size, roots[before - 1], roots[size], found)
            assert not consistent(before, size, roots[before], roots[size - 1], found)
            proofs += 1
    print(proofs, "proofs")
    assert proofs == 40 * 41


@settings(max_examples=200)
@given(st.data())
def test_a_damaged_proof_never_fits(data: st.DataObject) -> None:
    leaves = texts(data.draw(st.integers(2, 200)), data.draw(st.integers(0, 9)))
    size = len(leaves)
    index = data.draw(st.integers(0, size - 1))
    before = data.draw(st.integers(1, size - 1))
    node = node_of(leaves)
    for proof, fits in (
        (
            tree.inclusion_proof(index, size, node),
            lambda p: included(mth([leaves[index]]), index, size, p, mth(leaves)),
        ),
        (
            tree.consistency_proof(before, size, node),
            lambda p: consistent(before, size, mth(leaves[:before]), mth(leaves), p),
        ),
    ):
        assert fits(proof)
        assert not fits([*proof, bytes(32)])
        assert not fits(proof[:-1])
        at = data.draw(st.integers(0, len(proof) - 1))
        damaged = bytearray(proof[at])
        damaged[data.draw(st.integers(0, 31))] ^= 1 << data.draw(st.integers(0, 7))
        assert not fits([*proof[:at], bytes(damaged), *proof[at + 1 :]])
        assert not fits([*proof[:at], proof[at][:-1], *proof[at + 1 :]])
        if len(set(proof)) > 1:
            assert not fits([*proof[1:], proof[0]])


@settings(max_examples=60)
@given(st.integers(0, 700), st.integers(0, 700))
def test_the_frontier_goes_on_from_anywhere(first: int, more: int) -> None:
    data = texts(first + more)
    one = Frontier()
    for leaf in data[:first]:
        one.append(mth([leaf]))
    assert one.root() == mth(data[:first])
    two = Frontier.from_bytes(first, one.to_bytes())
    kept = one.copy()
    nodes: list[tuple[int, int, bytes]] = []
    for leaf in data[first:]:
        two.append(mth([leaf]), nodes)
    for level, index, hashed in nodes:
        assert hashed == mth(data[index << level : (index + 1) << level])
    wanted = {
        (level, index)
        for level in range(11)
        for index in range((first + more) >> level)
        if (index + 1) << level > first
    }
    assert {one[:2] for one in nodes} == wanted
    assert len(nodes) == len(wanted)
    assert two.root() == mth(data)
    assert two.size == len(data)
    assert kept.root() == mth(data[:first])


def test_a_frontier_of_another_size_is_refused() -> None:
    for size, packed in ((3, bytes(32)), (1, bytes(64)), (1, bytes(31)), (-1, b""), (1 << 63, bytes(32))):
        with pytest.raises(ValueError, match=r"subtrees|32 bytes"):
            Frontier.from_bytes(size, packed)


def test_what_is_outside_of_the_tree() -> None:
    node = node_of(LEAVES)
    for index, size in ((8, 8), (-1, 8), (0, 0)):
        with pytest.raises(ValueError, match="no leaf"):
            tree.inclusion_proof(index, size, node)
        assert not included(mth([b""]), index, size, [], ROOTS[1])
    with pytest.raises(ValueError, match="beginning"):
        tree.consistency_proof(9, 8, node)
    assert tree.consistency_proof(0, 8, node) == []
    assert consistent(0, 8, EMPTY_ROOT, ROOTS[8], [])
    assert not consistent(0, 8, ROOTS[1], ROOTS[8], [])
    assert not consistent(9, 8, ROOTS[8], ROOTS[8], [])
    assert not consistent(3, 8, ROOTS[3], ROOTS[8], [])
