"""The scripted provider and its client, for tests of either."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.provider.client import Provider
from tests.provider.scripted import Server, a_provider, listening


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with listening() as server:
        yield server


@pytest.fixture
async def provider(server: Server) -> AsyncIterator[Provider]:
    speaking = a_provider(server.url)
    yield speaking
    await speaking.close()
