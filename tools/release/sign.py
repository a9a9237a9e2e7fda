"""Layer: the list of a version's files -> signed manifest; keys and the folder a version is kept in."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from gatelink import cbor, manifest

PrivateKey = ec.EllipticCurvePrivateKey


class ReleaseError(Exception):
    """A key or a release folder is not what it should be; the text says what is wrong with which file."""


def public_bytes(key: ec.EllipticCurvePublicKey) -> bytes:
    """X || Y, 64 bytes: how a device keeps the key."""
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)[1:]


def new_key(path: Path) -> PrivateKey:
    """A new signing key in a PEM file that only its owner reads. Raises FileExistsError, never overwrites."""
    key = ec.generate_private_key(ec.SECP256R1())
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(text)
    return key


def load_key(path: Path) -> PrivateKey:
    """Raises ReleaseError unless the file is a P-256 private key without a password."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError) as error:
        raise ReleaseError(f"{path}: no private key in PEM form without a password: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ReleaseError(f"{path}: not a key on P-256")
    return key


def entries(files: dict[str, bytes]) -> dict[str, list[Any]]:
    """The manifest's `files`: name -> [size, sha256]."""
    return {name: [len(data), hashlib.sha256(data).digest()] for name, data in files.items()}


def sign_payload(payload: bytes, key: PrivateKey) -> bytes:
    """The signed manifest around any payload; sign() is for payloads that were checked."""
    der = key.sign(manifest.to_be_signed(payload), ec.ECDSA(hashes.SHA256()))
    r, s = utils.decode_dss_signature(der)
    kid = manifest.kid(public_bytes(key.public_key()))
    return manifest.wrap(kid, payload, r.to_bytes(32, "big") + s.to_bytes(32, "big"))


def sign(fields: dict[str, Any], key: PrivateKey) -> bytes:
    """fields: ver, seq, min_seq, model, mpy_abi, expires, files -> signed manifest. Raises ManifestError."""
    manifest.check(fields)
    signed = sign_payload(cbor.dumps(fields), key)
    # What the devices would refuse never leaves this machine.
    public = public_bytes(key.public_key())
    manifest.verify(signed, {manifest.kid(public): public})
    return signed


def write_release(folder: Path, files: dict[str, bytes], signed: bytes) -> None:
    """Writes a version as a new folder: `manifest` and the files beside it. Raises FileExistsError."""
    folder.mkdir(parents=True)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "manifest").write_bytes(signed)


def read_release(folder: Path, keys: dict[bytes, bytes]) -> tuple[manifest.Manifest, bytes, dict[str, bytes]]:
    """(manifest, its signed bytes, files), all checked. Raises ReleaseError, ManifestError, CborError."""
    signed = (folder / "manifest").read_bytes()
    found = manifest.verify(signed, keys)
    files = {}
    for name, (size, digest) in found.files.items():
        data = (folder / name).read_bytes()
        if len(data) != size or hashlib.sha256(data).digest() != digest:
            raise ReleaseError(f"{folder / name}: not the file that was signed")
        files[name] = data
    return found, signed, files
