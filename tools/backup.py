"""Layer: the file of a backup: a tar of the store, what lies beside it, and a manifest with every part's SHA-256.

manifest.json        what is in it, of which edge, of when
data/edge.sqlite     the store, one moment of it
data/NAME            small files beside the store (identity.key and the like)
config/NAME          with --config-files: edge.toml and what it names; put back by hand
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from edge_agent.errors import StoreError
from edge_agent.service import hang
from edge_agent.store import copies
from edge_agent.store.database import FILE_NAME, LOCK_NAME
from edge_agent.store.disk import BALLAST
from tools.errors import ToolError

VERSION = 1
MANIFEST = "manifest.json"
MAX_MANIFEST = 1 << 20
MAX_BESIDE = 64 * 1024  # what lies beside the store and is larger is no key or certificate
MAX_FILES = 64
NOT_BESIDE = (FILE_NAME, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm", LOCK_NAME, hang.FILE_NAME, BALLAST)
ROOM = 16 << 20


class Part(NamedTuple):
    """One file of the backup."""

    name: str
    size: int
    sha256: str


class Manifest(NamedTuple):
    """What the backup says of itself."""

    site: str
    edge: str
    made_ms: int
    program: str
    schema: int
    events: int
    waiting: int
    parts: tuple[Part, ...]


def make(
    data_dir: Path,
    target: Path,
    *,
    site: str,
    edge: str,
    program: str,
    now_ms: int,
    config_files: tuple[Path, ...] = (),
    force: bool = False,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Manifest:
    """Writes the backup of a store, in use or not. Raises ToolError; then the target is as it was."""
    if target.exists() and not force:
        raise ToolError(f"{target}: is there already; give another name, or --force to replace it")
    store = data_dir / FILE_NAME
    if not store.is_file():
        raise ToolError(f"{store}: there is no store yet; the agent makes it when it starts")
    try:
        _room(target.parent, store)
        with tempfile.TemporaryDirectory(prefix=".backup-", dir=target.parent) as name:
            work = Path(name)
            copies.copy(store, work / FILE_NAME, progress)
            found = copies.check(work / FILE_NAME)
            files = [(f"data/{FILE_NAME}", work / FILE_NAME)]
            files += [(f"data/{path.name}", path) for path in _beside(data_dir)]
            files += [(f"config/{path.name}", path) for path in config_files]
            manifest = Manifest(
                site, edge, now_ms, program, found.schema, found.events, found.waiting,
                tuple(Part(name, path.stat().st_size, _digest(path)) for name, path in files),
            )  # fmt: skip
            _write(work / "whole", manifest, files)
            read(work / "whole", None)
            (work / "whole").replace(target)
        _sync_folder(target.parent)
    except StoreError as error:
        raise ToolError(str(error)) from error
    except OSError as error:
        raise ToolError(f"{error.filename or target}: {error.strerror or error}") from error
    return manifest


def read(source: Path, into: Path | None) -> Manifest:
    """Checks every byte of a backup against its manifest; unpacks data/ into a folder, if given. Raises ToolError."""
    try:
        with tarfile.open(source, "r:") as tar:
            manifest = _manifest(source, tar)
            left = {part.name: part for part in manifest.parts}
            while (member := tar.next()) is not None:
                part = left.pop(member.name, None)
                content = tar.extractfile(member) if member.isreg() else None
                if part is None or content is None or member.size != part.size:
                    raise ToolError(
                        f"{source}: {member.name[:80]!r} does not belong there; this is no whole backup"
                    )
                folder, _, name = member.name.partition("/")
                with _sink(into / name if into is not None and folder == "data" else None) as sink:
                    if _pass_on(content, sink) != part.sha256:
                        raise ToolError(f"{source}: {part.name} is damaged (SHA-256); take another backup")
    except (OSError, tarfile.TarError, EOFError) as error:
        raise ToolError(f"{source}: can't be read: {getattr(error, 'strerror', None) or error}") from error
    if left:
        raise ToolError(f"{source}: {', '.join(left)} is missing; this is no whole backup")
    return manifest


def _manifest(source: Path, tar: tarfile.TarFile) -> Manifest:
    member = tar.next()
    content = tar.extractfile(member) if member is not None and member.isreg() else None
    if member is None or content is None or member.name != MANIFEST or member.size > MAX_MANIFEST:
        raise ToolError(f"{source}: is no backup of an edge: it does not begin with {MANIFEST}")
    try:
        value = json.loads(content.read(MAX_MANIFEST))
        if value["v"] != VERSION:
            raise ToolError(f"{source}: is of format {value['v']!r:.20}, this program knows {VERSION}")
        parts = tuple(
            Part(str(p["name"]), int(p["size"]), str(p["sha256"])) for p in value["parts"][:MAX_FILES]
        )
        manifest = Manifest(
            str(value["site"]), str(value["edge"]), int(value["made_ms"]), str(value["program"]),
            int(value["schema"]), int(value["events"]), int(value["waiting"]), parts,
        )  # fmt: skip
    except (ValueError, KeyError, TypeError) as error:
        raise ToolError(f"{source}: the manifest can't be read: {type(error).__name__}") from error
    for part in parts:
        folder, _, name = part.name.partition("/")
        if folder not in ("data", "config") or not name or name in (".", "..") or "/" in name or "\0" in name:
            raise ToolError(f"{source}: {part.name[:80]!r} is no name that a backup holds")
    if not any(part.name == f"data/{FILE_NAME}" for part in parts):
        raise ToolError(f"{source}: holds no store")
    return manifest


def _write(target: Path, manifest: Manifest, files: list[tuple[str, Path]]) -> None:
    about = {"v": VERSION, **manifest._asdict(), "parts": [part._asdict() for part in manifest.parts]}
    text = json.dumps(about, ensure_ascii=False, indent=1).encode()
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            _add(tar, MANIFEST, len(text), manifest.made_ms, io.BytesIO(text))
            for (name, path), part in zip(files, manifest.parts, strict=True):
                with path.open("rb") as content:
                    _add(tar, name, part.size, manifest.made_ms, content)
        file.flush()
        os.fsync(file.fileno())


def _add(tar: tarfile.TarFile, name: str, size: int, made_ms: int, content: IO[bytes]) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o600, made_ms // 1000
    tar.addfile(member, content)


def _beside(data_dir: Path) -> list[Path]:
    found = [
        path
        for path in sorted(data_dir.iterdir())
        if path.name not in NOT_BESIDE
        and not path.name.startswith(".")
        and path.is_file()
        and not path.is_symlink()
        and path.stat().st_size <= MAX_BESIDE
    ]
    if len(found) > MAX_FILES // 2:
        raise ToolError(
            f"{data_dir}: holds {len(found)} files beside the store; move what is not its own away"
        )
    return found


def _room(folder: Path, store: Path) -> None:
    """The copy and the tar of it are there together for a moment. Raises ToolError."""
    if not folder.is_dir():
        raise ToolError(f"{folder}: is no folder; make it first")
    wal = store.with_name(f"{FILE_NAME}-wal")
    size = store.stat().st_size + (wal.stat().st_size if wal.exists() else 0)
    free = shutil.disk_usage(folder).free
    if free < 2 * size + ROOM:
        raise ToolError(
            f"{folder}: {free:,} bytes are free, the backup needs {2 * size + ROOM:,} for a moment; choose another disk"
        )


@contextmanager
def _sink(path: Path | None) -> Iterator[IO[bytes] | None]:
    if path is None:
        yield None
        return
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _pass_on(content: IO[bytes], sink: IO[bytes] | None) -> str:
    digest = hashlib.sha256()
    while block := content.read(1 << 20):
        digest.update(block)
        if sink is not None:
            sink.write(block)
    return digest.hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return _pass_on(content, None)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
