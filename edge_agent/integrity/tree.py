"""Layer: Merkle trees of RFC 6962 (RFC 9162, 2.1): hashes, proofs and their verification; pure.

A tree of n leaves is told by `node(level, index)`: the hash over leaves index * 2^level up to (index + 1) * 2^level,
for those subtrees that are full. Everything else is put together from such hashes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()
MAX_SIZE = (1 << 63) - 1
MAX_PROOF = 64  # hashes in a proof of a tree that MAX_SIZE allows, and one more

Node = Callable[[int, int], bytes]


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """The full subtrees of a tree, the largest first: all that is needed to go on, and the root."""

    __slots__ = ("hashes", "size")

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        self.size = size
        self.hashes = list(hashes)
        if len(self.hashes) != size.bit_count() or not 0 <= size <= MAX_SIZE:
            raise ValueError(f"a tree of {size} leaves has {size.bit_count()} full subtrees")

    @classmethod
    def from_bytes(cls, size: int, packed: bytes) -> Frontier:
        """What to_bytes() gave. Raises ValueError when that is of another size."""
        if len(packed) % HASH_BYTES:
            raise ValueError("hashes have 32 bytes each")
        return cls(size, (packed[at : at + HASH_BYTES] for at in range(0, len(packed), HASH_BYTES)))

    def to_bytes(self) -> bytes:
        """The hashes one behind the other."""
        return b"".join(self.hashes)

    def copy(self) -> Frontier:
        """An independent copy."""
        return Frontier(self.size, self.hashes)

    def append(self, leaf: bytes, nodes: list[tuple[int, int, bytes]] | None = None, every: int = 1) -> None:
        """Adds a leaf's hash. `nodes` gets (level, index, hash) of what became full at every so many-th level."""
        hashes = self.hashes
        index = rest = self.size
        level = 0
        if nodes is not None:
            nodes.append((0, index, leaf))
        while rest & 1:
            leaf = sha256(b"\x01" + hashes.pop() + leaf).digest()
            rest >>= 1
            level += 1
            if nodes is not None and level % every == 0:
                nodes.append((level, index >> level, leaf))
        hashes.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """The tree's root."""
        return _folded(self.hashes)


def _folded(hashes: Sequence[bytes]) -> bytes:
    if not hashes:
        return EMPTY_ROOT
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


def full_subtrees(first: int, end: int, node: Node) -> list[bytes]:
    """The full subtrees of leaves first..end-1, the largest first; `first` is where such a subtree begins."""
    hashes: list[bytes] = []
    while first < end:
        level = (end - first).bit_length() - 1
        hashes.append(node(level, first >> level))
        first += 1 << level
    return hashes


def range_hash(first: int, end: int, node: Node) -> bytes:
    """MTH of leaves first..end-1, as full_subtrees()."""
    return _folded(full_subtrees(first, end, node))


def _split(size: int) -> int:
    """The largest power of two below size (size > 1)."""
    return 1 << (size - 1).bit_length() - 1


def inclusion_proof(index: int, size: int, node: Node) -> list[bytes]:
    """PATH(index, D[size]) of RFC 6962, 2.1.1: the leaf's neighbours, lowest first."""
    if not 0 <= index < size:
        raise ValueError(f"there is no leaf {index} in a tree of {size}")
    proof: list[bytes] = []
    first, end = 0, size
    while end - first > 1:
        middle = first + _split(end - first)
        if index < middle:
            proof.append(range_hash(middle, end, node))
            end = middle
        else:
            proof.append(range_hash(first, middle, node))
            first = middle
    proof.reverse()
    return proof


def consistency_proof(before: int, size: int, node: Node) -> list[bytes]:
    """PROOF(before, D[size]) of RFC 6962, 2.1.2; nothing where one of the trees is empty or both are the same."""
    if not 0 <= before <= size:
        raise ValueError(f"a tree of {before} is not the beginning of one of {size}")
    if before in (0, size):
        return []
    proof: list[bytes] = []
    first, end = 0, size
    whole = True
    while before != end:
        middle = first + _split(end - first)
        if before <= middle:
            proof.append(range_hash(middle, end, node))
            end = middle
        else:
            proof.append(range_hash(first, middle, node))
            first = middle
            whole = False
    if not whole:
        proof.append(range_hash(first, end, node))
    proof.reverse()
    return proof


def root_by_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes | None:
    """The root that a leaf's hash and its proof give (RFC 9162, 2.1.3.2); None when the proof has another shape."""
    if not 0 <= index < size <= MAX_SIZE:
        return None
    at, last, root = index, size - 1, leaf
    for neighbour in proof:
        if last == 0 or len(neighbour) != HASH_BYTES:
            return None
        if at & 1 or at == last:
            root = node_hash(neighbour, root)
            while not at & 1 and at:
                at >>= 1
                last >>= 1
        else:
            root = node_hash(root, neighbour)
        at >>= 1
        last >>= 1
    return root if last == 0 else None


def included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the leaf stands at `index` of the tree with this root."""
    return root_by_inclusion(leaf, index, size, proof) == root


def consistent(before: int, size: int, root_before: bytes, root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the tree of `before` leaves is the beginning of that of `size` (RFC 9162, 2.1.4.2)."""
    if not 0 <= before <= size <= MAX_SIZE:
        return False
    if before == 0:
        return not proof and root_before == EMPTY_ROOT
    if before == size:
        return not proof and root_before == root
    path = list(proof)
    if not path or any(len(one) != HASH_BYTES for one in path):
        return False
    if not before & before - 1:
        path.insert(0, root_before)
    at, last = before - 1, size - 1
    while at & 1:
        at >>= 1
        last >>= 1
    old = new = path[0]
    for neighbour in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            old, new = node_hash(neighbour, old), node_hash(neighbour, new)
            while not at & 1 and at:
                at >>= 1
                last >>= 1
        else:
            new = node_hash(new, neighbour)
        at >>= 1
        last >>= 1
    return last == 0 and (old, new) == (root_before, root)
