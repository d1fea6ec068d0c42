"""A page of a list costs the same however many rows there are and whatever is asked for.

Left to themselves, both engines answer some filters by walking a whole table in the list's order, others by sorting
all that matches; which, they guess, and SQLite has nothing to guess by. So it is decided here:

- if an index tells that a filter leaves few rows, those are fetched, checked and sorted;
- else rows are walked in the list's order and checked, at most ``SCANNED`` for a page. A page that ends so may hold
  fewer rows than its limit, or none, and yet there may be more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import ge, gt, le, lt
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Integer, Row, Select, func, select, true, tuple_

from app.store.engine import Connection

FEW = 1000
"""Rows that are rather sorted than looked for in order."""

SCANNED = 2000
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

    ``lead``: a column and its value, behind which an index goes on in the list's order. ``within``: what that index
    keeps besides; ``checks``: all else, to be asked of each row. ``sources``: statements that find, by an index, the
    ``identity`` of those that one of the conditions leaves.
    """

    lead: tuple[ColumnElement[Any], Any] | None = None
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
    walk = _Walk(wanted.lead, key, newest_first)
    few = await _few(connection, wanted.sources) if wanted.checks else None
    end = None
    if few is not None:
        # Nothing but these few leads to an index.
        beside = [*([wanted.lead[0] == wanted.lead[1]] if wanted.lead else []), *wanted.within]
        beside += _Walk(None, key, newest_first).behind(after)
        conditions = [(tuple_(*identity) if len(identity) > 1 else identity[0]).in_(few), *map(_checked, beside)]
    else:
        conditions = [*wanted.within, *walk.behind(after)]
        if wanted.checks:
            last = select(*key).where(*conditions, *walk.up_to(None)).order_by(*walk.order)
            end = (await connection.execute(last.offset(SCANNED - 1).limit(1))).one_or_none()
        conditions += walk.up_to(end)
    statement = statement.where(*conditions, *map(_checked, wanted.checks))
    order = walk.order[-len(key) :] if few is not None else walk.order
    rows = (await connection.execute(statement.order_by(*order).limit(limit + 1))).all()
    if len(rows) > limit:
        return Page(list(rows[:limit]), tuple(getattr(rows[limit - 1], column.key or "") for column in key))
    return Page(list(rows), tuple(end) if end is not None else None)


class _Walk:
    """The way through an index.

    Places are compared with all its columns, the leading one too, so that PostgreSQL takes no other index. It thinks
    nothing of such comparisons when it estimates; a plain one beside them tells it how far the way is.
    """

    def __init__(
        self, lead: tuple[ColumnElement[Any], Any] | None, key: Sequence[ColumnElement[Any]], newest_first: bool
    ) -> None:
        self._columns = [lead[0], *key] if lead else list(key)
        self._before = (lead[1],) if lead else ()
        self._first, self._down = key[0], newest_first
        self.order = [column.desc() if newest_first else column for column in self._columns]

    def behind(self, place: Sequence[Any] | None) -> list[ColumnElement[bool]]:
        return self._beside(place, lt if self._down else gt, le if self._down else ge)

    def up_to(self, place: Sequence[Any] | None) -> list[ColumnElement[bool]]:
        side = ge if self._down else le
        return self._beside(place, side, side)

    def _beside(self, place: Sequence[Any] | None, side: Compare, plainly: Compare) -> list[ColumnElement[bool]]:
        """On this side of the place; None: of all that the leading column's value has."""
        if place is None:
            if not self._before:
                return []
            ends = _NUMBERS if isinstance(self._first.type, Integer) else _TIMES
            place = (ends[plainly is le],)
        values = (*self._before, *place)
        if len(values) == 1:
            return [side(self._columns[0], values[0])]
        return [side(tuple_(*self._columns[: len(values)]), values), plainly(self._first, place[0])]


Compare = Callable[[Any, Any], Any]

# What comes before and behind all that a list's key begins with.
_NUMBERS = (0, 2**63 - 1)
_TIMES = (datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))


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


def holds(of_row: Select[Any], *checks: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether what this finds for the row in question passes. An EXISTS PostgreSQL may answer for all rows at once."""
    return of_row.where(*map(_checked, checks)).limit(1).scalar_subquery().is_not(None)


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
