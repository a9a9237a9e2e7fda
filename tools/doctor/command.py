"""Layer: `gatepost doctor --config edge.toml`: gathers, judges, tells."""

from __future__ import annotations

import argparse
import json
import os
import pwd
import time
import tomllib
from pathlib import Path
from typing import Any

from edge_agent import config as configuration
from edge_agent.config import NamedFile
from edge_agent.errors import EdgeError
from edge_agent.service.heartbeat import language
from tools.doctor import gather_machine, gather_site, judge, texts
from tools.doctor.facts import Closed
from tools.doctor.finding import Finding, Level, fault, ok

PRIVATE = (".key", ".toml", ".sqlite")


def run(wanted: argparse.Namespace) -> int:
    """Exit code: 0 all well, 1 something needs looking at, 2 something is broken."""
    data_dir = _data_dir(wanted.config)
    as_agent = os.geteuid() == 0
    _become_owner(data_dir)
    found = examine(wanted.config, data_dir, as_agent=as_agent)
    worst = max(finding.level for finding in found)
    print(as_json(found, worst) if wanted.json else as_text(found, worst, wanted.lang or language()))
    return int(worst)


def examine(path: Path, data_dir: Path | None, *, as_agent: bool) -> list[Finding]:
    """Everything that can be looked at, also when the configuration is wrong; as_agent: with its user's rights."""
    user = gather_machine.user_name(os.geteuid())

    def no_way(check: str, closed: Closed) -> Finding:
        return judge.closed(check, closed, user, str(path), as_agent=as_agent)

    found = judge.software(gather_machine.software()) + judge.machine(gather_machine.machine())
    config: configuration.Config | None = None
    closed = gather_machine.closed(path.absolute())
    if closed is not None:
        found.insert(0, no_way("config", closed))
    else:
        try:
            config = configuration.load(path)
        except (EdgeError, OSError) as error:
            found.insert(0, fault("config", "config_wrong", str(error)))
        else:
            found.insert(0, ok("config", "config", str(path)))
            data_dir = config.data_dir
    found += judge.time(gather_machine.clock(config.clock_source if config else "system"))
    if data_dir is None:
        return found
    closed = gather_machine.closed(data_dir)
    if closed is not None:
        return [*found, no_way("files", closed)]
    found += judge.disk(gather_machine.disk(data_dir))
    found += judge.files(gather_machine.files(_files(path, data_dir)), user)
    store = gather_site.store(data_dir, config.device_id if config else 1, time.time_ns() // 1_000_000)
    found += judge.store(store) + judge.steps(store) + judge.aside(gather_site.aside(data_dir))
    agent = gather_site.agent(data_dir)
    found += judge.agent(gather_site.says(config, agent) if config else agent)
    if config is None:
        return found
    found += judge.ports(gather_machine.ports(config.ports, agent.pid), user)
    if agent.pid is None:
        found += judge.addresses(gather_machine.addresses(config.ports, config.status_listen))
    return found + judge.office(gather_site.office(config))


def as_text(found: list[Finding], worst: Level, lang: str) -> str:
    """For people: the worst is the last thing they read."""
    english = lang == "en"
    lines = []
    for finding in found:
        lines.append(f"[{texts.LEVELS[finding.level][english]}] {texts.sentence(finding, lang)}")
        remedy = texts.remedy(finding, lang)
        if remedy:
            lines.append(f"    → {remedy}")
    return "\n".join([*lines, texts.VERDICTS[worst][english]])


def as_json(found: list[Finding], worst: Level) -> str:
    """For programs."""
    return json.dumps(
        {
            "v": 1,
            "level": worst.name.lower(),
            "findings": [
                {
                    "check": finding.check,
                    "level": finding.level.name.lower(),
                    "key": finding.key,
                    "text": {lang: texts.sentence(finding, lang) for lang in ("zh", "en")},
                    "remedy": {lang: texts.remedy(finding, lang) for lang in ("zh", "en")},
                }
                for finding in found
            ],
        },
        ensure_ascii=False,
        indent=2,
    )


def _tables(path: Path) -> dict[str, Any]:
    """The file without a check; {} when it can't be read at all."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _data_dir(path: Path) -> Path | None:
    """Where the store is, also of a file with mistakes in other places."""
    edge = _tables(path).get("edge")
    found = edge.get("data_dir") if isinstance(edge, dict) else None
    return path.absolute().parent / found if isinstance(found, str) else None


def _files(path: Path, data_dir: Path) -> list[NamedFile]:
    """The files that edge.toml names, and those with keys in data_dir."""
    found = list(configuration.named_files(path, _tables(path)))
    if data_dir.is_dir() and os.access(data_dir, os.R_OK | os.X_OK, effective_ids=True):
        found += [NamedFile(file, private=True) for file in sorted(data_dir.iterdir()) if file.suffix in PRIVATE]
    return found


def _become_owner(data_dir: Path | None) -> None:
    """Root looks with the eyes of the user that the agent runs as: what that one may not, counts."""
    if os.geteuid() != 0 or data_dir is None or not data_dir.is_dir():
        return
    owner = data_dir.stat()
    if owner.st_uid == 0:
        return
    try:
        name = pwd.getpwuid(owner.st_uid).pw_name
    except KeyError:
        os.setgroups([owner.st_gid])
    else:
        os.initgroups(name, owner.st_gid)
    os.setgid(owner.st_gid)
    os.setuid(owner.st_uid)
