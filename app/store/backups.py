"""Copies in the provider's backup store: whose time is running out, and what was told of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import and_, bindparam, or_, select, update

from app.core.recording import BACKUP_WARNING
from app.store.connection import Connection
from app.store.tables import FILES

NOTHING, GOES, GONE = range(3)


async def due(connection: Connection, *, now: datetime, limit: int) -> list[tuple[str, str]]:
    """Files (task and file id) of which something is to be told."""
    row = FILES.c
    goes = and_(row.backup_told == NOTHING, row.backup_expires_at <= now + BACKUP_WARNING)
    gone = and_(row.backup_told == GOES, row.backup_expires_at <= now)
    statement = select(row.task_id, row.file_id).where(row.backup_expires_at.is_not(None), or_(goes, gone))
    return [(found.task_id, found.file_id) for found in await connection.execute(statement.limit(limit))]


async def told(connection: Connection, about: Sequence[tuple[str, str, bool]]) -> None:
    """Of these files' copies (task id, file id) it was told that they go, or that they are gone."""
    if about:
        rows = [
            {"of_task": task_id, "of_file": file_id, "told": GONE if gone else GOES} for task_id, file_id, gone in about
        ]
        await connection.execute(_TOLD, rows)


_TOLD = (
    update(FILES)
    .where(FILES.c.task_id == bindparam("of_task"), FILES.c.file_id == bindparam("of_file"))
    .values(backup_told=bindparam("told"))
)
