"""The queue of polls: what is due, who asks next, and when again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import bindparam, case, delete, exists, func, literal_column, or_, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from app.core.schedule import Urgency
from app.store.engine import Connection
from app.store.models import PollRow, TaskRow, table_of
from app.store.tasks import upsert

POLLS = table_of(PollRow)

CLAIM_LEASE = timedelta(seconds=30)
"""How long a claimed task stays with its process; longer than a call and its recording."""

CLAIMS_IN_FLIGHT = 1000
"""A task that comes back to the queue numbers its claims from beyond any that could still be in flight."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to ask about a task once. It is void when another claim of the task has been taken since."""

    task_id: str
    claim_no: int
    until: datetime


async def any_due(connection: Connection, app_id: int, *, now: datetime) -> bool:
    """Whether anything of this app is to be polled now."""
    return bool((await connection.execute(_ANY_DUE, {"of_app": app_id, "now": now})).scalar())


async def claim(connection: Connection, app_id: int, *, order: Sequence[Urgency], now: datetime) -> Claim | None:
    """Claim the first due task, by class in the given order, then by date; None if nothing is due."""
    until = now + CLAIM_LEASE
    given = {"of_app": app_id, "now": now, "until": until}
    row = (await connection.execute(_claim(tuple(order)), given)).one_or_none()
    return Claim(row.task_id, row.claim_no, until) if row else None


# Statements of every poll are built once: building them took longer than running them.

_DUE = (POLLS.c.app_id == bindparam("of_app"), POLLS.c.next_poll_at <= bindparam("now"))
_ANY_DUE = select(exists().where(*_DUE, POLLS.c.urgency.in_(list(Urgency))))


@cache
def _claim(order: tuple[Urgency, ...]) -> ReturningUpdate[Any]:
    first = [
        select(POLLS.c.task_id)
        .where(*_DUE, POLLS.c.urgency == literal_column(str(int(urgency))))
        .order_by(POLLS.c.next_poll_at)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
        for urgency in order
    ]
    return (
        update(POLLS)
        .where(POLLS.c.task_id == func.coalesce(*first, None))
        .values(next_poll_at=bindparam("until"), claim_no=POLLS.c.claim_no + 1)
        .returning(POLLS.c.task_id, POLLS.c.claim_no)
    )


async def add(connection: Connection, app_id: int, claims: Mapping[str, int], urgency: Urgency, at: datetime) -> None:
    """Queue new tasks; ``claims``: task_id → the highest claim number it ever had."""
    rows = [
        {"task_id": task_id, "app_id": app_id, "urgency": urgency, "next_poll_at": at, "claim_no": claim_no}
        for task_id, claim_no in sorted(claims.items())
    ]
    if rows:
        await connection.execute(upsert(connection)(PollRow).on_conflict_do_nothing(), rows)


async def hurry(
    connection: Connection, task_id: str, app_id: int, urgency: Urgency, at: datetime, *, claim_no: int
) -> None:
    """Make a task due at ``at`` at the latest and at least this urgent; queue it if it is not queued."""
    row = {"task_id": task_id, "app_id": app_id, "urgency": urgency, "next_poll_at": at}
    statement = upsert(connection)(PollRow).values(row | {"claim_no": claim_no + CLAIMS_IN_FLIGHT})
    sooner: dict[str, Any] = {
        "urgency": case((PollRow.urgency > urgency, urgency), else_=PollRow.urgency),
        "next_poll_at": case((PollRow.next_poll_at > at, at), else_=PollRow.next_poll_at),
    }
    await connection.execute(statement.on_conflict_do_update(index_elements=["task_id"], set_=sooner))


async def plan(connection: Connection, claim: Claim, urgency: Urgency, at: datetime) -> bool:
    """Set the next date after a claim's poll; False if somebody hurried or claimed the task meanwhile."""
    given = _given(claim) | {"new_urgency": urgency, "new_date": at}
    return (await connection.execute(_PLAN, given)).first() is not None


async def put_off(connection: Connection, claim: Claim, at: datetime) -> None:
    """Set another date after a claim that came to nothing; the class stays as it was."""
    await connection.execute(update(POLLS).where(*_UNTOUCHED).values(next_poll_at=at), _given(claim))


async def finish(connection: Connection, claim: Claim) -> None:
    """Take the task from the queue after a claim's poll, unless somebody hurried or claimed it meanwhile."""
    await connection.execute(delete(POLLS).where(*_UNTOUCHED), _given(claim))


_UNTOUCHED = (
    POLLS.c.task_id == bindparam("claimed_task"),
    POLLS.c.claim_no == bindparam("claimed_no"),
    POLLS.c.next_poll_at == bindparam("claimed_until"),
)
_PLAN = (
    update(POLLS)
    .where(*_UNTOUCHED)
    .values(urgency=bindparam("new_urgency"), next_poll_at=bindparam("new_date"))
    .returning(POLLS.c.task_id)
)


def _given(claim: Claim) -> dict[str, Any]:
    return {"claimed_task": claim.task_id, "claimed_no": claim.claim_no, "claimed_until": claim.until}


async def drop(connection: Connection, task_id: str) -> None:
    """Take the task from the queue, whatever happens to it."""
    await connection.execute(delete(PollRow).where(PollRow.task_id == task_id))


async def without_app(
    connection: Connection, app_ids: Sequence[int], code: str, *, now: datetime, limit: int
) -> list[str]:
    """Queued tasks of other apps that are not yet marked with this error code, or whose window has closed."""
    unmarked = or_(TaskRow.last_error["code"].as_string().is_(None), TaskRow.last_error["code"].as_string() != code)
    statement = (
        select(PollRow.task_id)
        .join(TaskRow.__table__, TaskRow.task_id == PollRow.task_id)
        .where(PollRow.app_id.not_in(app_ids), or_(unmarked, TaskRow.query_deadline <= now))
        .limit(limit)
    )
    return list((await connection.execute(statement)).scalars())
