"""What became of the tasks that ended lately, and callbacks, counted by time; how ends came to be known."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Text, func, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from app.core.detection import Ending
from app.core.recording import Outcome, Status
from app.store.callbacks import ACCEPTED
from app.store.checks import holds
from app.store.connection import Connection
from app.store.tables import CALLBACKS, TASKS

_ENDED = [status.value for status in Status if status.ended]
_WITHOUT_FILES = (Outcome.NO_FILES, Outcome.UNRESOLVED)


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
    return await _count(connection, TASKS.c.closed_at, TASKS.c.outcome, since=since, digits=digits)


async def count_callbacks(connection: Connection, *, since: datetime, digits: int) -> list[tuple[str, str, int]]:
    """How many callbacks came since then, by the first ``digits`` characters of the time in UTC, and by verdict."""
    return await _count(connection, CALLBACKS.c.received_at, CALLBACKS.c.verdict, since=since, digits=digits)


async def _count(
    connection: Connection, time: ColumnElement[Any], word: ColumnElement[Any], *, since: datetime, digits: int
) -> list[tuple[str, str, int]]:
    at = func.substr(utc_text(time), 1, digits).label("at")
    statement = select(at, word, func.count()).where(time >= since, word.is_not(None)).group_by(at, word)
    return [(row[0], row[1], row[2]) for row in await connection.execute(statement)]


async def endings(
    connection: Connection,
    *,
    since: datetime,
    until: datetime,
    ends: Collection[int],
    uploads: Collection[int],
    limit: int,
) -> dict[int, list[Ending]]:
    """How the ends of recordings came to be known whose tasks closed in this time, the newest ``limit``; by app.

    ``ends`` and ``uploads``: the callbacks that tell of an end, and of the files, by the provider's numbers.
    """
    row = TASKS.c
    newest = (
        select(
            row.app_id, row.registered_at, row.ended_at, row.end_first_asked_at, row.outcome,
            _called(ends).label("end_called"), _called(uploads).label("upload_called"),
        )
        .where(row.closed_at > since, row.closed_at <= until)
        .where(row.status.in_(_ENDED), row.ended_at.is_not(None), row.end_first_asked_at.is_not(None))
        .order_by(row.closed_at.desc())
        .limit(limit)
    )  # fmt: skip
    found: dict[int, list[Ending]] = {}
    for one in await connection.execute(newest):
        ending = Ending(
            knowable_at=max(one.ended_at, one.registered_at),
            asked_at=one.end_first_asked_at,
            has_files=one.outcome is not None and one.outcome not in _WITHOUT_FILES,
            end_called=bool(one.end_called),
            upload_called=bool(one.upload_called),
        )
        found.setdefault(one.app_id, []).append(ending)
    return found


def _called(events: Collection[int]) -> ColumnElement[bool]:
    row = CALLBACKS.c
    of_task = select(row.task_id).where(row.task_id == TASKS.c.task_id)
    return holds(of_task, row.app_id == TASKS.c.app_id, row.verdict == ACCEPTED, row.event_type.in_(events))
