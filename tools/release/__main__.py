"""Layer: command line of tools.release: `python -m tools.release --help`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from gatelink import manifest
from gatelink.errors import GatelinkError
from tools.release import build, sign
from tools.setup.bytecode import ROLES

ROOT = Path(__file__).resolve().parents[2]


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.release", description="Make and sign firmware versions."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser(
        "keygen", help="make a signing key; prints the public key that devices are given"
    )
    one.add_argument("key", type=Path, help="PEM file to write")
    one = commands.add_parser("build", help="compile a role, list and sign its files")
    one.add_argument("role", choices=ROLES)
    one.add_argument("--key", type=Path, required=True, help="signing key (PEM)")
    one.add_argument("--ver", required=True, help="version as people read it, for example 1.4.0")
    one.add_argument("--seq", type=int, required=True, help="number of this release; grows with every one")
    one.add_argument("--min-seq", type=int, default=0, help="devices that run this refuse what is older")
    one.add_argument("--model", help="model the devices were provisioned as (default: the role)")
    one.add_argument("--days", type=int, default=180, help="days until the manifest expires (default 180)")
    one.add_argument("--out", type=Path, required=True, help="new folder for the version")
    one = commands.add_parser("show", help="check a version's folder and say what is in it")
    one.add_argument("folder", type=Path)
    one.add_argument("--public", required=True, help="public key, 128 hex digits")
    return parser


def run(arguments: list[str]) -> int:
    """Runs one command -> exit code 0 done, 1 failed."""
    given = _arguments().parse_args(arguments)
    try:
        if given.command == "keygen":
            public = sign.public_bytes(sign.new_key(given.key).public_key())
            print(f"key id {manifest.kid(public).hex()}\npublic key {public.hex()}")
        elif given.command == "build":
            files = build.role_files(ROOT, given.role)
            fields = {
                "ver": given.ver,
                "seq": given.seq,
                "min_seq": given.min_seq,
                "model": given.model or given.role,
                "mpy_abi": build.MPY_ABI,
                "expires": int(time.time()) + given.days * 86400,
                "files": sign.entries(files),
            }
            signed = sign.sign(fields, sign.load_key(given.key))
            sign.write_release(given.out, files, signed)
            total = sum(len(data) for data in files.values())
            print(f"{given.out}: {len(files)} files, {total:,} bytes, manifest {len(signed):,} bytes")
        else:
            public = bytes.fromhex(given.public)
            found, signed, files = sign.read_release(given.folder, {manifest.kid(public): public})
            print(
                f"{found.ver} (seq {found.seq}, refuses below {found.min_seq}) for {found.model}, "
                f"mpy {found.mpy_abi}"
            )
            print(f"expires {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(found.expires))} UTC")
            for name in sorted(files):
                print(f"{len(files[name]):7,}  {name}")
    except (OSError, ValueError, GatelinkError, build.BuildError, sign.ReleaseError) as error:
        print(f"{given.command}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(run(sys.argv[1:]))
