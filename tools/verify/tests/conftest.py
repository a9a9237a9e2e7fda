"""One scene for all tests here."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tools.verify.tests.scene import Copy, Scene, fill


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return asyncio.run(fill(tmp_path_factory.mktemp("scene") / "site"))


@pytest.fixture
def copy(scene: Scene, tmp_path: Path) -> Copy:
    return Copy(scene, tmp_path / "copy")
