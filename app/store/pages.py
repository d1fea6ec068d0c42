"""A page of a list costs the same however many rows there are and whatever is asked for.

Left to themselves, both engines answer some filters by walking a whole table in the list's order, others by sorting
all that matches; which, they guess, and SQLite has nothing to guess by. So it is decided here:

- if an index tells that a filter leaves few rows, those are fetched, checked and sorted;
- else rows are walked in the list's order and checked, at most ``SCANNED`` for a page. A page that ends so may hold
  fewer rows than its limit, or none, and yet there may be more.

Rows are walked in a query inside the one that checks them. What is checked does not reach the plan of the walk: it has
nothing to choose, whatever PostgreSQL guesses of values and places, which it mostly does not know when it plans.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from operator import ge, gt, le, lt
from typing import Any, Generic, TypeVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    and_,
    bindparam,
    func,
    literal,
    select,
    tuple_,
)
from sqlalchemy.sql.util import ClauseAdapter
from sqlalchemy.sql.visitors import iterate

from app.store.checks import By, checked
from app.store.connection import Connection
from app.store.kept import Kept

FEW = 500
"""Rows that are rather sorted than looked for in order."""

SCANNED = 1000
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

    async def page(
        self, connection: Connection, after: tuple[Any, ...] | None, limit: int, *, low: int = 0
    ) -> Page[Mapping[str, Any]]:
        """A page behind the place ``after``. ``low``: what LOW is."""
        given = {**_numbers(limit), **_values(_AFTER, after), "low": low}
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
        one_more = _number("one_more")
        if few is not None:
            some = select(wanted.sources[few].limit(_number("twice_few")).cte("few").prefix_with("MATERIALIZED"))
            # Nothing but these few leads to an index.
            lead = [wanted.lead[0] == wanted.lead[1]] if wanted.lead else []
            identity = tuple_(*self._identity) if len(self._identity) > 1 else self._identity[0]
            checks = [*lead, *walk.plainly(goes_on), *wanted.within, *wanted.checks]
            statement = self._listed.where(identity.in_(some), *map(checked, checks))
            return statement.order_by(*walk.order[-len(self._key) :]).limit(one_more)
        way = [*wanted.within, *walk.begin(goes_on), *walk.stop(ends)]
        if not wanted.checks:
            return self._listed.where(*way).order_by(*walk.order).limit(one_more)
        # In the order of the walk: told so, SQLite would sort once more, and so look at all.
        listed = self._listed.where(*wanted.checks).limit(one_more)
        table, named = self._key[0].table, {*listed.selected_columns, *iterate(listed)}
        columns = [column for column in table.columns if column in named]  # SQLite copies each
        walked = select(*columns).where(*way).order_by(*walk.order).limit(_number("enough"))
        return ClauseAdapter(walked.subquery(table.name)).traverse(listed)


def _numbers(limit: int) -> dict[str, int]:
    return {
        "one_more": limit + 1,
        "more_than_few": FEW + 1,
        # Some may have come since they were counted; of too few, any might be missing, and its page is not asked for
        # again.
        "twice_few": 2 * FEW,
        "all_but_the_last": SCANNED - 1,
        # More than may have come since the last was found. A limit makes PostgreSQL keep to the order of the index.
        "enough": 10 * SCANNED,
    }


def _number(name: str) -> ColumnElement[int]:
    return bindparam(name, None, Integer)


LOW = bindparam("low", None, BigInteger)
"""A value of ``Wanted.low`` that is told when the statement runs."""

_AFTER, _END = "behind", "up_to"
"""Places a statement is told of when it runs: what begins the names of their values."""


def _place(name: str, columns: Sequence[ColumnElement[Any]]) -> tuple[Any, ...]:
    return tuple(bindparam(f"{name}_{number}", None, column.type) for number, column in enumerate(columns))


def _values(name: str, place: Iterable[Any] | None) -> dict[str, Any]:
    return {f"{name}_{number}": value for number, value in enumerate(place or ())}


class _Walk:
    """The way through an index, from one place to another; each is told once, since SQLite heeds no second.

    Places are compared with all columns of the index, the leading one too, so that PostgreSQL takes no other.
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
            return self._all(_place(_AFTER, self._key), beyond)
        return [] if self._start is None else self._all((self._value(self._start),), beyond)

    def stop(self, ends: bool) -> list[ColumnElement[bool]]:
        """Up to the place a page ends at, or where the way ends."""
        if ends:
            return self._all(_place(_END, self._key), ge if self._down else le)
        return [] if self._end is None else self._all((self._value(self._end),), gt if self._down else lt)

    def _value(self, value: Any) -> ColumnElement[Any]:
        return value if isinstance(value, ColumnElement) else literal(value, self._key[0].type)

    def plainly(self, goes_on: bool) -> list[ColumnElement[bool]]:
        """The whole way, for those who do not walk."""
        low, high, first = self._wanted.low, self._wanted.high, self._key[0]
        beyond = lt if self._down else gt
        place = [beyond(tuple_(*self._key), tuple_(*_place(_AFTER, self._key)))] if goes_on else []
        return [*place, *([first > low] if low is not None else []), *([first < high] if high is not None else [])]

    def _all(self, place: Sequence[Any], side: Callable[[Any, Any], Any]) -> list[ColumnElement[bool]]:
        plain = _compared(side, self._key, place)
        if not self._before:
            return [plain]
        # SQLite finds no place in an index by what begins with a column and goes on with the table's own key.
        within = and_(self._columns[0] == self._before[0], plain)
        return [By(_compared(side, self._columns, (*self._before, *place)), within)]


def _compared(side: Callable[[Any, Any], Any], columns: Sequence[Any], place: Sequence[Any]) -> Any:
    if len(place) == 1:
        return side(columns[0], place[0])
    return side(tuple_(*columns[: len(place)]), tuple_(*place))


# What comes before and behind all that a list's key begins with.
_NUMBERS = (0, 2**63 - 1)
_TIMES = (datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))


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
        wanted = replace(wanted, low=LOW) if after is not None else wanted
        super().__init__(statement, wanted, key=(id_,), identity=(id_,), newest_first=True)
        # Between which ids the rows of these times are, by the index of ``at``.
        label, older, newer = id_.label("id"), after and after - OUT_OF_STEP, before and before + OUT_OF_STEP
        self._low = Kept(select(label).where(at <= older).order_by(at.desc()).limit(1)) if older else None
        self._high = Kept(select(label).where(at >= newer).order_by(at).limit(1)) if newer else None

    async def page_below(self, connection: Connection, below: int | None, limit: int) -> Page[Mapping[str, Any]]:
        """A page from the row below ``below`` on."""
        low = await self._low.rows(connection, {}) if self._low else ()
        high = await self._high.rows(connection, {}) if self._high else ()
        below = min((one for one in (below, *(row["id"] for row in high)) if one is not None), default=None)
        place = None if below is None else (below,)
        return await self.page(connection, place, limit, low=low[0]["id"] if low else 0)
