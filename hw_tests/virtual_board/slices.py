"""Layer: a role's main program in the VM, run in slices so that its heap can be measured; see slices.mjs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from hw_tests.virtual_board import nvs, wiring
from hw_tests.virtual_board.node import HERE, check_packages, find_node


class Ran(NamedTuple):
    """What a stretch of time cost, heap in bytes. `us`: the world's time at its end."""

    us: float
    peak: int  # allocated at the end of the fullest slice, nothing collected in it
    live: int  # still alive at the end
    allocated: int  # in all slices together
    slices: int
    durable: (
        tuple[float, float] | None
    )  # since the last tap until the journal's slot was written: ms modelled, CPU
    sent: bytes


class SlicedBoard:
    """One power cycle of a board in `folder` whose application is compiled; `with` starts and ends the process."""

    def __init__(
        self,
        folder: Path,
        role: str,
        code: Mapping[str, Path],
        *,
        plant: Mapping[str, float] | None = None,
        board: str = "esp32_devkit",
    ) -> None:
        """code: {package's path on the board: host folder of .mpy or .py files}."""
        folder = folder.resolve()
        self._files = folder / "files"
        self._files.mkdir(parents=True, exist_ok=True)
        (self._files / "boot.py").write_bytes((wiring.REPO / "firmware" / "boot.py").read_bytes())
        self._flash = folder / "flash.bin"
        self._settings = {
            "flash": str(self._flash),
            "files": str(self._files),
            "code": [[point, str(root.resolve())] for point, root in code.items()],
            "wiring": wiring.load(role, board),
            "plant": dict(plant or {}),
            "cause": 1,
        }
        self._process: subprocess.Popen[str] | None = None
        self.idle = 0  # heap bytes alive before the application

    def provision(
        self, device: int, link_key: bytes, event_key: bytes, config: Mapping[str, Any], **marks: int
    ) -> None:
        """Keys and counters into NVS, /config.json into the files; marks: acked and seqmin of the journal."""
        entries: dict[str, int | bytes] = {"dev": nvs.signed(device), "link": link_key, "event": event_key}
        nvs.write(self._flash, {"gatepost": {**entries, "epoch": 0, "boot": 0, **marks}})
        (self._files / "config.json").write_text(json.dumps(config), encoding="utf-8")

    def __enter__(self) -> SlicedBoard:
        check_packages()
        self._process = subprocess.Popen(
            [find_node(), "--no-warnings", str(HERE / "slices.mjs"), json.dumps(self._settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.idle = self._answer()["alive"]
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ask(self, op: str, **more: Any) -> dict[str, Any]:
        """One operation of slices.mjs. Raises RuntimeError when the board died: the reason and what it printed."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"op": op, **more}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"dead": "its process ended"}
        if "dead" in answer:
            raise RuntimeError(f"the board died: {answer['dead']}\n{answer.get('printed', '')}")
        return answer

    def load(self, module: str) -> int:
        """Imports a module; heap bytes alive afterwards."""
        live: int = self.ask("load", name=module)["live"]
        return live

    def run(self, ms: float) -> Ran:
        """Lets `ms` pass, less when the device says something."""
        answer = self.ask("run", ms=ms)
        durable = answer["durable"]
        return Ran(
            us=answer["us"],
            peak=answer["peak"],
            live=answer["live"],
            allocated=answer["allocated"],
            slices=answer["slices"],
            durable=(durable["virtual"], durable["cpu"]) if durable else None,
            sent=bytes.fromhex(answer["sent"]),
        )

    def receive(self, data: bytes) -> None:
        """Bytes for the device's uplink."""
        self.ask("receive", data=data.hex())
