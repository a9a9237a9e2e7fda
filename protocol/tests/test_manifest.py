# Manifests and P-256 signatures against the vectors. Runs on CPython and, through test_manifest_vm.py, on
# MicroPython.
import hashlib
from binascii import hexlify, unhexlify

from gatelink import cbor, manifest, p256
from protocol.tests import vectors


def keys(found):
    public = unhexlify(found["public_key"])
    return {manifest.kid(public): public}


def reason(signed, trusted):
    found = vectors.refusal(manifest.verify, signed, trusted)
    return found[1] if found else None


def test_valid_manifests_read_as_written():
    found = vectors.load("valid/manifest")
    for row in found["vectors"]:
        read = manifest.verify(unhexlify(row["signed"]), keys(found))
        fields = row["fields"]
        files = {name: (size, unhexlify(digest)) for name, (size, digest) in fields["files"].items()}
        assert tuple(read)[:6] == tuple(fields[key] for key in manifest.FIELDS[:6]), row["name"]
        assert read.files == files, row["name"]


def test_valid_manifests_are_the_deterministic_encoding():
    for row in vectors.rows("valid/manifest"):
        signed = unhexlify(row["signed"])
        key_id, payload, signature = manifest.unwrap(signed)
        assert manifest.wrap(key_id, payload, signature) == signed
        assert cbor.dumps(cbor.loads(payload)) == payload


def test_invalid_manifests_are_refused_with_their_reason():
    found = vectors.load("invalid/manifest")
    for row in found["vectors"]:
        assert reason(unhexlify(row["signed"]), keys(found)) == row["reason"], row["name"]


def test_no_flipped_bit_passes():
    found = vectors.load("valid/manifest")
    signed = unhexlify(found["vectors"][1]["signed"])
    for bit in range(0, len(signed) * 8, 37):
        broken = bytearray(signed)
        broken[bit // 8] ^= 1 << (bit % 8)
        assert reason(bytes(broken), keys(found)) is not None, bit


def test_rfc_6979():
    check_signatures("external/manifest_rfc6979")


def test_wycheproof():
    check_signatures("external/manifest_wycheproof")


def check_signatures(name):
    for row in vectors.rows(name):
        digest = hashlib.sha256(unhexlify(row["message"])).digest()
        found = p256.verify(unhexlify(row["public_key"]), digest, unhexlify(row["signature"]))
        assert found == row["good"], row["name"]


def test_cose_working_group_examples():
    found = vectors.load("external/manifest_cose_sign1")
    for row in found["vectors"]:
        signed = manifest.to_be_signed(
            unhexlify(row["payload"]), unhexlify(row["protected"]), unhexlify(row["external_aad"])
        )
        assert hexlify(signed).decode() == row["to_be_signed"], row["name"]
        digest = hashlib.sha256(signed).digest()
        good = p256.verify(unhexlify(found["public_key"]), digest, unhexlify(row["signature"]))
        assert good == row["good"], row["name"]


def test_keys_off_the_curve_and_odd_lengths_are_refused():
    row = vectors.rows("external/manifest_rfc6979")[0]
    public = unhexlify(row["public_key"])
    digest = hashlib.sha256(unhexlify(row["message"])).digest()
    signature = unhexlify(row["signature"])
    assert p256.verify(public, digest, signature)
    other = bytearray(public)
    other[63] ^= 1
    over = p256.P.to_bytes(32, "big")
    for key in (
        bytes(other),
        bytes(64),
        over + public[32:],
        public[:32] + over,
        public[:63],
        b"",
        public + b"\0",
    ):
        assert not p256.verify(key, digest, signature)
    assert not p256.verify(public, digest[:31], signature)
    assert not p256.verify(public, digest, signature + b"\0")
    assert not p256.verify(public, digest, b"")


def test_verification_goes_in_steps():
    found = vectors.load("valid/manifest")
    steps = list(manifest.verify_steps(unhexlify(found["vectors"][0]["signed"]), keys(found)))
    assert len(steps) > 128
    assert steps[:-1] == [None] * (len(steps) - 1)
    assert steps[-1].ver == "1.1.0"
