"""Runs migrations on the connection the service hands over, or, called by hand, on DATABASE_URL."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from alembic import context
from sqlalchemy import Connection

from app.clock import SystemClock
from app.settings import load_settings
from app.store import schema, tables_audit, tables_calls, tables_counts, tables_webhooks  # noqa: F401 - METADATA knows them then
from app.store.engine import Database
from app.store.tables import METADATA, UtcDateTime


def plain_type(kind: str, obj: Any, autogen_context: Any) -> str | Literal[False]:
    """Migrations name SQLAlchemy's types only: what our own types are today must not change what happened then."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(obj, UtcDateTime) else False


def run(connection: Connection) -> None:
    if not connection.in_transaction():
        connection.begin()  # it is begun already, of which SQLAlchemy was not told; Alembic would end it
    context.configure(
        render_item=plain_type,
        connection=connection,
        target_metadata=METADATA,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def run_by_hand() -> None:
    database = Database(load_settings().database_url, SystemClock())
    try:
        async with schema.changing(database) as connection:
            await connection.run_sync(run)
    finally:
        await database.close()


handed_over = context.config.attributes.get("connection")
if handed_over is not None:
    run(handed_over)
else:
    asyncio.run(run_by_hand())
