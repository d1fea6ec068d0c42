"""Lines about who did what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import insert, select, update

from app.store.connection import Connection
from app.store.many import put_rows
from app.store.pages import KEPT, ListingById, Page, Wanted
from app.store.tables_audit import AUDIT

_INSERT = insert(AUDIT).returning(AUDIT.c.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Somebody did something: app.store.tables_audit.AUDIT."""

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


async def add_all(connection: Connection, lines: Sequence[dict[str, Any]]) -> None:
    """Keep lines, of which nobody needs the ids."""
    if lines:
        await put_rows(connection, AUDIT, lines)


async def tell(connection: Connection, id_: int, details: dict[str, Any]) -> None:
    """What a line says in detail is this by now."""
    await connection.execute(update(AUDIT).where(AUDIT.c.id == id_).values(details=details))


async def page(connection: Connection, wanted: AuditFilter, *, below: int | None, limit: int) -> Page[Line]:
    """Some lines, newest first, from the one below ``below`` on."""
    found = await _listing(wanted).page_below(connection, below, limit)
    return Page([Line(**one) for one in found.items], found.more)


@lru_cache(KEPT)
def _listing(wanted: AuditFilter) -> ListingById:
    row = AUDIT.c
    # Behind one key, and behind one action, an index goes on in the order of ids.
    words = [(row.key, wanted.key), (row.action, wanted.action)]
    lead = next(((column, values[0]) for column, values in words if len(values) == 1), None)
    rest = [column.in_(values) for column, values in words if values and (lead is None or column is not lead[0])]
    at = [row.at > wanted.after] if wanted.after is not None else []
    at += [row.at < wanted.before] if wanted.before is not None else []
    return ListingById(
        select(AUDIT),
        Wanted(
            lead=lead,
            checks=[*rest, *at],
            sources=[select(row.id).where(one) for one in rest],
        ),
        id_=row.id,
        at=row.at,
        after=wanted.after,
        before=wanted.before,
    )
