"""Layer: files that hold keys: written whole or not at all, refused when anybody else could read or replace them."""

from __future__ import annotations

import os
import pwd
import stat
import tempfile
from pathlib import Path

from edge_agent.errors import ConfigError, StoreError

FOLDER, FILE = 0o700, 0o600


def check_folder(folder: Path) -> None:
    """data_dir and what lies in it are its owner's alone, or absent. Raises ConfigError with the remedy, StoreError."""
    try:
        if not folder.exists():
            return
    except OSError as error:
        raise _unreachable(folder, "data_dir", error) from error
    if not folder.is_dir():
        raise ConfigError(str(folder), None, "data_dir", "is no folder")
    _check(folder, "data_dir", FOLDER)
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise StoreError(f"data_dir can't be read: {error.strerror} ({folder.name})") from error
    for path in found:
        # What SQLite makes and removes while it runs has the mode of the database.
        if path.suffix in (".key", ".toml", ".sqlite") or path.name.endswith(("-wal", "-shm")):
            check_file(path, path.name)


def check_file(path: Path, what: str = "") -> None:
    """This file is its owner's alone. Raises ConfigError with the remedy."""
    _check(path, what, FILE)


def check_user(folder: Path) -> None:
    """Root must leave no files of its own where another user works. Raises ConfigError with the remedy."""
    if os.geteuid() != 0 or not folder.exists():
        return
    owner = folder.stat().st_uid
    if owner != 0:
        try:
            name = pwd.getpwuid(owner).pw_name
        except KeyError:
            name = f"'#{owner}'"  # as sudo takes a number, and a shell leaves it
        raise ConfigError(str(folder), None, "", f"belongs to {name}; right is: sudo -u {name} gatepost ...")


def check_place(path: Path) -> None:
    """Nobody else can put another file in this one's place. Raises ConfigError with the remedy."""
    mode = path.parent.stat().st_mode
    if mode & (stat.S_IWGRP | stat.S_IWOTH) and not mode & stat.S_ISVTX:
        problem = f"lies in a folder that others can write to; right is: chmod go-w {path.parent}"
        raise ConfigError(path.name, None, "", problem)


def write(path: Path, content: str) -> None:
    """The file with this content and mode 0600, on the disk when this returns; before, the old one. Raises OSError."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(handle)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)  # still there only when it failed
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _check(path: Path, what: str, right: int) -> None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unreachable(path, what, error) from error
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigError(path.name, None, what, f"is open to other users; right is: chmod {right:o} {path}")


def _unreachable(path: Path, what: str, error: OSError) -> ConfigError:
    return ConfigError(str(path), None, what, f"can't be reached by this user: {error.strerror}")
