"""A page of a list costs the same however many rows there are and whatever is asked for.

Left to themselves, both engines answer some filters by walking a whole table in the list's order, others by sorting
all that matches; which, they guess, and SQLite has nothing to guess by. So it is decided here:

- if an index tells that a filter leaves few rows, those are fetched, checked and sorted;
- else rows are walked in the list's order and checked, at most ``SCANNED`` for a page. A page that ends so may hold
  fewer rows than its limit, or none, and yet there may be more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from operator import ge, gt, le, lt
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Integer, Select, bindparam, func, literal, select, true, tuple_

from app.store.engine import Connection
from app.store.kept import Kept

FEW = 500
"""Rows that are rather sorted than looked for in order."""

SCANNED = 2000
"""Rows a page looks at, at most, where no index finds those that are wanted."""

KEPT = 100
"""Filters of each list whose statements are kept."""

OUT_OF_STEP = timedelta(hours=1)
"""By how much the order of times may differ from that of ids: transactions overlap, and clocks are set right."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items of a list; ``more``: the place, a value for each column of the list's key, behind which it goes on."""

    items: Sequence[T]
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


class Listing:
    """A list, narrowed to what is wanted. Keep it: building its statements takes as long as running them.

    ``statement`` selects what is listed, ``key`` is the list's order, ``identity`` what is unique. ``place``: what
    the key is in a row, if it does not show it by its names.
    """

    def __init__(
        self,
        statement: Select[Any],
        wanted: Wanted,
        *,
        key: Sequence[ColumnElement[Any]],
        identity: Sequence[ColumnElement[Any]],
        newest_first: bool,
        place: Callable[[Mapping[str, Any]], tuple[Any, ...]] | None = None,
    ) -> None:
        self._listed, self._wanted, self._key, self._identity = statement, wanted, key, identity
        self._place = place or (lambda row: tuple(row[column.key or ""] for column in key))
        self._walk = _Walk(wanted, key, newest_first)
        self._built: dict[tuple[object, ...], Kept] = {}

    async def page(self, connection: Connection, after: tuple[Any, ...] | None, limit: int) -> Page[Mapping[str, Any]]:
        """A page behind the place ``after``."""
        given = {**_numbers(limit), **_values(_AFTER, after)}
        few = await self._few(connection, given) if self._wanted.checks else None
        end, goes_on = None, after is not None and (few is not None or self._walk.goes_on(after))
        if self._wanted.checks and few is None:
            last = await self._once(self._last, goes_on).rows(connection, given)
            end = tuple(last[0].values()) if last else None
        statement = self._once(self._rows, few, goes_on, end is not None)
        rows = await statement.rows(connection, {**given, **_values(_END, end)})
        if len(rows) > limit:
            return Page(rows[:limit], self._place(rows[limit - 1]))
        return Page(rows, end)

    def _once(self, build: Callable[..., Select[Any]], *how: object) -> Kept:
        kept = self._built.get((build.__name__, *how))
        if kept is None:
            kept = self._built[build.__name__, *how] = Kept(build(*how))
        return kept

    async def _few(self, connection: Connection, given: Mapping[str, Any]) -> int | None:
        """Which of the sources finds the fewest rows, if they are few."""
        if not self._wanted.sources:
            return None
        (counted,) = await self._once(self._counts).rows(connection, given)
        number, at = min((number, at) for at, number in enumerate(counted.values()))
        return at if number <= FEW else None

    def _counts(self) -> Select[Any]:
        some = [source.limit(_number("more_than_few")).subquery() for source in self._wanted.sources]
        return select(*(select(func.count()).select_from(one).scalar_subquery() for one in some))

    def _last(self, goes_on: bool) -> Select[Any]:
        """The last row a page looks at."""
        walk = self._walk
        last = select(*self._key).where(*self._wanted.within, *walk.begin(goes_on), *walk.stop(False))
        return last.order_by(*walk.order).offset(_number("all_but_the_last")).limit(1)

    def _rows(self, few: int | None, goes_on: bool, ends: bool) -> Select[Any]:
        wanted, walk = self._wanted, self._walk
        conditions = [*wanted.within, *walk.begin(goes_on), *walk.stop(ends)]
        if few is not None:
            some = select(wanted.sources[few].limit(_number("twice_few")).cte("few").prefix_with("MATERIALIZED"))
            # Nothing but these few leads to an index.
            lead = [wanted.lead[0] == wanted.lead[1]] if wanted.lead else []
            identity = tuple_(*self._identity) if len(self._identity) > 1 else self._identity[0]
            conditions = [identity.in_(some), *map(_checked, [*lead, *walk.plainly(goes_on), *wanted.within])]
        statement = self._listed.where(*conditions, *map(_checked, wanted.checks))
        order = walk.order[-len(self._key) :] if few is not None else walk.order
        return statement.order_by(*order).limit(_number("one_more"))


def _numbers(limit: int) -> dict[str, int]:
    return {
        "one_more": limit + 1,
        "more_than_few": FEW + 1,
        # Some may have come since they were counted; of too few, any might be missing, and its page is not asked for
        # again.
        "twice_few": 2 * FEW,
        "all_but_the_last": SCANNED - 1,
    }


def _number(name: str) -> ColumnElement[int]:
    return bindparam(name, None, Integer)


_AFTER, _END = "behind", "up_to"
"""Places a statement is told of when it runs: what begins the names of their values."""


def _place(name: str, columns: Sequence[ColumnElement[Any]]) -> tuple[Any, ...]:
    return tuple(bindparam(f"{name}_{number}", None, column.type) for number, column in enumerate(columns))


def _values(name: str, place: Iterable[Any] | None) -> dict[str, Any]:
    return {f"{name}_{number}": value for number, value in enumerate(place or ())}


class _Walk:
    """The way through an index, from one place to another; each is told once, since SQLite heeds no second.

    Places are compared with all columns of the index, the leading one too, so that PostgreSQL takes no other. It thinks
    nothing of such comparisons when it estimates; a plain one beside them tells it how far the way is.
    """

    def __init__(self, wanted: Wanted, key: Sequence[ColumnElement[Any]], newest_first: bool) -> None:
        lead = wanted.lead
        self._key, self._down, self._wanted = key, newest_first, wanted
        self._columns = [lead[0], *key] if lead else list(key)
        self._before = (literal(lead[1], lead[0].type),) if lead else ()
        self.order = [column.desc() if newest_first else column for column in self._columns]
        ends: tuple[Any, ...] = (wanted.low, wanted.high)
        if lead:
            furthest = _NUMBERS if isinstance(key[0].type, Integer) else _TIMES
            ends = tuple(extreme if end is None else end for end, extreme in zip(ends, furthest, strict=True))
        self._start, self._end = reversed(ends) if newest_first else ends

    def goes_on(self, after: Sequence[Any]) -> bool:
        """Whether this place lies on the way, not before it."""
        return self._start is None or not (lt if self._down else gt)(self._start, after[0])

    def begin(self, goes_on: bool) -> list[ColumnElement[bool]]:
        """Behind the place a page goes on from, or where the way begins."""
        beyond = lt if self._down else gt
        if goes_on:
            return self._beside(_place(_AFTER, self._key), beyond)
        return [] if self._start is None else self._beside((literal(self._start, self._key[0].type),), beyond)

    def stop(self, ends: bool) -> list[ColumnElement[bool]]:
        """Up to the place a page ends at, or where the way ends."""
        if ends:
            return self._beside(_place(_END, self._key), ge if self._down else le)
        end = (literal(self._end, self._key[0].type),)
        return [] if self._end is None else self._beside(end, gt if self._down else lt)

    def plainly(self, goes_on: bool) -> list[ColumnElement[bool]]:
        """The whole way, for those who do not walk."""
        low, high, first = self._wanted.low, self._wanted.high, self._key[0]
        beyond = lt if self._down else gt
        place = [beyond(tuple_(*self._key), tuple_(*_place(_AFTER, self._key)))] if goes_on else []
        return [*place, *([first > low] if low is not None else []), *([first < high] if high is not None else [])]

    def _beside(self, place: Sequence[Any], side: Callable[[Any, Any], Any]) -> list[ColumnElement[bool]]:
        values = (*self._before, *place)
        if len(values) == 1:
            return [side(self._columns[0], values[0])]
        plainly = le if side in (lt, le) else ge
        return [side(tuple_(*self._columns[: len(values)]), tuple_(*values)), plainly(self._key[0], place[0])]


# What comes before and behind all that a list's key begins with.
_NUMBERS = (0, 2**63 - 1)
_TIMES = (datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))


def holds(of_row: Select[Any], *checks: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether what this finds for the row in question passes. An EXISTS PostgreSQL may answer for all rows at once."""
    return of_row.where(*map(_checked, checks)).limit(1).scalar_subquery().is_not(None)


def _checked(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """The condition, of no use to an index."""
    return condition.is_(true())


class ListingById(Listing):
    """Rows with ids in the order of their writing, newest first.

    ``after``, ``before``: between which their time ``at`` is, which ``wanted`` checks.
    """

    def __init__(
        self,
        statement: Select[Any],
        wanted: Wanted,
        *,
        id_: ColumnElement[int],
        at: ColumnElement[datetime],
        after: datetime | None,
        before: datetime | None,
    ) -> None:
        super().__init__(statement, wanted, key=(id_,), identity=(id_,), newest_first=True)
        self._between = id_, at, after, before

    async def page_below(self, connection: Connection, below: int | None, limit: int) -> Page[Mapping[str, Any]]:
        """A page from the row below ``below`` on."""
        listing: Listing = self
        if self._between[2:] != (None, None):
            id_, at, after, before = self._between
            low, high = await _written_between(connection, id_, at, after, before)
            wanted = replace(self._wanted, low=low, high=high)
            listing = Listing(self._listed, wanted, key=self._key, identity=self._identity, newest_first=True)
        return await listing.page(connection, None if below is None else (below,), limit)


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
