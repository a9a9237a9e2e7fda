"""Into service, as a technician does it: flash, provision over the console, and a real edge agent hears the device."""

import asyncio
import json
import tomllib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hw_tests.suite.target import SerialTarget
from tools import cli
from tools.device import install, keys
from tools.device.console import Console
from tools.simulate.processes import Child, fetch_json, free_port

pytestmark = [pytest.mark.vm, pytest.mark.role("tag"), pytest.mark.needs("chip", "console", "scratch", "uplink")]

DEVICE = 4_000_000_007  # does not fit into the i32 that NVS has
PROGRAMS = Path(__file__).parent / "programs"
HEARD_S = 60.0


def provision(target: SerialTarget, folder: Path, *more: str) -> int:
    files = ["--edge", str(folder / "devices.toml"), "--office", str(folder / "event-keys.toml")]
    who = ["--site", "bench", "--device", str(DEVICE), "--role", "tag", "--name", "台架"]
    return cli.main(["provision", *who, *files, "--port", target.port, *more])


@asynccontextmanager
async def edge(target: SerialTarget, folder: Path) -> AsyncIterator[str]:
    """A real edge agent on the device's uplink; the address of its status."""
    status = f"127.0.0.1:{free_port()}"
    (folder / "edge.toml").write_text(
        '[edge]\nsite = "bench"\nid = "edge-1"\ndata_dir = "data"\n[devices]\nfile = "devices.toml"\n'
        f'[[port]]\nkind = "serial"\npath = "{target.uplink_port}"\n[status]\nlisten = "{status}"\n'
    )
    arguments = ["edge", "run", "--config", str(folder / "edge.toml")]
    agent = Child("edge", arguments, folder / "edge.log", f"http://{status}/status")
    await agent.start()
    try:
        yield f"http://{status}/status"
    finally:
        await agent.stop()


async def until(url: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What the edge says of the device once the condition holds."""
    found: Any = None
    try:
        async with asyncio.timeout(HEARD_S):
            while True:
                found = await fetch_json(url)
                device = next(d for d in found["devices"] if d["id"] == DEVICE)
                if condition(device):
                    return dict(device)
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"in {HEARD_S} s the edge has seen only: {json.dumps(found)}") from None


def blank(target: SerialTarget) -> None:
    """A bench board as it comes: no keys, no events."""
    target.run(
        "from esp32 import NVS\nnvs = NVS('gatepost')\n"
        "for key in ('dev', 'link', 'event', 'epoch', 'boot', 'cur', 'next', 'acked', 'seqmin'):\n"
        " try: nvs.erase_key(key)\n"
        " except OSError: pass\n"
        "nvs.commit()"
    )
    target.run((PROGRAMS / "journal.py").read_text(encoding="utf-8") + "\nwipe()\n", timeout_s=120)


async def test_from_blank_to_heard(
    device: SerialTarget, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blank(device)
    device.free()
    assert cli.main(["flash", "--port", device.port, "--role", "tag", "--board", device.board]) == 0
    assert "the program starts" in capsys.readouterr().out

    config = tmp_path / "config.json"
    settings = {"watchdog_s": 60, "_name": "台架"}
    config.write_text(json.dumps(settings))
    assert provision(device, tmp_path, "--device-config", str(config)) == 0
    printed = capsys.readouterr().out
    entry = tomllib.loads((tmp_path / "devices.toml").read_text(encoding="utf-8"))["device"][0]
    assert entry["link_key"] not in printed

    async with edge(device, tmp_path) as status:
        heard = await until(status, lambda d: d["online"] and d["acked_seq"] >= 1)
        assert heard["firmware"].startswith("tag-")
        assert not any(heard["rejects"].values())
        if not (device.lacks("reader") or device.lacks("hands")):
            device.hold_card()
            await until(status, lambda d: d["acked_seq"] > heard["acked_seq"])

    # keys that are there stay, and no file is touched
    before = [(tmp_path / name).read_bytes() for name in ("devices.toml", "event-keys.toml")]
    other = tmp_path / "other"
    assert provision(device, other) == 2
    refusal = capsys.readouterr().err
    assert "--rekey" in refusal
    assert str(DEVICE) in refusal
    assert not (other / "devices.toml").exists()
    with Console(device.port) as console:
        held = keys.read(console)
        assert json.loads(console.get("/config.json")) == settings
        console.restart()
    assert held.link is not None
    assert held.link in printed
    assert (held.device, held.epoch, held.rotated) == (DEVICE, 0, None)

    # a second set: the next epoch, the boot counter goes on
    assert provision(device, tmp_path, "--rekey") == 0
    assert before != [(tmp_path / name).read_bytes() for name in ("devices.toml", "event-keys.toml")]
    async with edge(device, tmp_path) as status:
        again = await until(status, lambda d: d["online"] and d["boot"] > heard["boot"])
        assert not any(again["rejects"].values())
    with Console(device.port) as console:
        assert keys.read(console).epoch == 1
        # no program under the tests that follow
        install.install(console, device.role, device.board, program=False)
