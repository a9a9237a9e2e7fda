"""Our signatures and manifests against independent implementations: cryptography (OpenSSL) and pycose."""

import hashlib
import os
import re
from pathlib import Path

import pycddl
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from hypothesis import given, settings
from hypothesis import strategies as st
from pycose.keys import EC2Key
from pycose.messages import Sign1Message

from gatelink import cbor, manifest, p256
from tools.release import sign

KEY = ec.generate_private_key(ec.SECP256R1())
PUBLIC = sign.public_bytes(KEY.public_key())
TRUSTED = {manifest.kid(PUBLIC): PUBLIC}
FIELDS = {
    "ver": "1.0",
    "seq": 3,
    "min_seq": 1,
    "model": "barrier",
    "mpy_abi": 6,
    "expires": 1_900_000_000,
    "files": {"node/node.mpy": [5, hashlib.sha256(b"hello").digest()]},
}


def openssl_says(key: ec.EllipticCurvePublicKey, digest: bytes, signature: bytes) -> bool:
    numbers = (int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    algorithm = ec.ECDSA(utils.Prehashed(hashes.SHA256()))
    try:
        key.verify(utils.encode_dss_signature(*numbers), digest, algorithm)
    except InvalidSignature:
        return False
    return True


def test_signatures_of_openssl_and_their_mutations() -> None:
    for i in range(200):
        key = ec.generate_private_key(ec.SECP256R1())
        digest = os.urandom(32)
        der = key.sign(digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
        signature = b"".join(part.to_bytes(32, "big") for part in utils.decode_dss_signature(der))
        public = sign.public_bytes(key.public_key())
        assert p256.verify(public, digest, signature)
        for what in (bytearray(signature), bytearray(digest)):
            what[i % len(what)] ^= 1 << (i % 8)
            changed = (digest, bytes(what)) if len(what) == 64 else (bytes(what), signature)
            assert not p256.verify(public, *changed)


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.binary(min_size=32, max_size=32), st.sampled_from([bytes(32), b"\xff" * 32, bytes(31) + b"\1"])
    ),
    st.integers(0, 2**256 - 1),
    st.integers(0, 2**256 - 1),
)
def test_arbitrary_signatures_are_judged_like_openssl(digest: bytes, r: int, s: int) -> None:
    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    assert p256.verify(PUBLIC, digest, signature) == openssl_says(KEY.public_key(), digest, signature)


def pycose_key() -> EC2Key:
    return EC2Key(
        crv="P_256", x=PUBLIC[:32], y=PUBLIC[32:], d=KEY.private_numbers().private_value.to_bytes(32, "big")
    )


def test_an_independent_cose_library_reads_our_manifest() -> None:
    signed = sign.sign(FIELDS, KEY)
    message = Sign1Message.from_cose_obj(cbor.loads(signed), allow_unknown_attributes=False)
    message.external_aad = cbor.dumps(["gpm1"])
    message.key = pycose_key()
    assert message.verify_signature()
    message.external_aad = b""
    assert not message.verify_signature()


def test_we_read_its_manifest() -> None:
    message = Sign1Message(
        phdr={"ALG": "ES256"}, uhdr={"KID": manifest.kid(PUBLIC)}, payload=cbor.dumps(FIELDS)
    )
    message.external_aad = cbor.dumps(["gpm1"])
    message.key = pycose_key()
    assert manifest.verify(message.encode(tag=False), TRUSTED).ver == "1.0"


def test_a_wrong_manifest_is_never_signed() -> None:
    for change in ({"seq": 0}, {"files": {}}, {"files": {"../x.mpy": [1, bytes(32)]}}, {"more": 1}):
        try:
            sign.sign({**FIELDS, **change}, KEY)
        except manifest.ManifestError:
            continue
        raise AssertionError(change)


def test_the_cddl_parses_and_names_every_field() -> None:
    # Only the syntax: pycddl 0.6.4 panics on validating a regexp inside a .cbor.
    text = (Path(__file__).parents[1] / "manifest.cddl").read_text()
    pycddl.Schema(text)
    assert re.findall(r'^  "(\w+)" =>', text, re.MULTILINE) == list(manifest.FIELDS)
