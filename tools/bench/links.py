"""Layer: bench links: framed bytes of prepared devices into a real agent, acks back, a window in flight on each."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from pathlib import Path

from edge_agent import config as configuration
from edge_agent.clock import Clock
from edge_agent.daemon import Agent
from edge_agent.transports.port import Address, Listener, Port
from gatelink import cose, framing, framing_host, messages
from tools.bench import frames, sample
from tools.bench.sample import Sample

FIRST_DEVICE = 100
WINDOW = 64  # frames in flight on one link, as an agent's welcome allows


class Script:
    """What one device will send: its hello, then its EVENTS frames, as bytes on a serial line."""

    def __init__(
        self, device: int, events: int, size: int, *, after_seq: int = 0, boot: int | None = None
    ) -> None:
        self.device = device
        self.last_seq = after_seq + events
        samples = [
            s._replace(device=device, seq=n, boot=s.boot if boot is None else boot)
            for n, s in enumerate(sample.patrol(events, device), after_seq + 1)
        ]
        keys = cose.derive(frames.LINK_KEY, device, 0)
        boot = samples[0].boot
        hello = messages.Hello(
            messages.VERSION, boot, b"benchrun", 1000, 1, "bench", after_seq + 1, self.last_seq + 1
        )
        # As a device does: an anchor of its clock goes ahead of the events.
        anchor = (samples[-1].uptime_cs * 10, time.time_ns() // 1_000_000, 60)
        status = messages.Status(anchor[0], anchor, 3_700, events, (0, 0, 0), 0, bytes(8))
        self.hello = b"".join(
            framing.encode(cose.seal(keys, cose.UP, boot << 16 | counter, messages.encode(message)))
            for counter, message in enumerate((hello, status))
        )
        # (last seq of the frame, bytes on the line)
        self.frames: list[tuple[int, bytes]] = [
            (batch[-1].seq, frames.on_serial(batch, keys, counter))
            for counter, batch in enumerate(_batches(samples, size), 2)
        ]


def _batches(samples: list[Sample], size: int) -> list[list[Sample]]:
    return [samples[start : start + size] for start in range(0, len(samples), size)]


class BenchPort(Port):
    """One link. Sends the next frame as soon as an ack makes room; `finished` when the last seq is acknowledged."""

    kind = "bench"

    def __init__(self, script: Script, agent: Agent, window: int = WINDOW) -> None:
        self.name = f"bench {script.device}"
        self.where = "memory"
        self.up = True
        self.frames_in = self.frames_out = self.dropped_out = self.losses = 0
        self._listener = Listener(
            agent.switchboard.frames, agent.switchboard.refused, lambda *_: None, lambda *_: None
        )
        self._script = script
        self._window = window
        self._session = agent.switchboard.sessions[script.device]
        self._decoder = framing_host.Decoder()
        self._last_seqs = [last_seq for last_seq, _ in script.frames]
        self._lines = [line for _, line in script.frames]
        self._acked = self._sent = 0  # frames
        self._paused = False
        self.finished = asyncio.Event()

    async def start(self) -> None:
        """Says hello and starts to send."""
        self._take(self._script.hello)

    async def stop(self) -> None:
        """Nothing to close."""

    def send(self, _address: Address, _frame: bytes, /, *, urgent: bool = False) -> None:  # noqa: ARG002
        """The agent answers: whatever it acknowledged makes room for more."""
        self.frames_out += 1
        acked_seq = self._session.acked_seq
        self._acked = bisect_right(self._last_seqs, acked_seq, self._acked, self._sent)
        if acked_seq >= self._script.last_seq:
            self.finished.set()
        # not from inside the agent's call: a line's bytes come in on a later turn of the loop
        asyncio.get_running_loop().call_soon(self._more)

    def pause(self) -> None:
        """The agent takes nothing in."""
        self._paused = True

    def resume(self) -> None:
        """The agent takes bytes again."""
        self._paused = False
        self._more()

    def _more(self) -> None:
        if self._paused:
            return
        lines = self._lines[self._sent : self._acked + self._window]
        if lines:
            self._sent += len(lines)
            self._take(b"".join(lines))

    def _take(self, data: bytes) -> None:
        found = self._decoder.feed(data)
        self.frames_in += len(found)
        self._listener.frames(self, None, found)


def write_site(folder: Path, links: int, commit: str = "") -> Path:
    """Configuration of an agent that knows `links` bench devices; returns its path."""
    keys = folder / "devices.toml"
    keys.write_text(
        "".join(
            f'[[device]]\nid = {FIRST_DEVICE + n}\nname = "bench {n}"\nrole = "tag"\n'
            f'link_key = "{frames.LINK_KEY.hex()}"\nepoch = 0\n'
            for n in range(links)
        )
    )
    keys.chmod(0o600)
    path = folder / "edge.toml"
    path.write_text(
        '[edge]\nsite = "bench"\nid = "bench"\ndata_dir = "data"\n[devices]\nfile = "devices.toml"\n'
        '[status]\nlisten = "127.0.0.1:0"\n[log]\nlevel = "error"\n'
        f'[[port]]\nkind = "udp"\nname = "unused"\nlisten = "127.0.0.1:0"\n{commit}'
    )
    return path


def open_agent(config_path: Path) -> Agent:
    """An agent in this process; call on the running loop."""
    return Agent(configuration.load(config_path), Clock())
