"""The schema's version: bring the database to it, or say that it is not there.

A revision is named NNNN, or NNNN_since_MMMM if programs written for MMMM or later can go on working on it. The name
stands in the database, so a program knows of a schema that is newer than itself whether it may use it:
docs/migrations.md.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import Connection as SyncConnection
from sqlalchemy import column, inspect, select, table, text

from app.errors import Misconfigured
from app.imports import without_extras
from app.store.connection import Connection
from app.store.engine import WAIT, Database

HEAD = "0012_since_0006"
"""The revision this code was written for: the newest in ``migrations/versions``."""

MIGRATIONS = Path(__file__).parents[2] / "migrations"

# Any number that nothing else locks: concurrent `migrate` commands wait for each other.
_MIGRATION_LOCK = 7_305_114_829

_VERSION = table("alembic_version", column("version_num"))

_NAME = re.compile(r"(?P<number>\d{4})(_since_(?P<since>\d{4}))?")


async def fits(database: Database) -> bool:
    """Whether this program can work on the database's schema."""
    async with database.read() as connection:
        return serves(await _revision(connection), HEAD)


def serves(revision: str | None, program: str) -> bool:
    """Whether a program written for one revision can work on another: the same, or a later one that says so."""
    if revision == program:
        return True
    there, here = _NAME.fullmatch(revision or ""), _NAME.fullmatch(program)
    if there is None or here is None or there["since"] is None:
        return False
    return there["since"] <= here["number"] < there["number"]


async def _revision(connection: Connection) -> str | None:
    if not await connection.run_sync(lambda sync: inspect(sync).has_table(_VERSION.name)):
        return None
    revision: str | None = (await connection.execute(select(_VERSION.c.version_num))).scalar()
    return revision


async def migrate(database: Database, revision: str = "head") -> None:
    """Bring the schema to ``revision``, in one transaction; a second process that tries waits for the first."""
    async with changing(database) as connection:
        if revision != "head" or not serves(await _revision(connection), HEAD):
            await connection.run_sync(_run, revision)


@asynccontextmanager
async def changing(database: Database) -> AsyncIterator[Connection]:
    """A transaction to change the schema in; nobody else does meanwhile."""
    async with database.unhurried() as connection:
        if database.is_sqlite:
            # Rebuilding a table would otherwise delete what refers to it; it cannot be set in a transaction.
            await connection.say("PRAGMA foreign_keys=OFF")
        async with database.transaction(connection):
            if not database.is_sqlite:
                # However long another process takes. Of those that serve, none is held up for longer than WAIT.
                await connection.execute(text("SET LOCAL lock_timeout = 0"))
                await connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
                await connection.execute(text(f"SET LOCAL lock_timeout = '{WAIT}s'"))
            yield connection


def _run(connection: SyncConnection, revision: str) -> None:
    with without_extras():  # here, since only a start that migrates needs it, and it takes long to import
        from alembic import command
        from alembic.config import Config
        from alembic.runtime.migration import MigrationContext
        from alembic.script import ScriptDirectory
        from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    try:
        newest_first = [one.revision for one in ScriptDirectory.from_config(config).walk_revisions()] + ["base"]
        present = MigrationContext.configure(connection).get_current_revision() or "base"
        earlier = newest_first[newest_first.index(present) :] if present in newest_first else []
        if revision in earlier:
            command.downgrade(config, revision)
        else:
            command.upgrade(config, revision)
    except CommandError as error:
        raise Misconfigured([f"DATABASE_URL: a newer version of this program made its schema: {error}"]) from error
