"""The schema: no drift from the tables, two starts at once, and who may migrate. With data: test_migrations.py."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from app.errors import Misconfigured
from app.store import schema
from app.store.engine import Database
from app.store.tables import METADATA
from app.wiring import open_service
from tests.world import HandClock, MakeSettings


def differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), METADATA))


async def test_the_migrated_schema_is_what_the_tables_say(empty_database: Database) -> None:
    await schema.migrate(empty_database)
    async with empty_database.read() as connection:
        assert await connection.run_sync(differences) == []


async def test_alembic_by_hand_migrates_too(empty_database: Database) -> None:
    command = [sys.executable, "-m", "alembic", "upgrade", "head"]
    own = {"DATABASE_URL": empty_database.url, "ZEGO_APP_ID": "1", "ZEGO_SERVER_SECRET": "a" * 32}
    program = await asyncio.create_subprocess_exec(*command, cwd=schema.MIGRATIONS.parent, env=os.environ | own)
    assert await program.wait() == 0
    assert await schema.fits(empty_database)


async def test_several_processes_may_migrate_at_once(empty_database: Database) -> None:
    others = [Database(empty_database.url, HandClock()) for _ in range(3)]
    try:
        await asyncio.gather(*(schema.migrate(database) for database in [empty_database, *others]))
        assert await schema.fits(empty_database)
    finally:
        for database in others:
            await database.close()


async def test_sqlite_is_migrated_by_the_service_and_postgresql_only_by_command(
    empty_database: Database, settings: MakeSettings
) -> None:
    chosen = settings(database_url=empty_database.url)
    if empty_database.is_sqlite:
        async with open_service(chosen):
            assert await schema.fits(empty_database)
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
