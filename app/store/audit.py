"""Lines about who did what."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update

from app.store.engine import Connection
from app.store.models import table_of
from app.store.models_audit import AuditRow

_AUDIT = table_of(AuditRow)
_INSERT = insert(_AUDIT).returning(_AUDIT.c.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Somebody did something: app.store.models_audit.AuditRow."""

    id: int
    at: datetime
    key: str | None
    action: str
    subject: str | None
    details: dict[str, Any]
    request_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """What a list of lines is narrowed to."""

    key: tuple[str, ...] = ()
    action: tuple[str, ...] = ()
    after: datetime | None = None
    before: datetime | None = None


async def add(connection: Connection, **line: Any) -> int:
    """Keep a line, all of Line but its ``id``, which is returned."""
    added: int = (await connection.execute(_INSERT, line)).scalar_one()
    return added


async def tell(connection: Connection, id_: int, details: dict[str, Any]) -> None:
    """What a line says in detail is this by now."""
    await connection.execute(update(_AUDIT).where(_AUDIT.c.id == id_).values(details=details))


async def page(connection: Connection, wanted: AuditFilter, *, below: int | None, limit: int) -> list[Line]:
    """Some lines, newest first, from the one below ``below`` on."""
    row = _AUDIT.c
    statement = select(_AUDIT).order_by(row.id.desc()).limit(limit)
    if wanted.key:
        statement = statement.where(row.key.in_(wanted.key))
    if wanted.action:
        statement = statement.where(row.action.in_(wanted.action))
    if wanted.after is not None:
        statement = statement.where(row.at > wanted.after)
    if wanted.before is not None:
        statement = statement.where(row.at < wanted.before)
    if below is not None:
        statement = statement.where(row.id < below)
    return [Line(**found._mapping) for found in await connection.execute(statement)]
