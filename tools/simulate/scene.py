"""Layer: a plan becomes a folder: keys, configurations and virtual boards, as a technician would leave them."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from hw_tests.virtual_board.board import VirtualBoard
from tools import provision
from tools.errors import ToolError
from tools.simulate.plan import Plan, Tag
from tools.simulate.schedule import STRANGER_FIRST

MARK = ".gatepost-night"
# First byte of a Wiegand 26 credential: the estate's facility code.
FACILITY = 0x11
HEARTBEAT_S = 300
EDGE = "edge-1"


@dataclass(frozen=True)
class Pace:
    """How drill time runs: it shows epoch_ms when the real clock shows started_ms."""

    epoch_ms: int
    started_ms: int
    speed: float


@dataclass(frozen=True)
class Scene:
    """Where everything of one run lies; ports are of this machine."""

    folder: Path
    plan: Plan
    pace: Pace
    office_port: int
    status_port: int

    @property
    def edge_config(self) -> Path:
        """edge.toml"""
        return self.folder / "edge" / "edge.toml"

    @property
    def office_config(self) -> Path:
        """office.toml"""
        return self.folder / "office" / "office.toml"

    @property
    def edge_data(self) -> Path:
        """The edge's store."""
        return self.folder / "edge" / "data"

    @property
    def office_data(self) -> Path:
        """The office's store."""
        return self.folder / "office" / "data"

    def board_folder(self, device: int) -> Path:
        """A board's flash and port."""
        return self.folder / "boards" / str(device)


def credential(card: int) -> bytes:
    """The three bytes that a reader sends for a card's number."""
    return bytes([FACILITY]) + card.to_bytes(2, "big")


def clear(folder: Path) -> None:
    """An empty folder for this run; one that holds something else is left alone. Raises ToolError."""
    if folder.exists():
        if not folder.is_dir() or (any(folder.iterdir()) and not (folder / MARK).exists()):
            raise ToolError(
                f"{folder}: holds something that is not an earlier night; choose another --folder"
            )
        shutil.rmtree(folder)
    try:
        folder.mkdir(parents=True)
        (folder / MARK).write_text("A played night; deleted by the next one.\n", encoding="utf-8")
    except OSError as error:
        raise ToolError(f"{folder}: can't be made: {error.strerror}") from error


def tag_config(plan: Plan) -> dict[str, object]:
    """/config.json of a tag: which card is what."""
    return {
        "staff": [card.uid.hex() for card in plan.guards],
        "incident": [card.uid.hex() for card in plan.incident_cards],
        "checkpoints": [card.uid.hex() for card in plan.checkpoints],
        "heartbeat_s": HEARTBEAT_S,
    }


def barrier_config(plan: Plan) -> dict[str, object]:
    """/config.json of a barrier: who may pass; every second stranger is a visitor whose time is over."""
    access: list[dict[str, object]] = []
    dawn_s = (plan.epoch_ms + plan.length_ms) // 1000 + 3600
    for traffic in plan.traffic:
        for card in range(traffic.first_card, traffic.first_card + traffic.cards):
            entry: dict[str, object] = {"credential": credential(card).hex(), "class": traffic.who}
            if traffic.who == "visitor":
                entry["until"] = dawn_s
            access.append(entry)
    expired_s = plan.epoch_ms // 1000 - 3600
    for card in range(STRANGER_FIRST, STRANGER_FIRST + 400, 2):
        access.append({"credential": credential(card).hex(), "class": "visitor", "until": expired_s})
    return {"access": access, "heartbeat_s": HEARTBEAT_S}


def build(scene: Scene) -> dict[int, VirtualBoard]:
    """Writes everything; device -> its board, without power yet."""
    plan = scene.plan
    scene.edge_config.parent.mkdir(parents=True, exist_ok=True)
    boards = {}
    for seed, entry in enumerate(plan.devices):
        role = "tag" if isinstance(entry, Tag) else "barrier"
        application = "patrol_tag" if role == "tag" else "barrier"
        keys = provision.new_keys(entry.device, role, entry.name_zh, name_en=entry.name_en)
        provision.add_to_edge(scene.edge_config.parent / "devices.toml", keys)
        provision.add_to_office(scene.office_config.parent / "devices.toml", plan.site, keys)
        config = tag_config(plan) if isinstance(entry, Tag) else barrier_config(plan)
        board = VirtualBoard(
            scene.board_folder(entry.device),
            application,
            speed=scene.pace.speed,
            seed=seed,
            started_ms=scene.pace.started_ms,
        )
        board.provision(keys.device, keys.link_key, keys.event_key, keys.epoch, config)
        boards[entry.device] = board
    _write_office(scene)
    _write_edge(scene, {device: board.port for device, board in boards.items()})
    return boards


def slow_down(scene: Scene, now_ms: int) -> None:
    """From now on (real ms) the drill's clock runs like every clock: whoever looks at the page has time to read."""
    pace = scene.pace
    shown_ms = pace.epoch_ms + round((now_ms - pace.started_ms) * pace.speed)
    for path in (scene.edge_config, scene.office_config):
        head, _, _ = path.read_text(encoding="utf-8").partition("[rehearsal]")
        path.write_text(head + _rehearsal(Pace(shown_ms, now_ms, 1.0)), encoding="utf-8")


def _rehearsal(pace: Pace) -> str:
    return f"[rehearsal]\nepoch_ms = {pace.epoch_ms}\nstarted_ms = {pace.started_ms}\nspeed = {float(pace.speed)}\n"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _write_office(scene: Scene) -> None:
    plan = scene.plan
    scene.office_config.parent.mkdir(parents=True, exist_ok=True)
    scene.office_config.write_text(
        "[office]\n"
        f'listen = "127.0.0.1:{scene.office_port}"\n'
        'data_dir = "data"\n'
        f"utc_offset = {_quoted(plan.utc_offset)}\n\n"
        "[[site]]\n"
        f"id = {_quoted(plan.site)}\n"
        f"name_zh = {_quoted(plan.name_zh)}\n"
        f"name_en = {_quoted(plan.name_en)}\n\n"
        '[devices]\nfile = "devices.toml"\n\n'
        '[cards]\nfile = "cards.toml"\n\n' + _rehearsal(scene.pace),
        encoding="utf-8",
    )
    cards = "# What the office calls the cards of this estate.\n"
    for card in (*plan.checkpoints, *plan.incident_cards, *plan.guards):
        cards += f'\n[[card]]\nsite = {_quoted(plan.site)}\nuid = "{card.uid.hex()}"\n'
        cards += f"name = {_quoted(card.name_zh)}\nname_en = {_quoted(card.name_en)}\n"
    (scene.office_config.parent / "cards.toml").write_text(cards, encoding="utf-8")


def _write_edge(scene: Scene, ports: dict[int, str]) -> None:
    text = (
        f'[edge]\nsite = {_quoted(scene.plan.site)}\nid = "{EDGE}"\ndata_dir = "data"\n\n'
        "[office]\n"
        # an hour of the night is a quarter of a minute here
        "timeout_s = 5.0\nconnect_timeout_s = 2.0\nbackoff_min_ms = 50\nbackoff_max_ms = 1000\n\n"
        '[devices]\nfile = "devices.toml"\n\n'
        f'[status]\nlisten = "127.0.0.1:{scene.status_port}"\n\n'
        '[log]\nlevel = "info"\n\n'
    )
    for device, path in ports.items():
        text += f'[[port]]\nkind = "serial"\nname = "{device}"\npath = {_quoted(path)}\nreconnect_max_ms = 500\n\n'
    scene.edge_config.write_text(text + _rehearsal(scene.pace), encoding="utf-8")
