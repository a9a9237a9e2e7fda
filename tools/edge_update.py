"""Layer: hands a release folder to a running edge agent, for one of its devices."""

from __future__ import annotations

from pathlib import Path

import cbor2

from gatelink import cbor, manifest
from gatelink.errors import GatelinkError
from tools.edge_ask import Agent, send
from tools.errors import ToolError


def ask(agent: Agent, device: int, release: Path | None) -> str:
    """release: a folder of tools.release, None: withdraw -> what came of it, in a line. Raises ToolError."""
    path = f"/devices/{device}/update"
    if release is None:
        send(agent, path, None, method="DELETE")
        return f"device {device}: update withdrawn"
    found = send(agent, path, pack(release), "application/cbor")
    return (
        f"device {device}: version {found.get('version')} (seq {found.get('seq')}, {found.get('bytes')} bytes)"
        " is on its way; gatepost status shows how far it is"
    )


def pack(release: Path) -> bytes:
    """A release folder -> the body that the agent takes. Raises ToolError."""
    try:
        signed = (release / "manifest").read_bytes()
        about = manifest.check(cbor.loads(manifest.unwrap(signed)[1]))
        files = {name: (release / name).read_bytes() for name in about.files}
    except OSError as error:
        raise ToolError(f"{release}: no release as tools.release builds it: {error}") from error
    except GatelinkError as error:
        raise ToolError(f"{release / 'manifest'}: no manifest: {error}") from error
    return cbor2.dumps({"v": 1, "manifest": signed, "files": files})
