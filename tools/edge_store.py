"""Layer: `gatepost edge backup` and `gatepost edge restore`: arguments in, sentences out."""

from __future__ import annotations

import argparse
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

from tools.errors import ToolError

AFTERWARDS = """\
Devices send again what they still hold; the office drops what it has. What devices handed over after that time and
no longer hold is not in this store: the agent names it by an alarm for each device, and the office lacks of it only
what had not been delivered. Link keys that were rotated after that time are not in it either: such a device must be
provisioned anew over USB."""


def add(commands: Any) -> None:
    """Adds the sub-commands to `gatepost edge`."""
    backup = commands.add_parser("backup", help="copy the agent's store into one file, also while it runs")
    backup.add_argument("--config", type=Path, required=True, metavar="FILE", help="edge.toml")
    backup.add_argument(
        "--to", type=Path, required=True, metavar="FILE", help="the backup; holds keys: mode 0600"
    )
    backup.add_argument(
        "--config-files", action="store_true", help="also edge.toml and the files that it names"
    )
    backup.add_argument("--force", action="store_true", help="replace the file if it is there")
    backup.set_defaults(handler=_backup)
    restore = commands.add_parser("restore", help="put a backup's store in place; the agent must not run")
    restore.add_argument("--config", type=Path, required=True, metavar="FILE", help="edge.toml")
    restore.add_argument("--from", dest="source", type=Path, required=True, metavar="FILE", help="the backup")
    restore.add_argument("--replace", action="store_true", help="keep the store that is there aside")
    restore.add_argument(
        "--abandon",
        action="store_true",
        help="with --replace: also one that holds events which the office lacks",
    )
    restore.set_defaults(handler=_restore)
    downgrade = commands.add_parser(
        "downgrade", help="hand the store to an older version; the agent must not run"
    )
    downgrade.add_argument("--config", type=Path, required=True, metavar="FILE", help="edge.toml")
    downgrade.add_argument(
        "--schema", type=int, required=True, help="the store version that the older one knows"
    )
    downgrade.set_defaults(handler=_downgrade)


def _load(path: Path) -> Any:
    from edge_agent import config
    from edge_agent.errors import ConfigError

    try:
        return config.load(path)
    except ConfigError as error:
        raise ToolError(str(error)) from error


def _backup(wanted: argparse.Namespace) -> int:
    from edge_agent.version import VERSION
    from tools import backup

    config = _load(wanted.config)
    files = _named(wanted.config) if wanted.config_files else ()
    made = backup.make(
        config.data_dir, wanted.to, site=config.site, edge=config.edge, program=VERSION,
        now_ms=time.time_ns() // 1_000_000, config_files=files, force=wanted.force, progress=_progress(),
    )  # fmt: skip
    print(
        f"{wanted.to}: {wanted.to.stat().st_size:,} bytes, {made.events:,} events of which {made.waiting:,} wait for "
        f"the office, store version {made.schema}; holds keys: keep it where only you can read it"
    )
    return 0


def _named(path: Path) -> tuple[Path, ...]:
    """edge.toml and the files that it names. Raises ToolError."""
    from edge_agent import config

    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    found = [path, *(named.path for named in config.named_files(path, tables))]
    if len({file.name for file in found}) < len(found):
        raise ToolError(f"{path}: two of the files that it names have the same name; back them up by hand")
    return tuple(found)


def _downgrade(wanted: argparse.Namespace) -> int:
    from tools import restore

    config = _load(wanted.config)
    aside = restore.downgrade(config.data_dir, wanted.schema, time.time_ns() // 1_000_000)
    if aside is None:
        print(f"{config.data_dir}: the store is of version {wanted.schema} or older; it stays as it is")
    else:
        print(
            f"{config.data_dir}: the store is of version {wanted.schema} now, every event in it; "
            f"the newer one is in {aside}"
        )
    return 0


def _progress() -> Any:
    """Shows how far it is, once for every tenth, on a terminal only."""
    shown = [-1]

    def show(done: int, pages: int) -> None:
        tenth = done * 10 // max(pages, 1)
        if tenth != shown[0] and sys.stderr.isatty():
            shown[0] = tenth
            print(
                f"\r{tenth * 10} % of {pages:,} pages",
                end="\n" if tenth == 10 else "",
                file=sys.stderr,
                flush=True,
            )

    return show


def _restore(wanted: argparse.Namespace) -> int:
    from tools import restore

    config = _load(wanted.config)
    done = restore.restore(
        config.data_dir, wanted.source, site=config.site, edge=config.edge,
        now_ms=time.time_ns() // 1_000_000, replace=wanted.replace, abandon=wanted.abandon,
    )  # fmt: skip
    made = done.manifest
    at = time.strftime("%Y-%m-%d %H:%M", time.localtime(made.made_ms / 1000))
    print(
        f"{config.data_dir}: the store of {at}, {made.events:,} events of which {made.waiting:,} wait for the office"
    )
    if done.aside is not None:
        print(f"what was there before is in {done.aside}")
    print(AFTERWARDS)
    return 0
