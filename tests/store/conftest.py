"""Databases without tables."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.store.engine import Database
from tests.world import HandClock


@pytest.fixture
async def empty_database(database_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    """A database without tables, of each engine in turn."""
    url = f"sqlite+aiosqlite:///{tmp_path}/empty.db"
    if database_url.startswith("postgresql"):
        url = database_url.replace("/postgres?", "/empty?")
        server = Database(database_url, HandClock())
        async with server.unhurried() as connection:
            await connection.say("DROP DATABASE IF EXISTS empty")
            await connection.say("CREATE DATABASE empty")
        await server.close()
    database = Database(url, HandClock())
    yield database
    await database.close()
