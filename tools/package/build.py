"""Layer: builds the Debian package: python -m tools.package.build --arch arm64 --out build/package.

Everything that runs is in it (wheels, unpacked): installing needs no network. One package is for one Python: 3.11 for
Raspberry Pi OS bookworm, 3.13 for trixie.
"""

from __future__ import annotations

import argparse
import compileall
import hashlib
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from edge_agent.store.database import schema_steps
from tools.errors import ToolError

ROOT = Path(__file__).resolve().parents[2]
FILES = Path(__file__).parent / "files"
LOCK = ROOT / "tools" / "setup" / "lock" / "run.txt"
MACHINES = {"arm64": "aarch64", "amd64": "x86_64"}
ELF_MACHINES = {"arm64": 183, "amd64": 62}  # e_machine: EM_AARCH64, EM_X86_64
PYTHONS = ("3.11", "3.13")
GLIBC = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")  # bookworm has 2.36
DOWNLOAD_S = 600
SOURCES = ("protocol/gatelink", "edge_agent", "tools")
SCHEMAS = {"schema": "edge_agent/store", "office-schema": "tools/office/store"}  # what gatepost-rollback goes by
EPOCH = 1_767_225_600  # of every file in the package: the same source gives the same package

CONTROL = """\
Package: gatepost
Version: {version}
Architecture: {arch}
Maintainer: Gatepost maintainers <root@localhost>
Depends: python{python}, systemd (>= 247), util-linux, init-system-helpers
Section: net
Priority: optional
Installed-Size: {size}
Description: edge agent and office of Gatepost
 Collects the events of patrol tags and barriers on a site's Raspberry Pi, keeps them on disk, and delivers them to
 the property office. Versions stand side by side; gatepost-rollback goes back to the one before without losing events.
"""


def fetch_wheels(arch: str, python: str, into: Path) -> None:
    """The pinned wheels for another machine, checked by hash. Raises ToolError."""
    machine, tag = MACHINES[arch], python.replace(".", "")
    platforms = [part for glibc in GLIBC for part in ("--platform", f"{glibc}_{machine}")]
    _run(
        [
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--only-binary=:all:",
            *platforms, "--python-version", python, "--implementation", "cp",
            "--abi", f"cp{tag}", "--abi", "abi3", "--abi", "none",
            "--require-hashes", "-r", str(LOCK), "-d", str(into),
        ],
        "the wheels can't be had",
    )  # fmt: skip


def from_environment(into: Path) -> None:
    """What is installed here, as it is: for this machine's own package, without a network."""
    wanted = list(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])
    seen: set[str] = set()
    while wanted:
        needed = Requirement(wanted.pop())
        name = needed.name.lower().replace("_", "-")
        if name in seen or (needed.marker is not None and not needed.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        found = metadata.distribution(needed.name)
        wanted += found.requires or []
        for file in found.files or ():
            source = Path(str(found.locate_file(file)))
            if ".." not in file.parts and "__pycache__" not in file.parts and source.is_file():
                target = into / Path(*file.parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)


def own_wheel(work: Path, version: str) -> Path:
    """This tree's wheel, made apart from it. Raises ToolError."""
    tree = work / "tree"
    tree.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, tree / name)
    settings = tree / "pyproject.toml"
    stated = tomllib.loads(settings.read_text())["project"]["version"]
    settings.write_text(settings.read_text().replace(f'version = "{stated}"', f'version = "{version}"', 1))
    for source in SOURCES:
        left_out = shutil.ignore_patterns("tests", "__pycache__", "*.pyc", "node_modules")
        shutil.copytree(ROOT / source, tree / source, ignore=left_out)
    _run(
        [
            sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index",
            "--no-build-isolation", "-w", str(work / "own"), str(tree),
        ],
        "this tree can't be packed",
    )  # fmt: skip
    return next((work / "own").glob("*.whl"))


def unpack(wheel: Path, lib: Path) -> None:
    """A wheel's modules into lib; its scripts, headers and the like are not needed."""
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            parts = Path(entry.filename).parts
            if parts[0].endswith(".data"):
                if len(parts) < 3 or parts[1] not in ("purelib", "platlib"):
                    continue
                parts = parts[2:]
            target = lib.joinpath(*parts)
            if entry.is_dir() or ".." in parts or "__pycache__" in parts:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(entry))


def check_machine(lib: Path, arch: str) -> int:
    """How many binaries there are, each for this processor. Raises ToolError."""
    wanted = ELF_MACHINES[arch]
    count = 0
    for path in lib.rglob("*.so*"):
        head = path.read_bytes()[:20]
        if head[:4] != b"\x7fELF" or head[4] != 2 or int.from_bytes(head[18:20], "little") != wanted:
            raise ToolError(f"{path.relative_to(lib)} is for another processor than {arch}")
        count += 1
    if not count:
        raise ToolError("no binaries came with the wheels: apsw and cryptography need some")
    return count


def stage(root: Path, version: str, arch: str, python: str, lib: Path) -> None:
    """Everything but the libraries into the tree of the package."""
    release = root / "usr" / "lib" / "gatepost" / version
    (release / "bin").mkdir(parents=True)
    shutil.move(str(lib), release / "lib")
    for name, folder in SCHEMAS.items():
        (release / name).write_text(f"{len(schema_steps(release / 'lib' / folder))}\n")
    _put(release / "bin" / "gatepost", _filled("gatepost.launcher", version, python), 0o755)
    for unit in FILES.glob("*.service"):
        _put(root / "usr/lib/systemd/system" / unit.name, unit.read_text())
    _put(root / "usr/lib/modules-load.d/gatepost.conf", (FILES / "gatepost.modules-load").read_text())
    _put(root / "usr/lib/sysusers.d/gatepost.conf", (FILES / "gatepost.sysusers").read_text())
    _put(root / "usr/lib/gatepost/store-version", _filled("store-version", version, python), 0o755)
    _put(root / "usr/sbin/gatepost-rollback", (FILES / "gatepost-rollback").read_text(), 0o755)
    (root / "usr/bin").mkdir()
    (root / "usr/bin/gatepost").symlink_to("/opt/gatepost/current/bin/gatepost")
    example = (ROOT / "edge_agent" / "edge.example.toml").read_text()
    _put(
        root / "etc/gatepost/edge.example.toml",
        example.replace('data_dir = "data"', 'data_dir = "/var/lib/gatepost"'),
    )
    office = (ROOT / "tools" / "office" / "office.example.toml").read_text()
    _put(
        root / "etc/gatepost/office.example.toml",
        office.replace('data_dir = "data"', 'data_dir = "/var/lib/gatepost-office"'),
    )
    shutil.copyfile(ROOT / "LICENSE", _folder(root / "usr/share/doc/gatepost") / "copyright")
    control = _folder(root / "DEBIAN")
    for script in ("postinst", "prerm", "postrm"):
        _put(control / script, _filled(script, version, python), 0o755)
    _put(control / "conffiles", "/etc/gatepost/edge.example.toml\n/etc/gatepost/office.example.toml\n")
    files = [path for path in sorted(root.rglob("*")) if path.is_file() and not path.is_symlink()]
    size = sum(path.stat().st_size for path in files) // 1024
    _put(control / "control", CONTROL.format(version=version, arch=arch, python=python, size=size))
    _put(
        control / "md5sums",
        "".join(
            f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {path.relative_to(root)}\n"
            for path in files
            if control not in path.parents
        ),
    )


def build(
    arch: str, python: str, out: Path, *, version: str = "", installed: bool = False, quick: bool = False
) -> Path:
    """Builds one package -> its path; quick: larger. Raises ToolError."""
    if shutil.which("dpkg-deb") is None:
        raise ToolError("dpkg-deb is missing: build on Debian or Raspberry Pi OS")
    version = version or tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gatepost-package-") as name:
        work = Path(name)
        lib, wheels, root = work / "lib", work / "wheels", work / "root"
        for folder in (lib, wheels, root):
            folder.mkdir()
        if installed:
            from_environment(lib)
        else:
            fetch_wheels(arch, python, wheels)
        for wheel in (*sorted(wheels.glob("*.whl")), own_wheel(work, version)):
            unpack(wheel, lib)
        check_machine(lib, arch)
        stage(root, version, arch, python, lib)
        _compile(root / "usr/lib/gatepost" / version / "lib", version, python)
        for path in (root, *root.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        (root / "etc/gatepost").chmod(0o750)
        package = out / file_name(version, arch, python)
        _run(
            [
                "dpkg-deb",
                "--root-owner-group",
                *(("-Zgzip", "-z1") if quick else ("-Zxz", "-z6")),
                "--build",
                str(root),
                str(package),
            ],
            "the package can't be built",
        )
    return package


def file_name(version: str, arch: str, python: str) -> str:
    """A package for each Python: the one does not take the other's place."""
    return f"gatepost_{version}_{arch}_python{python}.deb"


def _compile(lib: Path, version: str, python: str) -> None:
    """Bytecode, so that a Raspberry Pi need not make it; where this Python is another one, the Pi does (postinst)."""
    for path in lib.rglob("*"):
        os.utime(
            path, (EPOCH, EPOCH)
        )  # bytecode counts as long as its source has the time that it was made for
    if python == f"{sys.version_info.major}.{sys.version_info.minor}":
        compileall.compile_dir(
            lib, quiet=2, stripdir=str(lib), prependdir=f"/opt/gatepost/releases/{version}/lib", workers=1,
            invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP,
        )  # fmt: skip


def _run(command: Sequence[str], what: str) -> None:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_S,
            check=False,
            env=environment,
            cwd=ROOT,
        )
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{what}: not finished after {DOWNLOAD_S} s") from error
    if done.returncode:
        raise ToolError(f"{what}: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")


def _filled(name: str, version: str, python: str) -> str:
    return (FILES / name).read_text().replace("@VERSION@", version).replace("@PYTHON@", python)


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def _put(path: Path, text: str, mode: int = 0o644) -> None:
    _folder(path.parent)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 built, 2 a mistake in one line."""
    parser = argparse.ArgumentParser(prog="tools.package.build", description="the Debian package")
    parser.add_argument("--arch", choices=sorted(MACHINES), default="arm64")
    parser.add_argument("--python", choices=PYTHONS, default="3.11", help="3.11: bookworm, 3.13: trixie")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "package")
    parser.add_argument("--version", default="", help="another one than pyproject.toml's")
    parser.add_argument(
        "--installed",
        action="store_true",
        help="this environment's packages, for this machine; needs no network",
    )
    wanted = parser.parse_args(arguments)
    try:
        package = build(
            wanted.arch, wanted.python, wanted.out, version=wanted.version, installed=wanted.installed
        )
    except ToolError as error:
        print(f"package: {error}", file=sys.stderr)
        return 2
    print(f"{package}: {package.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
