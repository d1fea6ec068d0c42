"""The sweeps over the provider's task lists: when each is due, what it came to, and what it found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, exists, select, update

from app.core.public import error_json
from app.core.recording import LastError, Status, Tracking
from app.core.sweeping import Known
from app.store.connection import Connection
from app.store.many import upsert
from app.store.tables import POLLS, TASKS
from app.store.tables_calls import SWEEPS

_ENDED = [status.value for status in Status if status.ended]
_RUNNING = (
    TASKS.c.tracking == Tracking.ACTIVE.value,
    TASKS.c.status.not_in(_ENDED),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What the sweeps of an app have come to. ``completed_at``: when the last that saw everything began."""

    next_at: datetime
    completed_at: datetime | None
    calls: int
    listed: int
    error: dict[str, Any] | None


async def ensure(connection: Connection, app_id: int, *, now: datetime) -> None:
    """Create the row if it is missing."""
    row = {"app_id": app_id, "next_at": now, "completed_at": None, "calls": 0, "listed": 0, "error": None}
    await connection.execute(upsert(connection)(SWEEPS).values(row).on_conflict_do_nothing())


async def find(connection: Connection, app_id: int) -> Sweep | None:
    """What the sweeps of an app have come to."""
    row = (await connection.execute(_FIND, {"of_app": app_id})).one_or_none()
    return Sweep(**row._mapping) if row else None


_FIND = select(*(SWEEPS.c[field.name] for field in fields(Sweep))).where(SWEEPS.c.app_id == bindparam("of_app"))


async def take(connection: Connection, app_id: int, *, now: datetime, until: datetime) -> bool:
    """Whether the sweep is due and now this process's to do, until then."""
    statement = (
        update(SWEEPS)
        .where(SWEEPS.c.app_id == app_id, SWEEPS.c.next_at <= now)
        .values(next_at=until)
        .returning(SWEEPS.c.app_id)
    )
    return (await connection.execute(statement)).first() is not None


async def put_off(connection: Connection, app_id: int, at: datetime) -> None:
    """The next sweep is due then."""
    await connection.execute(update(SWEEPS).where(SWEEPS.c.app_id == app_id).values(next_at=at))


async def complete(
    connection: Connection, app_id: int, *, began_at: datetime, next_at: datetime, calls: int, listed: int
) -> None:
    """A sweep saw everything there was when it began."""
    values = {"completed_at": began_at, "next_at": next_at, "calls": calls, "listed": listed, "error": None}
    await connection.execute(update(SWEEPS).where(SWEEPS.c.app_id == app_id).values(values))


async def fail(connection: Connection, app_id: int, error: LastError, *, next_at: datetime) -> None:
    """A sweep could not be brought to its end."""
    values = {"error": error_json(error), "next_at": next_at}
    await connection.execute(update(SWEEPS).where(SWEEPS.c.app_id == app_id).values(values))


async def any_running(connection: Connection, app_id: int) -> bool:
    """Whether any task of this app is being followed that has not ended as far as we know."""
    return bool((await connection.execute(_ANY_RUNNING, {"of_app": app_id})).scalar())


_ANY_RUNNING = select(exists().where(TASKS.c.app_id == bindparam("of_app"), *_RUNNING))


async def running(connection: Connection, app_id: int) -> dict[str, Known]:
    """The tasks being followed that were seen and have not ended, as the list last showed them.

    One that was never polled is due already; there can be tens of thousands of those.
    """
    statement = (
        select(TASKS.c.task_id, TASKS.c.status_code, TASKS.c.claim_no, POLLS.c.listed)
        .join(POLLS, POLLS.c.task_id == TASKS.c.task_id)
        .where(TASKS.c.app_id == app_id, TASKS.c.status_code.is_not(None), *_RUNNING)
    )
    rows = await connection.execute(statement)
    return {row.task_id: Known(row.status_code, row.listed, row.claim_no) for row in rows}


async def mark(connection: Connection, listed: Mapping[str, int]) -> None:
    """Keep the status under which the list shows these tasks; 0: it shows them no more."""
    rows = [{"listed_task": task_id, "listed_as": status} for task_id, status in sorted(listed.items())]
    if rows:
        await connection.execute(_MARK, rows)


_MARK = update(POLLS).where(POLLS.c.task_id == bindparam("listed_task")).values(listed=bindparam("listed_as"))


async def registered(connection: Connection, task_ids: Sequence[str]) -> set[str]:
    """Those of the ids that are registered, whatever became of them."""
    return set((await connection.execute(select(TASKS.c.task_id).where(TASKS.c.task_id.in_(task_ids)))).scalars())
