"""Layer: what is uploaded for a device -> a release whose files are those of its manifest; pure.

The edge can't judge the signature (it holds no release key, and shall not): the device does.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import cbor2

from edge_agent.errors import ReleaseError
from gatelink import cbor, manifest
from gatelink.errors import GatelinkError
from gatelink.manifest import Manifest

MAX_BODY = 320 * 1024
MAX_WIRE_NAME = 32  # characters in an UPDATE message


class Release(NamedTuple):
    """One firmware version: what its manifest says, the manifest as signed, its files by name."""

    about: Manifest
    signed: bytes
    files: dict[str, bytes]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(len(data) for data in self.files.values())


def unpack(body: bytes) -> Release:
    """CBOR {"v": 1, "manifest": bytes, "files": {name: bytes}} -> Release. Raises ReleaseError."""
    try:
        value = cbor2.loads(body)
    except cbor2.CBORDecodeError as error:
        raise ReleaseError(f"the body is no CBOR: {error}") from error
    if not isinstance(value, dict) or value.get("v") != 1:
        raise ReleaseError('the body is {"v": 1, "manifest": bytes, "files": {name: bytes}}')
    signed, files = value.get("manifest"), value.get("files")
    if not isinstance(signed, bytes) or not isinstance(files, dict):
        raise ReleaseError('"manifest" is bytes, "files" a map of bytes by name')
    if not all(isinstance(name, str) and isinstance(data, bytes) for name, data in files.items()):
        raise ReleaseError('"files" is a map of bytes by name')
    return read(signed, files)


def read(signed: bytes, files: dict[str, bytes]) -> Release:
    """Raises ReleaseError when the manifest is none, or lists other files than these."""
    try:
        about = manifest.check(cbor.loads(manifest.unwrap(signed)[1]))
    except GatelinkError as error:
        raise ReleaseError(f"the manifest is none: {error}") from error
    if sorted(files) != sorted(about.files):
        raise ReleaseError("the files are not those of the manifest")
    for name, (size, digest) in about.files.items():
        if len(files[name]) != size or hashlib.sha256(files[name]).digest() != digest:
            raise ReleaseError(f"{name}: not the file of the manifest")
        if len(name) > MAX_WIRE_NAME:
            raise ReleaseError(f"{name}: longer than the {MAX_WIRE_NAME} characters that a message carries")
    return Release(about, signed, files)
