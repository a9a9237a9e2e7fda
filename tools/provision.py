"""Layer: makes a device's keys and puts each where it belongs: link key to the edge, event key to the office.

The device gets both. Nothing is overwritten unless asked, and a second set of keys is a new epoch.
"""

from __future__ import annotations

import json
import os
import secrets
import tomllib
from dataclasses import dataclass
from pathlib import Path

from gatelink import cose
from tools import device_code
from tools.errors import ToolError

ROLES = ("tag", "barrier")


@dataclass(frozen=True)
class DeviceKeys:
    """One device's secrets; repr shows none of them."""

    device: int
    role: str
    name: str
    link_key: bytes
    event_key: bytes
    epoch: int
    name_en: str = ""

    def __repr__(self) -> str:
        return f"DeviceKeys({self.device}, {self.role!r}, epoch {self.epoch}, {self.fingerprint})"

    @property
    def fingerprint(self) -> str:
        """What is read back and compared by eye; says nothing about the key."""
        return cose.fingerprint(self.link_key)


def new_keys(device: int, role: str, name: str, epoch: int = 0, *, name_en: str = "") -> DeviceKeys:
    """Fresh keys from the system's randomness."""
    return DeviceKeys(device, role, name, secrets.token_bytes(32), secrets.token_bytes(32), epoch, name_en)


def add_to_edge(path: Path, keys: DeviceKeys, *, rekey: bool = False) -> None:
    """Adds the device to the edge's devices.toml. Raises ToolError when it is there already and rekey is not set."""
    entries = _entries(path)
    others = _without(path, entries, str(keys.device), keys.device, None, rekey=rekey)
    entry: dict[str, object] = {
        "id": keys.device,
        "name": keys.name,
        "role": keys.role,
        "link_key": keys.link_key.hex(),
        "epoch": keys.epoch,
    }
    _write(path, [*others, entry], "Link keys: for the edge and the devices alone, mode 0600.")


def add_to_office(path: Path, site: str, keys: DeviceKeys, *, rekey: bool = False) -> None:
    """Adds the device's event key to the office's file. Raises ToolError as add_to_edge."""
    entries = _entries(path)
    others = _without(path, entries, f"{site}/{keys.device}", keys.device, site, rekey=rekey)
    entry: dict[str, object] = {
        "site": site,
        "id": keys.device,
        "name": keys.name,
        "name_en": keys.name_en,
        "event_key": keys.event_key.hex(),
    }
    _write(path, [*others, entry], "Event keys: for the office and the devices alone, mode 0600.")


def next_epoch(path: Path, device: int) -> int:
    """The epoch of a device's next key: 0 for a new device."""
    epochs = [entry.get("epoch", 0) for entry in _entries(path) if entry.get("id") == device]
    return max((epoch for epoch in epochs if isinstance(epoch, int)), default=-1) + 1


def _entries(path: Path) -> list[dict[str, object]]:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ToolError(f"{path}: can't be read as TOML: {error}") from error
    found = data.get("device", [])
    if set(data) - {"device"} or not isinstance(found, list):
        raise ToolError(f"{path}: holds something else than [[device]] tables; give another file")
    return [dict(entry) for entry in found]


def _without(
    path: Path, entries: list[dict[str, object]], shown: str, device: int, site: str | None, *, rekey: bool
) -> list[dict[str, object]]:
    others = [e for e in entries if e.get("id") != device or (site is not None and e.get("site") != site)]
    if len(others) != len(entries) and not rekey:
        raise ToolError(f"{path}: device {shown} has keys already; --rekey replaces them by new ones")
    return others


def _write(path: Path, entries: list[dict[str, object]], comment: str) -> None:
    """The whole file at once, readable by its owner only; a crash leaves the old one."""
    text = f"# {comment}\n"
    for entry in entries:
        text += "\n[[device]]\n"
        for key, value in entry.items():
            text += f"{key} = {json.dumps(value, ensure_ascii=False)}\n"
    fresh = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            os.fchmod(out.fileno(), 0o600)
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(path)
    except OSError as error:
        raise ToolError(f"{path}: can't be written: {error.strerror}") from error


def provision(
    keys: DeviceKeys,
    *,
    site: str,
    edge: Path,
    office: Path,
    board: Path | None = None,
    port: str | None = None,
    config: Path | None = None,
    rekey: bool = False,
) -> None:
    """Puts the keys where they belong; board: folder of a virtual board to write; port: a device's USB console.

    Raises ToolError, and then neither file has the keys.
    """
    settings = _device_config(config)
    if board is not None:
        device_code.with_virtual_board()
    if board is None and port is None and config is not None:
        raise ToolError("--device-config needs --port or --board: it is written onto the device")
    if board is not None and port is not None:
        raise ToolError("--port and --board are two devices; right is one of them")
    if board is not None and (board / "flash.bin").exists() and not rekey:
        raise ToolError(f"{board}: this board has keys already; --rekey replaces them by new ones")
    # both files are asked before one is written
    _without(edge, _entries(edge), str(keys.device), keys.device, None, rekey=rekey)
    _without(office, _entries(office), f"{site}/{keys.device}", keys.device, site, rekey=rekey)
    if port is not None:
        from tools.device import program

        # the device first: keys in the files that no device has would be worse to find
        program.provision(port, keys, settings if config is not None else None, rekey=rekey)
    add_to_office(office, site, keys, rekey=rekey)
    add_to_edge(edge, keys, rekey=rekey)
    if board is not None:
        _write_board(board, keys, settings)


def _device_config(path: Path | None) -> dict[str, object]:
    if path is None:
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ToolError(f"{path}: can't be read as JSON: {error}") from error
    if not isinstance(found, dict):
        raise ToolError(f"{path}: right is one JSON object, as in the README of the device's role")
    return found


def _write_board(folder: Path, keys: DeviceKeys, settings: dict[str, object]) -> None:
    from hw_tests.virtual_board.board import VirtualBoard

    role = "patrol_tag" if keys.role == "tag" else keys.role
    VirtualBoard(folder, role).provision(keys.device, keys.link_key, keys.event_key, keys.epoch, settings)
