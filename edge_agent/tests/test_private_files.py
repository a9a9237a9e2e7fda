"""Keys at rest: who else could read them is refused at the start, and really can't."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent import config as configuration
from edge_agent import private_files
from edge_agent.errors import ConfigError
from edge_agent.identity import load_or_make
from edge_agent.tests.harness import Site

OFFICE = '[office]\nurl = "http://127.0.0.1:9"\ntoken_file = "token"\n'

# Changing the user of a process or file is root's alone; CI runs as root and tries it.
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user or give a folder away")


def started(tmp_path: Path) -> Site:
    """A site whose agent ran once: its folder holds everything that ever stands there."""
    (tmp_path / "token").write_text("a-token-for-tests\n")
    (tmp_path / "token").chmod(0o600)
    site = Site(tmp_path, office=OFFICE)
    asyncio.run(once(site))
    load_or_make(tmp_path / "data")
    private_files.write(tmp_path / "data" / "spare.toml", "# as office.toml\n")
    return site


async def once(site: Site) -> None:
    async with site.agent():
        pass


SECRETS = ("devices.toml", "token", "data/identity.key", "data/edge.sqlite", "data/spare.toml")


def test_everything_secret_is_the_owners_alone(tmp_path: Path) -> None:
    started(tmp_path)
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    for name in SECRETS:
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600, name


@pytest.mark.parametrize("mode", [0o040, 0o004, 0o020, 0o002, 0o010])
@pytest.mark.parametrize("name", [*SECRETS, "data"])
def test_what_others_could_reach_is_refused_with_the_remedy(tmp_path: Path, name: str, mode: int) -> None:
    site = started(tmp_path)
    path = tmp_path / name
    right = path.stat().st_mode & 0o777
    path.chmod(right | mode)
    with pytest.raises(ConfigError, match=f"right is: chmod {right:o}") as raised:
        configuration.load(site.config_path)
    assert "\n" not in str(raised.value)
    assert path.name in str(raised.value)
    path.chmod(right)
    configuration.load(site.config_path)


def test_a_folder_where_others_could_swap_the_file_is_refused(tmp_path: Path) -> None:
    site = started(tmp_path)
    tmp_path.chmod(0o720)
    with pytest.raises(ConfigError, match="chmod go-w"):
        configuration.load(site.config_path)
    tmp_path.chmod(0o1777)  # /tmp: nobody can replace what is not his
    configuration.load(site.config_path)


async def as_nobody(site: Site, paths: list[str]) -> str:
    """What a process of the user nobody says of opening these, for reading and writing, while the agent runs."""
    program = (
        "import os, sys\nos.setgroups([])\nos.setgid(65534)\nos.setuid(65534)\n"
        "for name in sys.argv[1:]:\n"
        "    for flags in (os.O_RDONLY, os.O_WRONLY):\n"
        "        try:\n            os.close(os.open(name, flags)); print('opened', name)\n"
        "        except PermissionError:\n            print('refused', name)\n"
    )
    async with site.agent():
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, *paths, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await asyncio.wait_for(child.communicate(), 60)
    assert child.returncode == 0
    return said.decode()


@as_root
def test_another_user_can_read_none_of_it(tmp_path: Path) -> None:
    """Really tried by a process of the user nobody, while the agent runs; the folders above are open to it."""
    site = started(tmp_path)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and folder.is_relative_to("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o011)
    (tmp_path / "open").write_text("seen")
    names = [*SECRETS, "data/edge.sqlite-wal", "data/edge.sqlite-shm", "open"]
    lines = asyncio.run(as_nobody(site, [str(tmp_path / name) for name in names])).splitlines()
    opened = [line for line in lines if line.startswith("opened")]
    print(f"{len(lines) - len(opened)} tries to open refused, {len(opened)} not")
    assert opened == [
        f"opened {tmp_path / 'open'}"
    ]  # it could reach the folder: the modes of the files did it
    assert len(lines) == 2 * len(names)


@as_root
def test_root_leaves_nothing_where_another_user_works(tmp_path: Path) -> None:
    """Files of root there would stop the service at its next start."""
    private_files.check_user(tmp_path / "none yet")
    private_files.check_user(tmp_path)
    (tmp_path / "data").mkdir(mode=0o700)
    os.chown(tmp_path / "data", 65_534, 65_534)
    with pytest.raises(ConfigError, match="sudo -u nobody gatepost"):
        private_files.check_user(tmp_path / "data")
    os.chown(tmp_path / "data", 4_242, 4_242)  # nobody of a name
    with pytest.raises(ConfigError, match="sudo -u '#4242' gatepost"):
        private_files.check_user(tmp_path / "data")


@as_root
def test_what_another_user_may_not_enter_is_said_in_one_line(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "data").mkdir(parents=True)
    closed.chmod(0o700)
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom edge_agent import private_files\n"
        "from edge_agent.errors import ConfigError\nos.setgroups([])\nos.setgid(65534)\nos.setuid(65534)\n"
        "for look in (private_files.check_folder, private_files.check_file):\n"
        "    try:\n        look(Path(sys.argv[1]))\n"
        "    except ConfigError as error:\n        print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(closed / "data")], capture_output=True, text=True, timeout=60, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )  # fmt: skip
    assert done.stdout.count("can't be reached by this user: Permission denied") == 2, done


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "office.toml"
    private_files.write(path, "one")
    before = path.stat().st_ino
    private_files.write(path, "two")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("two", 0o600)
    assert path.stat().st_ino != before
    with pytest.raises(UnicodeEncodeError):
        private_files.write(path, "\udc80")
    assert path.read_text() == "two"
    assert [one.name for one in tmp_path.iterdir()] == ["office.toml"]
