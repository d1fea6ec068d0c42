"""A page of a list costs the same however many rows there are and whatever is asked for.

Left to themselves, both engines answer some filters by walking a whole table in the list's order, others by sorting
all that matches; which, they guess, and SQLite has nothing to guess by. So it is decided here:

- if an index tells that a filter leaves few rows, those are fetched, checked and sorted;
- else rows are walked in the list's order and checked, at most ``SCANNED`` for a page. A page that ends so may hold
  fewer rows than its limit, or none, and yet there may be more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Row, Select, func, select, true, tuple_

from app.store.engine import Connection

FEW = 1000
"""Rows that are rather sorted than looked for in order."""

SCANNED = 5000
"""Rows a page looks at, at most, where no index finds those that are wanted."""

OUT_OF_STEP = timedelta(hours=1)
"""By how much the order of times may differ from that of ids: transactions overlap, and clocks are set right."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items of a list; ``more``: the place, a value for each column of the list's key, behind which it goes on."""

    items: list[T]
    more: tuple[Any, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a list is narrowed to.

    ``within``: what an index keeps in the list's order; ``checks``: all else, to be asked of each row. ``sources``:
    statements that find the rows (their ``identity``) that one of these conditions leaves, by an index.
    """

    within: Sequence[ColumnElement[bool]] = ()
    checks: Sequence[ColumnElement[bool]] = ()
    sources: Sequence[Select[Any]] = ()


async def page(
    connection: Connection,
    statement: Select[Any],
    wanted: Wanted,
    *,
    key: Sequence[ColumnElement[Any]],
    identity: Sequence[ColumnElement[Any]],
    newest_first: bool,
    after: tuple[Any, ...] | None,
    limit: int,
) -> Page[Row[Any]]:
    """A page of what the statement selects, behind the place ``after``."""
    order = [column.desc() for column in key] if newest_first else list(key)
    place = tuple_(*key)
    conditions = [place < after if newest_first else place > after] if after else []
    few, end = await _few(connection, wanted.sources), None
    if few is not None:
        # Nothing but these few leads to an index.
        conditions = [(tuple_(*identity) if len(identity) > 1 else identity[0]).in_(few), *map(_checked, conditions)]
        conditions += map(_checked, wanted.within)
    else:
        conditions += wanted.within
        if wanted.checks:
            last = select(*key).where(*conditions).order_by(*order).offset(SCANNED - 1).limit(1)
            end = (await connection.execute(last)).one_or_none()
        if end is not None:
            conditions.append(place >= tuple(end) if newest_first else place <= tuple(end))
    conditions += map(_checked, wanted.checks)
    rows = (await connection.execute(statement.where(*conditions).order_by(*order).limit(limit + 1))).all()
    if len(rows) > limit:
        return Page(list(rows[:limit]), tuple(getattr(rows[limit - 1], column.key or "") for column in key))
    return Page(list(rows), tuple(end) if end is not None else None)


async def _few(connection: Connection, sources: Sequence[Select[Any]]) -> Select[Any] | None:
    """What finds the fewest rows, if they are few."""
    if not sources:
        return None
    numbers = [
        select(func.count()).select_from(source.limit(FEW + 1).subquery()).scalar_subquery() for source in sources
    ]
    counted = (await connection.execute(select(*numbers))).one()
    number, at = min((number, at) for at, number in enumerate(counted))
    if number > FEW:
        return None
    return select(sources[at].limit(FEW).cte("few").prefix_with("MATERIALIZED"))


def _checked(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """The condition, of no use to an index."""
    return condition.is_(true())


def written_between(
    id_: ColumnElement[int], at: ColumnElement[datetime], after: datetime | None, before: datetime | None
) -> list[ColumnElement[bool]]:
    """Where in the order of ids the rows of these times can be, by the index of ``at``: for Wanted.within."""
    found: list[ColumnElement[bool]] = []
    if after is not None:
        first = select(id_).where(at <= after - OUT_OF_STEP).order_by(at.desc()).limit(1)
        found.append(id_ > func.coalesce(first.scalar_subquery(), 0))
    if before is not None:
        last = select(id_).where(at >= before + OUT_OF_STEP).order_by(at).limit(1)
        found.append(id_ < func.coalesce(last.scalar_subquery(), 2**63 - 1))
    return found
