"""`gatepost verify`: what is asked for on the command line -> what is checked -> words or JSON, and the exit code."""

from __future__ import annotations

import argparse
import datetime as dt
import json
from pathlib import Path

import apsw

from edge_agent import config as edge_config
from edge_agent.errors import EdgeError
from edge_agent.service.heartbeat import language
from tools.errors import ToolError
from tools.office import config as office_config
from tools.office.config import Config
from tools.verify import edge, office, proof
from tools.verify.faults import Report
from tools.verify.office import Wanted


def run(wanted: argparse.Namespace) -> int:
    """0 all fits, 1 faults found, 2 can't be checked. Raises ToolError."""
    report = _checked(wanted)
    if wanted.json:
        print(json.dumps(report.as_json(), ensure_ascii=False, indent=1))
    else:
        print(report.text(wanted.lang or language()))
    return report.exit_code


def _checked(wanted: argparse.Namespace) -> Report:
    key = None if wanted.key is None else proof.fingerprint_of(wanted.key)
    if wanted.key is not None and key is None:
        raise ToolError("--key: right is a fingerprint (8 groups of 4 digits) or a public key (64 digits)")
    if wanted.office is None and wanted.edge is None:
        if wanted.proof is None or key is None:
            raise ToolError("right is --office office.toml, --edge edge.toml, or --proof FILE with --key KEY")
        return _proof(wanted, key)
    for name in ("site", "device", "day", "event", "proof"):
        if wanted.office is None and getattr(wanted, name) is not None:
            raise ToolError(f"--{name} goes with --office")
    report = Report()
    try:
        chosen = Wanted(wanted.site, wanted.device, _day(wanted.day), _event(wanted.event), key)
        if wanted.office is not None:
            config = office_config.load(wanted.office, serve=False)
            report = office.check(config, chosen)
            if wanted.proof is not None:
                _write(wanted.proof, config, chosen, report)
        if wanted.edge is not None and report.unable is None:
            here = edge_config.load(wanted.edge)
            delivered = edge.check(here, report, key)
            if wanted.office is not None and report.unable is None:
                office.compare(config, here.site, here.edge, delivered, report)
    except EdgeError as error:
        raise ToolError(str(error)) from error
    except apsw.Error as error:
        report.unable = (
            f"数据库损坏或无法读取：{error}",
            f"the database is damaged or can't be read: {error}",
        )
    return report


def _day(text: str | None) -> dt.date | None:
    if text is None:
        return None
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise ToolError(f"--day {text}: right is a day such as 2026-04-01") from error


def _event(text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
    parts = text.split("/")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) <= 10 for part in parts):
        raise ToolError(f"--event {text}: right is device/boot/number, such as 101/3/4812")
    device, boot, seq = map(int, parts)
    return device, boot, seq


def _write(path: Path, config: Config, chosen: Wanted, report: Report) -> None:
    if chosen.event is None:
        raise ToolError("--proof with --office: which event? Add --event DEVICE/BOOT/SEQ")
    with office.opened(config) as db:
        if db is None:
            return
        for key, site in office.sites(db, chosen.site):
            document = proof.make(db, site, key, chosen.event)
            if document is not None:
                try:
                    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
                except OSError as error:
                    raise ToolError(f"--proof {path}: can't be written: {error.strerror}") from error
                report.line(f"证明已写入 {path}", f"the proof is in {path}")
                return
    report.note("没有已签名的行含有此事件，未写证明", "no signed row has this event: no proof was written")


def _proof(wanted: argparse.Namespace, edge_key: str) -> Report:
    document = proof.load(wanted.proof)
    key = None
    if wanted.event_keys is not None:
        try:
            keys = office_config.event_keys(wanted.event_keys)
            key = keys.get((document["site"], document["event"]["device"]))
        except EdgeError as error:
            raise ToolError(str(error)) from error
        except (KeyError, TypeError):
            key = None  # the check itself names what is wrong with the file
    return proof.check(document, edge_key, key)
