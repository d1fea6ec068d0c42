"""What became of the tasks that ended lately, counted by time."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Text, func, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from app.store.engine import Connection
from app.store.models import TaskRow, table_of

_TASKS = table_of(TaskRow)


class utc_text(FunctionElement[str]):  # noqa: N801 - it is written like a function in statements
    """A time as `YYYY-MM-DD HH:MI…` in UTC. SQLite stores it so."""

    type = Text()
    inherit_cache = True


@compiles(utc_text, "sqlite")
def _sqlite_text(element: Any, compiler: Any, **kw: Any) -> str:
    return str(compiler.process(element.clauses, **kw))


@compiles(utc_text, "postgresql")
def _postgresql_text(element: Any, compiler: Any, **kw: Any) -> str:
    return f"to_char({compiler.process(element.clauses, **kw)} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI')"


async def count(connection: Connection, *, since: datetime, digits: int) -> list[tuple[str, str, int]]:
    """How many tasks closed since then, by the first ``digits`` characters of the time in UTC, and by outcome."""
    at = func.substr(utc_text(_TASKS.c.closed_at), 1, digits).label("at")
    statement = (
        select(at, _TASKS.c.outcome, func.count())
        .where(_TASKS.c.closed_at >= since, _TASKS.c.outcome.is_not(None))
        .group_by(at, _TASKS.c.outcome)
    )
    return [(row[0], row[1], row[2]) for row in await connection.execute(statement)]
