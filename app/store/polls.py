"""The queue of polls: what is due, who asks next, and when again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate

from app.core.recording import Task
from app.core.schedule import EARLY, Plan, Urgency
from app.store import bell
from app.store.connection import Connection
from app.store.many import put_rows, unless_there
from app.store.tables import POLLS, TASKS

CLAIM_LEASE = timedelta(seconds=30)
"""How long a claimed task stays with its process; longer than a call and its recording."""

CLAIMS_IN_FLIGHT = 1000
"""A task that comes back to the queue numbers its claims from beyond any that could still be in flight."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to ask about a task once. It is void when another claim of the task has been taken since.

    ``urgency``: the class in which it was found. ``task``: as it was then, and ``mark``, which changes whenever its row
    is written, if a statement told them (`app.store.trips`).
    """

    task_id: str
    claim_no: int
    until: datetime
    urgency: Urgency
    task: Task | None = None
    mark: str = ""


async def any_due(connection: Connection, app_id: int, *, now: datetime, horizon: timedelta) -> bool:
    """Whether anything of this app is to be polled now, be it only because there is budget to spare."""
    given = {"of_app": app_id, "now": now, "closing": now + horizon}
    return bool((await connection.execute(_ANY_DUE, given)).scalar())


async def claim(
    connection: Connection, app_id: int, *, order: Sequence[Urgency], now: datetime, horizon: timedelta
) -> Claim | None:
    """Claim the most urgent task: by class in the given order, within one by date; at last, one before it is due.

    Until its poll is planned anew the task counts as hurried: should the claim come to nothing, it was the most urgent.
    """
    until = now + CLAIM_LEASE
    given = {"of_app": app_id, "now": now, "closing": now + horizon, "until": until}
    row = (await connection.execute(claiming(tuple(order)), given)).one_or_none()
    return Claim(row.task_id, row.claim_no, until, Urgency(row.claimed_as)) if row else None


# Statements of every poll are built once: building them took longer than running them.

OF_APP = POLLS.c.app_id == bindparam("of_app")
_CLOSES = (POLLS.c.closes_at > bindparam("now"), POLLS.c.closes_at <= bindparam("closing"))
_CLOSING = (OF_APP, *_CLOSES)
STORED = [urgency for urgency in Urgency if urgency is not Urgency.DEADLINE]


def due(urgency: Urgency) -> tuple[ColumnElement[bool], ...]:
    return (OF_APP, of_class(urgency), POLLS.c.next_poll_at <= bindparam("now"))


def _early(urgency: Urgency) -> tuple[ColumnElement[bool], ...]:
    return (OF_APP, of_class(urgency), POLLS.c.early_at <= bindparam("now"))


def of_class(urgency: Urgency) -> ColumnElement[bool]:
    return POLLS.c.urgency == literal_column(str(int(urgency)))


_ANY_DUE = select(
    or_(
        *(exists().where(*due(urgency)) for urgency in STORED),
        exists().where(*_CLOSING),
        *(exists().where(*_early(urgency)) for urgency in EARLY),
    )
)


@cache
def claiming(order: tuple[Urgency, ...]) -> ReturningUpdate[Any]:
    """Of the app's due tasks the most urgent is claimed."""
    first = [
        _first(_CLOSING, POLLS.c.closes_at)
        if urgency is Urgency.DEADLINE
        else _first(due(urgency), POLLS.c.next_poll_at)
        for urgency in order
    ]
    first += [_first(_early(urgency), POLLS.c.early_at) for urgency in EARLY]
    return (
        update(POLLS)
        .where(POLLS.c.task_id == func.coalesce(*first, None))
        .values(
            urgency=literal_column(str(int(Urgency.HURRIED))),
            next_poll_at=bindparam("until"),
            early_at=None,
            closes_at=None,
            claim_no=POLLS.c.claim_no + 1,
            claimed_as=case((and_(*_CLOSES), literal_column(str(int(Urgency.DEADLINE)))), else_=POLLS.c.urgency),
        )
        .returning(POLLS.c.task_id, POLLS.c.claim_no, POLLS.c.claimed_as)
    )


def _first(conditions: tuple[ColumnElement[bool], ...], by: ColumnElement[datetime | None]) -> ScalarSelect[str]:
    # As a parameter PostgreSQL takes a limit for a tenth of all: it thought so dear of this that it planned each anew.
    statement = select(POLLS.c.task_id).where(*conditions).order_by(by).limit(literal_column("1"))
    return statement.with_for_update(skip_locked=True).scalar_subquery()


@dataclass(frozen=True, slots=True)
class NewPoll:
    """A task that enters the queue; ``claim_no``: the highest number its claims ever had."""

    task_id: str
    app_id: int
    claim_no: int
    closes_at: datetime | None


async def add(connection: Connection, polls: Sequence[NewPoll], urgency: Urgency, at: datetime) -> None:
    """Queue new tasks."""
    rows = [
        {
            "task_id": poll.task_id,
            "app_id": poll.app_id,
            "urgency": urgency,
            "next_poll_at": at,
            "early_at": None,
            "closes_at": poll.closes_at,
            "listed": None,
            "claim_no": poll.claim_no,
        }
        for poll in sorted(polls, key=lambda poll: poll.task_id)
    ]
    if rows:
        await put_rows(connection, POLLS, rows, unless_there)
        bell.ring(connection, bell.POLLS)


@dataclass(frozen=True, slots=True)
class Hurry:
    """A task that is to be polled at ``at`` at the latest; ``claim_no``: the highest of its claims that was applied."""

    task_id: str
    app_id: int
    at: datetime
    claim_no: int


async def hurry(connection: Connection, tasks: Sequence[Hurry], urgency: Urgency) -> None:
    """Make tasks due at the latest then, and at least this urgent; queue those that are not queued."""
    rows = [
        {
            "task_id": one.task_id,
            "app_id": one.app_id,
            "urgency": urgency,
            "next_poll_at": one.at,
            "claim_no": one.claim_no + CLAIMS_IN_FLIGHT,
        }
        for one in sorted(tasks, key=lambda one: one.task_id)
    ]
    if rows:
        await put_rows(connection, POLLS, rows, _or_hurry)
        bell.ring(connection, bell.POLLS)


def _or_hurry(statement: Any) -> Any:
    urgency, at = statement.excluded.urgency, statement.excluded.next_poll_at
    sooner: dict[str, Any] = {
        "urgency": case((POLLS.c.urgency > urgency, urgency), else_=POLLS.c.urgency),
        "next_poll_at": case((POLLS.c.next_poll_at > at, at), else_=POLLS.c.next_poll_at),
    }
    return statement.on_conflict_do_update(index_elements=["task_id"], set_=sooner)


async def plan(connection: Connection, claim: Claim, plan: Plan) -> bool:
    """Set the next date after a claim's poll; False if somebody hurried or claimed the task meanwhile."""
    values = given(claim) | {f"new_{name}": value for name, value in asdict(plan).items()}
    return (await connection.execute(PLAN, values)).first() is not None


async def put_off(connection: Connection, claim: Claim, at: datetime) -> None:
    """Set another date after a claim that came to nothing."""
    await connection.execute(update(POLLS).where(*_UNTOUCHED).values(next_poll_at=at), given(claim))


async def finish(connection: Connection, claim: Claim) -> None:
    """Take the task from the queue after a claim's poll, unless somebody hurried or claimed it meanwhile."""
    await connection.execute(delete(POLLS).where(*_UNTOUCHED), given(claim))


_UNTOUCHED = (
    POLLS.c.task_id == bindparam("claimed_task"),
    POLLS.c.claim_no == bindparam("claimed_no"),
    POLLS.c.next_poll_at == bindparam("claimed_until"),
)
PLAN = (
    update(POLLS)
    .where(*_UNTOUCHED)
    .values(
        urgency=bindparam("new_urgency"),
        next_poll_at=bindparam("new_at"),
        early_at=bindparam("new_early_at"),
        closes_at=bindparam("new_closes_at"),
    )
    .returning(POLLS.c.task_id)
)


def given(claim: Claim) -> dict[str, Any]:
    """What PLAN wants to know of the claim."""
    return {"claimed_task": claim.task_id, "claimed_no": claim.claim_no, "claimed_until": claim.until}


async def drop(connection: Connection, task_id: str) -> None:
    """Take the task from the queue, whatever happens to it."""
    await connection.execute(delete(POLLS).where(POLLS.c.task_id == task_id))


async def without_app(
    connection: Connection, app_ids: Sequence[int], code: str, *, now: datetime, limit: int
) -> list[str]:
    """Queued tasks of other apps that are not yet marked with this error code, or whose window has closed."""
    unmarked = or_(TASKS.c.last_error["code"].as_string().is_(None), TASKS.c.last_error["code"].as_string() != code)
    statement = (
        select(POLLS.c.task_id)
        .join(TASKS, TASKS.c.task_id == POLLS.c.task_id)
        .where(_other_than(sorted(app_ids)), or_(unmarked, TASKS.c.query_deadline <= now))
        .limit(limit)
    )
    return list((await connection.execute(statement)).scalars())


def _other_than(app_ids: Sequence[int]) -> ColumnElement[bool]:
    """Of none of these apps, in ascending order: an index finds what lies between numbers, but not what is NOT IN."""
    edges = [-1, *app_ids, 2**63 - 1]
    return or_(*(and_(POLLS.c.app_id > low, POLLS.c.app_id < high) for low, high in pairwise(edges)))
