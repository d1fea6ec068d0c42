"""The schema's version: bring the database to it, or say that it is not there."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection as SyncConnection
from sqlalchemy import text

from app.store.engine import Database, unavailable_if_down

MIGRATIONS = Path(__file__).parents[2] / "migrations"

# Any number that nothing else locks: concurrent `migrate` commands wait for each other.
_MIGRATION_LOCK = 7_305_114_829


def alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


async def migrate(database: Database, revision: str = "head") -> None:
    """Bring the schema to ``revision``, in one transaction; a second process that tries waits for the first."""
    with unavailable_if_down():
        async with database.engine.connect() as connection:
            if database.is_sqlite:
                # Rebuilding a table would otherwise delete what refers to it; it cannot be set in a transaction.
                raw = await connection.get_raw_connection()
                await raw.driver_connection.execute("PRAGMA foreign_keys=OFF")  # type: ignore[union-attr]
            async with connection.begin():
                if not database.is_sqlite:
                    await connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
                await connection.run_sync(_run, revision)
            await connection.invalidate()


def _run(connection: SyncConnection, revision: str) -> None:
    config = alembic_config()
    config.attributes["connection"] = connection
    if revision == "base" or revision.startswith("-"):
        command.downgrade(config, revision)
    else:
        command.upgrade(config, revision)


async def is_current(database: Database) -> bool:
    """Whether the database's schema is the one this code was written for."""
    async with database.read() as connection:
        return await connection.run_sync(_is_head)


def _is_head(connection: SyncConnection) -> bool:
    head = ScriptDirectory.from_config(alembic_config()).get_current_head()
    return MigrationContext.configure(connection).get_current_revision() == head
