# Layer: the signed list of what belongs to one firmware version: untagged COSE_Sign1 with ES256 (RFC 9052,
# 9053).
#   84 | 43 A10126 | A1 04 bstr(kid) | bstr(payload) | bstr(r || s)
#   payload {ver, seq, min_seq, model, mpy_abi, expires, files: {name: [size, sha256]}}, deterministic CBOR
#   external_aad = CBOR ["gpm1"]: no signature made for another purpose ever reads as a manifest.
import hashlib
from collections import namedtuple

from gatelink import cbor, p256, reasons
from gatelink.errors import CborError, GatelinkError

try:
    from typing import Any, Dict, Iterator, Optional, Tuple
except ImportError:
    pass

# Counter names, like those of gatelink.reasons.
UNKNOWN_KEY = "unknown_key"
BAD_SIGNATURE = "bad_signature"
UNKNOWN_FIELD = "unknown_field"
MISSING_FIELD = "missing_field"
BAD_NAME = "bad_name"
EMPTY = "empty"

MAX_SIGNED = 6144
MAX_FILES = 64
MAX_FILE = 65536
MAX_TOTAL = 262144
MAX_NAME = 48
KID_SIZE = 8
# Files decoded or checked in one step.
_FILES_A_STEP = 4

_PROTECTED = b"\xa1\x01\x26"
_AAD = b"\x81\x64gpm1"
_WORD = "abcdefghijklmnopqrstuvwxyz0123456789_"

# ver: str shown to people; seq: int, grows with every release; min_seq: int, nothing older is accepted once
# this runs; model: str; mpy_abi: int, the version byte of .mpy files; expires: int, unix seconds;
# files: dict name -> (size in bytes, sha256)
Manifest = namedtuple("Manifest", ("ver", "seq", "min_seq", "model", "mpy_abi", "expires", "files"))
FIELDS = ("ver", "seq", "min_seq", "model", "mpy_abi", "expires", "files")


# These bytes are no manifest for anybody; .reason says why.
class ManifestError(GatelinkError):
    pass


# public_key: X || Y, 64 bytes -> the key id that goes into the header.
def kid(public_key: bytes) -> bytes:
    return hashlib.sha256(public_key).digest()[:KID_SIZE]


# A relative path of at most three lower-case words, the last one ending in .mpy: never absolute, never up,
# and nothing that would stand for the boot selector or the main program in the root.
def check_name(name: "Any") -> None:
    good = isinstance(name, str) and len(name) <= MAX_NAME and name.endswith(".mpy")
    if good:
        words = name[:-4].split("/")
        good = len(words) <= 3 and words[0] not in ("boot", "main")
        for word in words:
            if not word:
                good = False
            for letter in word:
                if letter not in _WORD:
                    good = False
    if not good:
        raise ManifestError(BAD_NAME)


def _whole(value: "Any") -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53


def _word(value: "Any", most: int) -> bool:
    if not isinstance(value, str) or not 0 < len(value) <= most:
        return False
    return all(" " < letter < "\x7f" for letter in value)


# fields: what the payload holds. Raises ManifestError with the reason of the first thing that is wrong.
def check(fields: "Any") -> "Manifest":
    return _last(_check_steps(fields))


# Yields None after every few files, at last the Manifest.
def _check_steps(fields: "Any") -> "Iterator[Optional[Manifest]]":
    if not isinstance(fields, dict):
        raise ManifestError(reasons.BAD_FIELD, "not a map")
    for key in fields:
        if key not in FIELDS:
            raise ManifestError(UNKNOWN_FIELD)
    for key in FIELDS:
        if key not in fields:
            raise ManifestError(MISSING_FIELD, key)
    if not _word(fields["ver"], 16) or not _word(fields["model"], 32):
        raise ManifestError(reasons.BAD_FIELD, "ver or model")
    for key in ("seq", "min_seq", "mpy_abi", "expires"):
        if not _whole(fields[key]):
            raise ManifestError(reasons.BAD_FIELD, key)
    if fields["min_seq"] > fields["seq"] or fields["seq"] > 0xFFFFFFFF:
        raise ManifestError(reasons.BAD_FIELD, "seq")
    listed = fields["files"]
    if not isinstance(listed, dict):
        raise ManifestError(reasons.BAD_FIELD, "files")
    if not listed:
        raise ManifestError(EMPTY)
    if len(listed) > MAX_FILES:
        raise ManifestError(reasons.TOO_LONG, "files")
    total = 0
    files = {}
    for name in listed:
        check_name(name)
        entry = listed[name]
        if not isinstance(entry, (list, tuple)) or len(entry) != 2:
            raise ManifestError(reasons.BAD_FIELD, "file entry")
        size, digest = entry
        if not _whole(size) or not isinstance(digest, bytes) or len(digest) != 32:
            raise ManifestError(reasons.BAD_FIELD, "file entry")
        if not size:
            raise ManifestError(EMPTY, name)
        total += size
        if size > MAX_FILE or total > MAX_TOTAL:
            raise ManifestError(reasons.TOO_LONG, name)
        files[name] = (size, digest)
        if not len(files) % _FILES_A_STEP:
            yield None
    values = [fields[key] for key in FIELDS[:6]]
    values.append(files)
    yield Manifest(*values)


def _last(steps: "Iterator[Optional[Manifest]]") -> "Manifest":
    found = list(steps)[-1]
    assert found is not None
    return found


# The keys of a map, in their order; after each the reader stands on its value.
def _keys(reader: "cbor.Reader") -> "Iterator[Any]":
    major, number = reader.head()
    if major != 5:
        raise ManifestError(reasons.BAD_FIELD, "not a map")
    last = b""
    for _ in range(number):
        start = reader.pos
        key = reader.value(0)
        encoded = reader.buffer[start : reader.pos]
        if isinstance(key, bool) or not isinstance(key, (int, str)):
            raise CborError(reasons.UNSUPPORTED, "map key")
        if encoded <= last:
            raise CborError(reasons.NOT_CANONICAL, "keys unsorted or repeated")
        last = encoded
        yield key


# As check(cbor.loads(payload)), in steps: a long list of files would hold up a device.
def _read_steps(payload: bytes) -> "Iterator[Optional[Manifest]]":
    reader = cbor.Reader(payload)
    fields: "Dict[Any, Any]" = {}
    for key in _keys(reader):
        if key == "files":
            fields[key] = files = {}
            for name in _keys(reader):
                files[name] = reader.value(1)
                if not len(files) % _FILES_A_STEP:
                    yield None
        else:
            fields[key] = reader.value(cbor.MAX_DEPTH)
    if reader.pos != reader.end:
        raise CborError(reasons.TRAILING)
    yield None
    yield from _check_steps(fields)


# What is signed (RFC 9052 section 4.4).
def to_be_signed(payload: bytes, protected: bytes = _PROTECTED, aad: bytes = _AAD) -> bytes:
    return cbor.dumps(["Signature1", protected, aad, payload])


# signature: r || s, 64 bytes.
def wrap(key_id: bytes, payload: bytes, signature: bytes) -> bytes:
    return cbor.dumps([_PROTECTED, {4: key_id}, payload, signature])


# -> (key id, payload, signature), nothing of it trusted yet. Raises CborError, ManifestError.
def unwrap(signed: bytes) -> "Tuple[bytes, bytes, bytes]":
    if len(signed) > MAX_SIGNED:
        raise ManifestError(reasons.TOO_LONG)
    parts = cbor.loads(signed)
    if not isinstance(parts, list) or len(parts) != 4:
        raise ManifestError(reasons.BAD_HEADER, "not a COSE_Sign1")
    protected, unprotected, payload, signature = parts
    if protected != _PROTECTED or not isinstance(unprotected, dict) or list(unprotected) != [4]:
        raise ManifestError(reasons.BAD_HEADER)
    key_id = unprotected[4]
    if not isinstance(key_id, bytes) or len(key_id) != KID_SIZE:
        raise ManifestError(reasons.BAD_HEADER, "kid")
    if not isinstance(payload, bytes) or not isinstance(signature, bytes) or len(signature) != 64:
        raise ManifestError(reasons.BAD_HEADER, "payload or signature")
    return key_id, payload, signature


# keys: key id -> public key (X || Y). Yields None after every bounded piece of work, at last the Manifest.
# Nothing of the payload is decoded before its signature holds. Raises CborError, ManifestError.
def verify_steps(signed: bytes, keys: "Dict[bytes, bytes]") -> "Iterator[Optional[Manifest]]":
    key_id, payload, signature = unwrap(signed)
    public_key = keys.get(key_id)
    if public_key is None:
        raise ManifestError(UNKNOWN_KEY)
    digest = hashlib.sha256(to_be_signed(payload)).digest()
    yield None
    good = None
    for good in p256.verify_steps(public_key, digest, signature):
        if good is None:
            yield None
    if not good:
        raise ManifestError(BAD_SIGNATURE)
    yield None
    yield from _read_steps(payload)


# All steps at once. Raises CborError, ManifestError.
def verify(signed: bytes, keys: "Dict[bytes, bytes]") -> "Manifest":
    return _last(verify_steps(signed, keys))
