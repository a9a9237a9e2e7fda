# Layer: ECDSA signatures on P-256 with SHA-256 (FIPS 186-5), verified with plain integers and in small steps.
# Jacobian coordinates, u1*G + u2*Q in one ladder (Shamir's trick). Only public values pass through here, so
# nothing has to take constant time; there is no signing on a device.

P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
    1,
)
_ZERO = (1, 1, 0)
# Ladder rounds in one step: two doublings and at most two additions.
ROUNDS = 2
# Rounds of the extended Euclid in one step.
_EUCLID_ROUNDS = 16

try:
    from typing import Iterator, Optional, Tuple

    Point = Tuple[int, int, int]
except ImportError:
    pass


def _double(point: "Point") -> "Point":
    x, y, z = point
    zz = z * z % P
    yy = y * y % P
    b = x * yy % P
    a = 3 * (x - zz) * (x + zz) % P
    x3 = (a * a - 8 * b) % P
    return x3, (a * (4 * b - x3) - 8 * yy * yy) % P, 2 * y * z % P


# Every pair of points: equal, opposite and zero ones too.
def _add(one: "Point", two: "Point") -> "Point":
    x1, y1, z1 = one
    x2, y2, z2 = two
    if not z1:
        return two
    if not z2:
        return one
    if z2 != 1:
        zz = z2 * z2 % P
        x1 = x1 * zz % P
        y1 = y1 * zz % P * z2 % P
    zz = z1 * z1 % P
    h = (x2 * zz - x1) % P
    r = (y2 * zz % P * z1 - y1) % P
    if not h:
        return _ZERO if r else _double(one)
    hh = h * h % P
    v = x1 * hh % P
    hh = hh * h % P
    x3 = (r * r - hh - 2 * v) % P
    return x3, (r * (v - x3) - y1 * hh) % P, z1 * z2 % P * h % P


# public_key: X || Y, 64 bytes; digest: 32 bytes; signature: r || s, 64 bytes.
# Yields None after every bounded piece of work and at last True (made by the holder of the key) or False.
def verify_steps(public_key: bytes, digest: bytes, signature: bytes) -> "Iterator[Optional[bool]]":
    if len(public_key) != 64 or len(digest) != 32 or len(signature) != 64:
        yield False
        return
    x = int.from_bytes(public_key[:32], "big")
    y = int.from_bytes(public_key[32:], "big")
    r = int.from_bytes(signature[:32], "big")
    s = int.from_bytes(signature[32:], "big")
    if x >= P or y >= P or (y * y - (x * x - 3) * x - _B) % P or not (0 < r < N and 0 < s < N):
        yield False
        return
    # w = 1/s mod N
    low, high, w, v = s, N, 1, 0
    rounds = 0
    while low > 1:
        q = high // low
        high, low = low, high - q * low
        v, w = w, v - q * w
        rounds += 1
        if not rounds % _EUCLID_ROUNDS:
            yield None
    u1 = (int.from_bytes(digest, "big") * w % N).to_bytes(32, "big")
    u2 = (r * w % N).to_bytes(32, "big")
    key = (x, y, 1)
    table = (_ZERO, _G, key, _add(_G, key))
    point = _ZERO
    yield None
    for i in range(32):
        one = u1[i]
        two = u2[i]
        for bit in range(7, -1, -1):
            point = _double(point)
            which = (one >> bit & 1) | (two >> bit & 1) << 1
            if which:
                point = _add(point, table[which])
            if not bit % ROUNDS:
                yield None
    x, _, z = point
    zz = z * z % P
    # The affine x is compared to r without an inversion; x may have been reduced by N, but at most once.
    yield bool(z) and ((x - r * zz) % P == 0 or (r + N < P and (x - (r + N) * zz) % P == 0))


def verify(public_key: bytes, digest: bytes, signature: bytes) -> bool:
    return bool(list(verify_steps(public_key, digest, signature))[-1])
