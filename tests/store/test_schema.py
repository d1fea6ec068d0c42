"""The schema: up from nothing, down and up again, no drift from the models, and two starts at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from app.core.schedule import Urgency
from app.errors import Misconfigured
from app.store import schema
from app.store.engine import Database
from app.store.models import Base
from app.wiring import open_service
from tests.world import HandClock, MakeSettings


@pytest.fixture
async def empty_database(database_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    """A database without tables, of each engine in turn."""
    url = f"sqlite+aiosqlite:///{tmp_path}/empty.db"
    if database_url.startswith("postgresql"):
        url = database_url.replace("/postgres?", "/empty?")
        server = Database(database_url, HandClock())
        async with server.engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            await connection.execute(text("DROP DATABASE IF EXISTS empty"))
            await connection.execute(text("CREATE DATABASE empty"))
        await server.close()
    database = Database(url, HandClock())
    yield database
    await database.close()


async def tables(database: Database) -> set[str]:
    async with database.read() as connection:
        return set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))


async def test_the_revision_the_code_asks_for_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == schema.HEAD


async def test_migrations_go_up_from_nothing_and_down_and_up_again(empty_database: Database) -> None:
    assert not await schema.is_current(empty_database)
    await schema.migrate(empty_database)
    assert await schema.is_current(empty_database)
    full = await tables(empty_database)
    await schema.migrate(empty_database, "base")
    assert await tables(empty_database) == {"alembic_version"}
    await schema.migrate(empty_database)
    assert await tables(empty_database) == full
    await schema.migrate(empty_database)


def differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), Base.metadata))


async def test_the_migrated_schema_is_what_the_models_say(empty_database: Database) -> None:
    await schema.migrate(empty_database)
    async with empty_database.read() as connection:
        assert await connection.run_sync(differences) == []


async def test_several_processes_may_migrate_at_once(empty_database: Database) -> None:
    others = [Database(empty_database.url, HandClock()) for _ in range(3)]
    try:
        await asyncio.gather(*(schema.migrate(database) for database in [empty_database, *others]))
        assert await schema.is_current(empty_database)
    finally:
        for database in others:
            await database.close()


async def test_sqlite_is_migrated_by_the_service_and_postgresql_only_by_command(
    empty_database: Database, settings: MakeSettings
) -> None:
    chosen = settings(database_url=empty_database.url)
    if empty_database.is_sqlite:
        async with open_service(chosen):
            assert await schema.is_current(empty_database)
        return
    with pytest.raises(Misconfigured, match="recording-status migrate"):
        async with open_service(chosen):
            pass
    await schema.migrate(empty_database)
    async with open_service(chosen):
        pass


async def test_a_database_of_a_newer_version_is_left_alone(empty_database: Database, settings: MakeSettings) -> None:
    await schema.migrate(empty_database)
    async with empty_database.write() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Misconfigured, match="DATABASE_URL"):
        async with open_service(settings(database_url=empty_database.url)):
            pass


async def test_what_the_first_version_queued_goes_on_under_the_second(empty_database: Database) -> None:
    await schema.migrate(empty_database, "0001")
    async with empty_database.write() as connection:
        for number, tracking in enumerate(["active", "settled"]):
            await connection.execute(text(FIRST_TASK), {"id": f"{number:016d}", "tracking": tracking})
        for number, urgency in enumerate([3, 0]):
            await connection.execute(text(FIRST_POLL), {"id": f"{number:016d}", "urgency": urgency})
    await schema.migrate(empty_database)
    async with empty_database.read() as connection:
        polls = (await connection.execute(text("SELECT urgency, closes_at FROM polls ORDER BY task_id"))).all()
        deadline = (await connection.execute(text("SELECT query_deadline FROM tasks"))).scalars().first()
    assert [tuple(poll) for poll in polls] == [(Urgency.ROUTINE, deadline), (Urgency.HURRIED, None)]


FIRST_TASK = """
    INSERT INTO tasks (task_id, app_id, registered_at, updated_at, registered_via, version, labels, tracking, status,
                       claim_no, attention, file_counts, query_deadline, poll_count, consecutive_failures)
    VALUES (:id, 1, '2026-01-31 12:00:00+00', '2026-01-31 12:00:00+00', 'api', 1, '{}', :tracking, 'ongoing',
            1, 0, '{}', '2026-02-03 12:00:00+00', 1, 0)
"""
FIRST_POLL = """
    INSERT INTO polls (task_id, app_id, urgency, next_poll_at, claim_no)
    VALUES (:id, 1, :urgency, '2026-01-31 12:00:00+00', 1)
"""
