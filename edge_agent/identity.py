"""Layer: this edge's own Ed25519 key pair: made once, at the first start, and kept in data_dir beside the store."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from edge_agent.errors import StoreError

FILE_NAME = "identity.key"
KEY_BYTES, SIGNATURE_BYTES = 32, 64
MAX_FILE = 4_096
_REMEDY = "put it back from a backup, or move it aside: the office then has to accept this edge's new key"


class Identity:
    """The edge's key pair. Only this file touches the private half."""

    __slots__ = ("_private", "public")

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)  # 32 bytes

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of an Ed25519 signature. The caller puts a context string of its own in front."""
        return self._private.sign(message)

    @property
    def fingerprint(self) -> str:
        """See fingerprint()."""
        return fingerprint(self.public)

    def __repr__(self) -> str:
        return f"Identity({self.fingerprint})"


def fingerprint(public: bytes) -> str:
    """A public key for people to compare: the first 16 bytes of its SHA-256, as 8 groups of 4 hexadecimal digits."""
    digits = hashlib.sha256(public).hexdigest()[:32]
    return "-".join(digits[at : at + 4] for at in range(0, 32, 4))


def verify(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether `signature` (64 bytes) of `message` was made with the private half of `public` (32 bytes)."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def load_or_make(folder: Path) -> Identity:
    """The key in `folder`; made, and on the disk, when there is none. Raises StoreError as load() does."""
    try:
        os.lstat(folder / FILE_NAME)
    except FileNotFoundError:
        _make(folder)
    except OSError as error:
        raise StoreError(f"{FILE_NAME} can't be read: {error.strerror}") from error
    return load(folder)


def load(folder: Path) -> Identity:
    """The key in `folder`. Raises StoreError when it is not there, open to other users, or damaged."""
    try:
        handle = os.open(folder / FILE_NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise StoreError(f"{FILE_NAME} is no plain file: {_REMEDY}")
            if stat.S_IMODE(found.st_mode) & 0o077:
                raise StoreError(f"{FILE_NAME} is open to other users; right is: chmod 600 {FILE_NAME}")
            text = file.read(MAX_FILE + 1)
    except OSError as error:
        raise StoreError(f"{FILE_NAME} can't be read: {error.strerror}") from error
    try:
        private = load_pem_private_key(text[: MAX_FILE + 1], password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise StoreError(f"{FILE_NAME} is damaged: {_REMEDY}") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise StoreError(f"{FILE_NAME} holds another kind of key than Ed25519: {_REMEDY}")
    return Identity(private)


def _make(folder: Path) -> None:
    """A new key under its name, wholly on the disk or not at all; a key that somebody else made meanwhile stays."""
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{FILE_NAME}.", dir=folder)  # 0600
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(pem)
                file.flush()
                os.fsync(handle)
            # Not rename(): that would replace the key of a second process that started at the same moment.
            os.link(temporary, folder / FILE_NAME)
        except FileExistsError:
            return
        finally:
            temporary.unlink()
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise StoreError(f"{FILE_NAME} can't be made: {error.strerror}") from error
