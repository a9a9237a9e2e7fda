"""Backup of a store in use: one moment, whole or refused, never over another file; the real agent."""

from __future__ import annotations

import asyncio
import io
import json
import os
import tarfile
import time
from pathlib import Path

import apsw
import pytest

from edge_agent import own_events
from edge_agent.service import hang
from edge_agent.store import copies
from edge_agent.store.database import FILE_NAME
from edge_agent.store.disk import BALLAST
from edge_agent.tests.harness import OWN, Site, until
from tools.tests.stored import back_up, everything, gatepost, leftovers, small_site


def files_of(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]


def repack(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def change_manifest(files: dict[str, bytes], **changes: object) -> dict[str, bytes]:
    about = {**json.loads(files["manifest.json"]), **changes}
    return {**files, "manifest.json": json.dumps(about).encode()}


async def test_the_copy_is_one_moment_while_the_writer_never_rests(tmp_path: Path) -> None:
    """Rows, counters and watermarks of one transaction: the copy never shows half of one, nor begins again for ever."""
    site = Site(tmp_path)
    stop = asyncio.Event()
    async with site.agent() as agent:

        async def write() -> None:
            while not stop.is_set():
                for n in range(20 if agent.ingest.waiting < 1_000 else 0):
                    agent.record(own_events.own(own_events.PORT, "x" * 20, n % 2))
                await asyncio.sleep(0)

        def look(done: int, pages: int) -> None:
            """Between two steps of the copy something is always committed."""
            at, end_s = agent.ingest.commits, time.monotonic() + 20
            while agent.ingest.commits == at and time.monotonic() < end_s:
                time.sleep(0.001)  # asks again; nothing is right only because of it
            steps.append((done, pages, agent.ingest.commits - at))

        going = asyncio.create_task(write())
        await until(lambda: agent.ingest.events > 2_000, 60)
        for n in range(5):
            steps: list[tuple[int, int, int]] = []
            await asyncio.to_thread(
                copies.copy, tmp_path / "data" / FILE_NAME, tmp_path / f"{n}.sqlite", look
            )
            assert steps == sorted(steps)
            assert steps[-1][0] == steps[-1][1]
            assert all(commits for _, _, commits in steps)
        stop.set()
        await going
    for n in range(5):
        found = copies.check(tmp_path / f"{n}.sqlite")
        with apsw.Connection(str(tmp_path / f"{n}.sqlite")) as connection:
            rows = connection.execute("SELECT count(*) FROM log").get
        assert rows == found.events == found.upto[OWN]


async def test_what_is_no_whole_backup_is_refused_and_nothing_is_touched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = await small_site(tmp_path)
    good = back_up(site)
    files = files_of(good)
    store = f"data/{FILE_NAME}"
    parts = json.loads(files["manifest.json"])["parts"]
    flipped = bytearray(good.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    evil = [{"name": "data/../../edge.toml", "size": 1, "sha256": "0" * 64}]
    cases: list[tuple[bytes | dict[str, bytes], str]] = [
        (b"", "can't be read"),
        (b"something else" * 999, "can't be read"),
        (bytes(flipped), "damaged"),
        (good.read_bytes()[: good.stat().st_size // 2], "b.tar"),
        ({store: files[store]}, "does not begin with manifest.json"),
        ({k: v for k, v in files.items() if k != store}, "is missing"),
        ({**files, "data/more": b"x"}, "does not belong there"),
        ({**files, "manifest.json": b"{"}, "manifest can't be read"),
        (change_manifest(files, v=2), "is of format 2"),
        (change_manifest(files, site="other"), "is of site 'other'"),
        (change_manifest(files, schema=999), "install the newer program first"),
        (change_manifest(files, parts=parts + evil), "is no name that a backup holds"),
        (change_manifest(files, parts=[]), "holds no store"),
        (change_manifest(files, made_ms=int(time.time() * 1000) + 10**9), "clock is before"),
    ]
    before = everything(tmp_path / "data")
    for content, words in cases:
        bad = tmp_path / "bad" / "b.tar"
        bad.parent.mkdir(exist_ok=True)
        if isinstance(content, bytes):
            bad.write_bytes(content)
        else:
            repack(bad, content)
        capsys.readouterr()
        done = gatepost(
            "restore", "--config", str(site.config_path), "--from", str(bad), "--replace", "--abandon"
        )
        told = capsys.readouterr().err
        assert done == 2, words
        assert words in told, told
        assert len(told.splitlines()) == 1
        assert everything(tmp_path / "data") == before, words


async def test_what_is_in_it_beside_the_store(tmp_path: Path) -> None:
    """All that edge.toml names where that is wanted; of data_dir nothing that only counts where it lies."""
    site = await small_site(tmp_path)
    toml = site.config_path
    named = ("token", "viewer", "control", "office-ca.pem", "status.pem", "status-key.pem")
    for name in named:
        (tmp_path / name).write_text(f"{name} in eight letters\n")
        (tmp_path / name).chmod(0o600)
    toml.write_text(
        toml.read_text().replace(
            "[status]\n",
            '[office]\nurl = "https://127.0.0.1:9"\ntoken_file = "token"\nca_file = "office-ca.pem"\n[status]\n'
            'viewer_token_file = "viewer"\ncontrol_token_file = "control"\n'
            'tls_cert = "status.pem"\ntls_key = "status-key.pem"\n',
        )
    )
    (tmp_path / "data" / BALLAST).write_bytes(b"")  # as ballast_mb = 0 leaves it
    assert (tmp_path / "data" / hang.FILE_NAME).exists()
    file = back_up(site)
    assert set(files_of(file)) == {"manifest.json", f"data/{FILE_NAME}", "data/identity.key"}
    arguments = ("backup", "--config", str(toml), "--to", str(file), "--force", "--config-files")
    assert gatepost(*arguments) == 0
    config = {name for name in files_of(file) if name.startswith("config/")}
    assert config == {f"config/{name}" for name in ("edge.toml", "devices.toml", *named)}


async def test_a_backup_never_overwrites_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = await small_site(tmp_path)
    file = back_up(site)
    was = file.read_bytes()
    arguments = ("backup", "--config", str(site.config_path), "--to", str(file))
    assert gatepost(*arguments) == 2
    assert "--force" in capsys.readouterr().err
    assert file.read_bytes() == was
    assert gatepost(*arguments, "--force") == 0
    assert gatepost("backup", "--config", str(site.config_path), "--to", str(tmp_path / "no" / "b.tar")) == 2
    assert "is no folder" in capsys.readouterr().err
    # A store that is damaged makes no backup, and leaves the last one.
    store = tmp_path / "data" / FILE_NAME
    content = bytearray(store.read_bytes())
    content[5 * 4096 : 5 * 4096 + 2_000] = os.urandom(2_000)
    store.write_bytes(content)
    was = file.read_bytes()
    assert gatepost(*arguments, "--force") == 2
    assert file.read_bytes() == was
    assert not leftovers(tmp_path)
