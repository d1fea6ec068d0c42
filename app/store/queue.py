"""What the queue of polls holds: what it asks of the budget, and how far it is behind."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Integer, bindparam, case, exists, func, literal_column, or_, select

from app.core.schedule import CLOSING_EDGES, Urgency
from app.store.connection import Connection
from app.store.counts import COUNTED
from app.store.polls import OF_APP, STORED, due, of_class
from app.store.tables import POLLS, TASKS


@dataclass(frozen=True, slots=True)
class Load:
    """``recordings``: those that only polls follow; ``batches``: tasks waiting for their first poll; ``closing``: for a
    last look, by CLOSING_EDGES."""

    recordings: int
    uploading: int
    batches: int
    closing: tuple[int, ...]


async def load(connection: Connection, app_id: int, *, now: datetime, vouched: bool) -> Load:
    """What an app's queue asks of its budget."""
    given = {"of_app": app_id}
    by_class = {row[0]: row[1] for row in await connection.execute(_NOT_VOUCHED if vouched else _WAITING, given)}
    edges = {f"edge_{number}": now + edge for number, edge in enumerate(CLOSING_EDGES)}
    closing = (await connection.execute(_CLOSING_BY_EDGE, given | edges | {"now": now})).one()
    return Load(
        recordings=by_class.get(Urgency.ROUTINE, 0),
        uploading=by_class.get(Urgency.PROMPT, 0),
        batches=by_class.get(Urgency.BATCH, 0),
        closing=tuple(int(count) for count in closing),
    )


_CLASSES: list[ColumnElement[int]] = [
    literal_column(str(int(urgency))) for urgency in (Urgency.ROUTINE, Urgency.PROMPT, Urgency.BATCH)
]
_WAITING = select(POLLS.c.urgency, func.count()).where(OF_APP, POLLS.c.urgency.in_(_CLASSES)).group_by(POLLS.c.urgency)
_SHOWN = exists().where(TASKS.c.task_id == POLLS.c.task_id, TASKS.c.status_code == POLLS.c.listed)
_NOT_VOUCHED = _WAITING.where(or_(~of_class(Urgency.ROUTINE), ~_SHOWN))
_EDGES = [bindparam(f"edge_{number}", type_=POLLS.c.closes_at.type) for number in range(len(CLOSING_EDGES))]
_CLOSING_BY_EDGE = select(
    *(func.coalesce(func.sum(case((POLLS.c.closes_at <= edge, 1), else_=0)), 0) for edge in _EDGES)
).where(OF_APP, POLLS.c.closes_at > bindparam("now"), POLLS.c.closes_at <= _EDGES[-1])


@dataclass(frozen=True, slots=True)
class Backlog:
    """Polls that are due now, of each class up to ``COUNTED``; ``oldest``: since when the longest has been waiting."""

    by_class: dict[Urgency, int]
    oldest: datetime | None

    @property
    def due(self) -> int:
        return sum(self.by_class.values())


async def backlog(connection: Connection, app_id: int, *, now: datetime) -> Backlog:
    """How far an app's polls are behind."""
    row = (await connection.execute(_BACKLOG, {"of_app": app_id, "now": now, "most": COUNTED})).one()
    numbers, dates = row[: len(STORED)], filter(None, row[len(STORED) :])
    return Backlog(
        {urgency: number for urgency, number in zip(STORED, numbers, strict=True) if number}, min(dates, default=None)
    )


# A look into the index for each class: over all classes at once it would read everything that is due.
_FIRST = select(POLLS.c.next_poll_at).order_by(POLLS.c.next_poll_at).limit(1)
_SOME = select(POLLS.c.next_poll_at).limit(bindparam("most", type_=Integer))
_NUMBERS = (select(func.count()).select_from(_SOME.where(*due(urgency)).subquery()) for urgency in STORED)
_DATES = (_FIRST.where(*due(urgency)) for urgency in STORED)
_BACKLOG = select(*(one.scalar_subquery() for one in (*_NUMBERS, *_DATES)))
