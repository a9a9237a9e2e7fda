"""Layer: `gatepost flash` and the console half of `gatepost provision`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from tools.device import image, install, keys
from tools.device.console import Console
from tools.errors import ToolError
from tools.provision import DeviceKeys

CONFIG = "/config.json"


def flash(
    port: str,
    board: str,
    role: str,
    *,
    micropython: Path | None = None,
    table: str = "8mb",
    erase: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> install.Installed:
    """MicroPython by esptool when an image is given, then the role's files; the program starts. Raises ToolError."""
    if board not in install.boards():
        raise ToolError(f"no board is called {board!r}; there are {', '.join(install.boards())}")
    if micropython is None and erase:
        raise ToolError("--erase needs --image: an empty chip has no MicroPython to talk to")
    if micropython is not None:
        image.flash(port, board, micropython, image.TABLES / f"{table}.csv", erase=erase)
        tell(f"MicroPython from {micropython.name}, partitions {table}")
    with Console(port) as console:
        done = install.install(console, role, board, tell=tell)
        console.restart()
    return done


def provision(port: str, device: DeviceKeys, config: Mapping[str, object] | None, *, rekey: bool) -> None:
    """Keys and /config.json onto a device, over its USB console; it starts anew. config None: it keeps its own.

    Raises ToolError, and then has written nothing, or left a device without keys.
    """
    with Console(port) as console:
        keys.refuse_overwrite(console, rekey=rekey)
        if config is not None:
            console.put(CONFIG, json.dumps(config, ensure_ascii=False).encode())
        keys.write(console, device)
        console.restart()
