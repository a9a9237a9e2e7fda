"""What several suites of the edge agent begin with."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from edge_agent.tests.office import Office


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    """An office that takes what it is sent, on a port of its own."""
    found = Office()
    await found.start()
    yield found
    await found.stop()
