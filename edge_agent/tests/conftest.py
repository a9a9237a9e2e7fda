"""What several suites of the edge agent begin with."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, settings

from edge_agent.tests.office import Office

# A failing draw prints how to draw it again; a slow machine is no failure.
settings.register_profile(
    "edge_agent", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("edge_agent")


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    """An office that takes what it is sent, on a port of its own."""
    found = Office()
    await found.start()
    yield found
    await found.stop()
