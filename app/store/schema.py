"""The schema's version: bring the database to it, or say that it is not there."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection as SyncConnection
from sqlalchemy import column, inspect, select, table, text

from app.errors import Misconfigured
from app.store.engine import Connection, Database, unavailable_if_down

HEAD = "0005"
"""The revision this code was written for: the newest in ``migrations/versions``."""

MIGRATIONS = Path(__file__).parents[2] / "migrations"

# Any number that nothing else locks: concurrent `migrate` commands wait for each other.
_MIGRATION_LOCK = 7_305_114_829

_VERSION = table("alembic_version", column("version_num"))


async def is_current(database: Database) -> bool:
    """Whether the database's schema is the one this code was written for."""
    async with database.read() as connection:
        return await _revision(connection) == HEAD


async def _revision(connection: Connection) -> str | None:
    if not await connection.run_sync(lambda sync: inspect(sync).has_table(_VERSION.name)):
        return None
    revision: str | None = (await connection.execute(select(_VERSION.c.version_num))).scalar()
    return revision


async def migrate(database: Database, revision: str = "head") -> None:
    """Bring the schema to ``revision``, in one transaction; a second process that tries waits for the first."""
    with unavailable_if_down():
        async with database.engine.connect() as connection:
            if database.is_sqlite:
                # Rebuilding a table would otherwise delete what refers to it; it cannot be set in a transaction.
                raw = await connection.get_raw_connection()
                await raw.driver_connection.execute("PRAGMA foreign_keys=OFF")  # type: ignore[union-attr]
            async with database.transaction(connection):
                if not database.is_sqlite:
                    await connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
                if revision != "head" or await _revision(connection) != HEAD:
                    await connection.run_sync(_run, revision)
            await connection.invalidate()


def _run(connection: SyncConnection, revision: str) -> None:
    # Here, since only a start that migrates needs it, and it takes a quarter of a second to import.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    try:
        if revision == "base":
            command.downgrade(config, revision)
        else:
            command.upgrade(config, revision)
    except CommandError as error:
        raise Misconfigured([f"DATABASE_URL: a newer version of this program made its schema: {error}"]) from error
