"""A page of a list costs the same however many rows there are and whatever is asked for.

Left to themselves, both engines answer some filters by walking a whole table in the list's order, others by sorting
all that matches; which, they guess, and SQLite has nothing to guess by. So it is decided here:

- if an index tells that a filter leaves few rows, those are fetched, checked and sorted;
- else rows are walked in the list's order and checked, at most ``SCANNED`` for a page. A page that ends so may hold
  fewer rows than its limit, or none, and yet there may be more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from operator import ge, gt, le, lt
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Integer, Row, Select, func, select, true, tuple_

from app.store.engine import Connection

FEW = 500
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

    ``lead``: a column and its value, behind which an index goes on in the list's order; ``within``: what that index
    is made of. ``low``, ``high``: between which, exclusive, the first column of the list's key is. ``checks``: all
    else, to be asked of each row. ``sources``: statements that find, by an index, the ``identity`` of those that one of
    the conditions leaves.
    """

    lead: tuple[ColumnElement[Any], Any] | None = None
    within: Sequence[ColumnElement[bool]] = ()
    low: Any = None
    high: Any = None
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
    walk = _Walk(wanted, key, newest_first)
    few = await _few(connection, wanted.sources) if wanted.checks else None
    end = None
    if few is not None:
        # Nothing but these few leads to an index.
        beside = [*([wanted.lead[0] == wanted.lead[1]] if wanted.lead else []), *walk.plainly(after), *wanted.within]
        conditions = [(tuple_(*identity) if len(identity) > 1 else identity[0]).in_(few), *map(_checked, beside)]
    else:
        conditions = [*wanted.within, *walk.begin(after)]
        if wanted.checks:
            last = select(*key).where(*conditions, *walk.stop(None)).order_by(*walk.order)
            end = (await connection.execute(last.offset(SCANNED - 1).limit(1))).one_or_none()
        conditions += walk.stop(end)
    statement = statement.where(*conditions, *map(_checked, wanted.checks))
    order = walk.order[-len(key) :] if few is not None else walk.order
    rows = (await connection.execute(statement.order_by(*order).limit(limit + 1))).all()
    if len(rows) > limit:
        return Page(list(rows[:limit]), tuple(getattr(rows[limit - 1], column.key or "") for column in key))
    return Page(list(rows), tuple(end) if end is not None else None)


class _Walk:
    """The way through an index, from one place to another; each is told once, since SQLite heeds no second.

    Places are compared with all columns of the index, the leading one too, so that PostgreSQL takes no other. It thinks
    nothing of such comparisons when it estimates; a plain one beside them tells it how far the way is.
    """

    def __init__(self, wanted: Wanted, key: Sequence[ColumnElement[Any]], newest_first: bool) -> None:
        lead = wanted.lead
        self._key, self._down, self._wanted = key, newest_first, wanted
        self._columns = [lead[0], *key] if lead else list(key)
        self._before = (lead[1],) if lead else ()
        self.order = [column.desc() if newest_first else column for column in self._columns]
        ends: tuple[Any, ...] = (wanted.low, wanted.high)
        if lead:
            furthest = _NUMBERS if isinstance(key[0].type, Integer) else _TIMES
            ends = tuple(extreme if end is None else end for end, extreme in zip(ends, furthest, strict=True))
        self._start, self._end = reversed(ends) if newest_first else ends

    def begin(self, after: Sequence[Any] | None) -> list[ColumnElement[bool]]:
        """Behind this place, and where the way begins."""
        start, beyond = self._start, lt if self._down else gt
        if after is not None and (start is None or not beyond(start, after[0])):
            return self._beside(after, beyond)
        return [] if start is None else self._beside((start,), beyond)

    def stop(self, end: Sequence[Any] | None) -> list[ColumnElement[bool]]:
        """Up to this place, and where the way ends."""
        if end is not None:
            return self._beside(end, ge if self._down else le)
        return [] if self._end is None else self._beside((self._end,), gt if self._down else lt)

    def plainly(self, after: Sequence[Any] | None) -> list[ColumnElement[bool]]:
        """The whole way behind this place, for those who do not walk."""
        low, high, first = self._wanted.low, self._wanted.high, self._key[0]
        place = [(lt if self._down else gt)(tuple_(*self._key), tuple(after))] if after is not None else []
        return [*place, *([first > low] if low is not None else []), *([first < high] if high is not None else [])]

    def _beside(self, place: Sequence[Any], side: Callable[[Any, Any], Any]) -> list[ColumnElement[bool]]:
        values = (*self._before, *place)
        if len(values) == 1:
            return [side(self._columns[0], values[0])]
        plainly = le if side in (lt, le) else ge
        return [side(tuple_(*self._columns[: len(values)]), values), plainly(self._key[0], place[0])]


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
    # Some may have come since they were counted; of too few, any might be missing, and its page is not asked for again.
    return select(sources[at].limit(2 * FEW).cte("few").prefix_with("MATERIALIZED"))


def holds(of_row: Select[Any], *checks: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether what this finds for the row in question passes. An EXISTS PostgreSQL may answer for all rows at once."""
    return of_row.where(*map(_checked, checks)).limit(1).scalar_subquery().is_not(None)


def _checked(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """The condition, of no use to an index."""
    return condition.is_(true())


async def page_by_id(
    connection: Connection,
    statement: Select[Any],
    wanted: Wanted,
    *,
    id_: ColumnElement[int],
    at: ColumnElement[datetime],
    after: datetime | None,
    before: datetime | None,
    below: int | None,
    limit: int,
) -> Page[Row[Any]]:
    """A page of rows with ids in the order of their writing, newest first, from the one below ``below`` on.

    ``after``, ``before``: between which their time ``at`` is, which ``wanted`` checks.
    """
    low, high = await _written_between(connection, id_, at, after, before)
    return await page(
        connection,
        statement,
        replace(wanted, low=low, high=high),
        key=(id_,),
        identity=(id_,),
        newest_first=True,
        after=None if below is None else (below,),
        limit=limit,
    )


async def _written_between(
    connection: Connection,
    id_: ColumnElement[int],
    at: ColumnElement[datetime],
    after: datetime | None,
    before: datetime | None,
) -> tuple[int | None, int | None]:
    """Between which ids the rows of these times are, by the index of ``at``: Wanted's ``low`` and ``high``."""
    low: int | None = None
    high: int | None = None
    if after is not None:
        last = select(id_).where(at <= after - OUT_OF_STEP).order_by(at.desc()).limit(1)
        low = (await connection.execute(last)).scalar()
    if before is not None:
        first = select(id_).where(at >= before + OUT_OF_STEP).order_by(at).limit(1)
        high = (await connection.execute(first)).scalar()
    return low, high
