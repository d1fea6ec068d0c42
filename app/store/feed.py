"""The events in one order, for readers that follow: nothing appears behind a position that was given out.

Places are taken in one order and commits are seen in another. On PostgreSQL every writing transaction announces the
place before its first (a trigger; migration 0004), and ``feed_mark()`` is the place up to which nobody is writing any
more. On SQLite, with one writer at a time, places are taken in the order of commits.

A position is the place of an event that was seen to be committed, never a mere place taken: the number of a
transaction that was rolled back may, after a crash, be given again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import takewhile
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Subquery,
    bindparam,
    case,
    delete,
    exists,
    func,
    or_,
    select,
    text,
)

from app.core.public import CALLBACK_RECEIVED
from app.store.checks import holds, shows_label
from app.store.connection import Connection
from app.store.events import StoredEvent, stored
from app.store.kept import Kept
from app.store.many import upsert
from app.store.pages import KEPT
from app.store.tables import EVENTS, LOST_POSITIONS, TASKS

SCANNED = 2000
"""Events one page looks at, at most, where no index finds those that are wanted."""

JUMP = 1_000_000
"""Places left out at each start on SQLite."""

DELETED = "task.deleted"

PURGED = -1
"""``lost_positions.after`` of what was purged."""

_EVENT = EVENTS.c
_PURGED_UP_TO = func.coalesce(
    select(LOST_POSITIONS.c.before).where(LOST_POSITIONS.c.after == PURGED).scalar_subquery(), 0
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedFilter:
    """What the feed is narrowed to; None and empty mean: not at all. ``labels``: as the event shows them; a deletion
    shows none, its task's are erased, and whoever follows by labels must hear of it all the same."""

    types: tuple[str, ...] = ()
    task_id: tuple[str, ...] = ()
    app_id: int | None = None
    labels: tuple[tuple[str, str], ...] = ()

    def matches(self, event: StoredEvent) -> bool:
        """What `page` asks of the database, asked of an event in memory."""
        return (
            (event.type in self.types if self.types else event.type != CALLBACK_RECEIVED)
            and (not self.task_id or event.task_id in self.task_id)
            and self.app_id in (None, event.app_id)
            and (not self.labels or event.type == DELETED or self._shown(event.data.get("task", {}).get("labels", {})))
        )

    def _shown(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(key) == value for key, value in self.labels)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Going on after ``oldest`` gives all that is kept; after ``newest``, all that is yet to come."""

    oldest: int
    newest: int


@dataclass(frozen=True, slots=True)
class Page:
    """Events in order, and the position after them. ``more``: there may be more already; else all was looked at."""

    events: Sequence[StoredEvent]
    next_after: int
    more: bool


async def bounds(connection: Connection) -> Bounds:
    """Where the feed begins and ends. What is read after this includes every change up to ``newest``."""
    newest = await _newest(connection, await _mark(connection))
    oldest = await _purged(connection)
    return Bounds(oldest, max(oldest, newest))


async def is_lost(connection: Connection, position: int) -> bool:
    """Whether a position is older than what is kept, ahead of the newest event, or of a time that a power cut took.

    Ask it after reading a page: what is purged meanwhile is not missed unnoticed.
    """
    (row,) = await _WHETHER_LOST.rows(connection, {"position": position})
    return bool(row["around"]) or position > max(row["newest"], row["purged"])


_POSITION = bindparam("position", None, BigInteger)
_LOSS: Any = select(
    exists().where(LOST_POSITIONS.c.after < _POSITION, LOST_POSITIONS.c.before > _POSITION).label("around"),
    # All that is visible counts: a writer between its first two steps can move the mark back behind a given position.
    func.coalesce(select(func.max(_EVENT.seq)).scalar_subquery(), 0).label("newest"),
    _PURGED_UP_TO.label("purged"),
)
_WHETHER_LOST = Kept(_LOSS)


async def page(connection: Connection, after: int, wanted: FeedFilter, limit: int) -> Page:
    """The events after a position. An empty page advances too, past what is not wanted."""
    mark = await _mark(connection)
    if mark <= after:
        return Page((), after, more=False)
    given = {"behind": after, "mark": mark, "at_most": limit, "scanned": SCANNED}
    found = [StoredEvent(**row) for row in await _wanted(wanted).rows(connection, given)]
    if len(found) == limit:
        return Page(found, found[-1].seq, more=True)
    if wanted.task_id:
        return Page(found, max(after, await _newest(connection, mark)), more=False)
    (looked_at,) = await _LOOKED_AT.rows(connection, given)
    return Page(found, looked_at["end"] or after, more=looked_at["number"] == SCANNED)


@lru_cache(KEPT)
def _wanted(wanted: FeedFilter) -> Kept:
    at_most = bindparam("at_most", None, Integer)
    if not wanted.task_id:
        row = _walked(EVENTS).c
        # In the order of the walk: told so, SQLite would sort once more, and so look at all.
        return Kept(select(*stored(row)).where(*_conditions(wanted, row)).limit(at_most))
    # By the index of tasks alone: left a choice, PostgreSQL's plan for any position walks the feed in search of them.
    place, conditions = _EVENT.seq + 0, _conditions(wanted, _EVENT)
    mine = select(_EVENT.seq).where(_EVENT.task_id.in_(wanted.task_id), place > _BEHIND, place <= _UP_TO, *conditions)
    found = mine.cte("mine").prefix_with("MATERIALIZED")
    both = select(*stored(_EVENT)).join(found, found.c.seq == _EVENT.seq)
    return Kept(both.order_by(found.c.seq).limit(at_most))


_BEHIND, _UP_TO = bindparam("behind", None, BigInteger), bindparam("mark", None, BigInteger)


def _walked(*what: Any) -> Subquery:
    """The events that a page looks at, in order; what is checked outside leads to no other index (app.store.pages)."""
    way = select(*what).where(_EVENT.seq > _BEHIND, _EVENT.seq <= _UP_TO).order_by(_EVENT.seq)
    return way.limit(bindparam("scanned", None, Integer)).subquery("events")


def _looked_at() -> Any:
    """The place of the last of them, and how many they are."""
    seq = _walked(_EVENT.seq).c.seq
    return select(func.max(seq).label("end"), func.count(seq).label("number"))


_LOOKED_AT = Kept(_looked_at())


def _conditions(wanted: FeedFilter, row: Any) -> list[ColumnElement[bool]]:
    conditions = [row.type.in_(wanted.types) if wanted.types else row.type != CALLBACK_RECEIVED]
    if wanted.app_id is not None:
        conditions.append(row.app_id == wanted.app_id)
    for key, value in wanted.labels:
        conditions.append(or_(row.type == DELETED, shows_label(row.data, "task", "labels", key, value=value)))
    return conditions


async def _mark(connection: Connection) -> int:
    """The place up to which nothing can appear any more. To be read before the events, in a statement of its own."""
    return await _number(connection, _MARK[connection.dialect.name])


async def _newest(connection: Connection, mark: int) -> int:
    return await _number(connection, _NEWEST, mark=mark)


async def _purged(connection: Connection) -> int:
    return await _number(connection, _PURGED)


async def _number(connection: Connection, statement: Kept, **given: int) -> int:
    (row,) = await statement.rows(connection, given)
    number: int = row["number"]
    return number


_HIGHEST = func.coalesce(func.max(_EVENT.seq), 0).label("number")
_MARK = {"sqlite": Kept(select(_HIGHEST)), "postgresql": Kept(select(func.feed_mark(type_=BigInteger).label("number")))}
_NEWEST = Kept(select(_HIGHEST).where(_EVENT.seq <= bindparam("mark", None, BigInteger)))
_PURGED = Kept(select(_PURGED_UP_TO.label("number")))


async def mark_purged(connection: Connection, seq: int) -> None:
    """Keep in mind that events up to ``seq`` are no longer in the feed; in the transaction that deletes them."""
    await _lose(connection, PURGED, seq)


async def purge(connection: Connection, *, before: datetime, limit: int) -> int:
    """Take events that occurred before then out of the feed, the oldest first; how many.

    None goes before one that is older in the order of all, so a reader either finds everything or is told that its
    position is lost. The events of a task that is still kept stay, behind the feed's beginning, as its history.
    """
    start = await _hold_purged(connection)
    mark = await _mark(connection)
    oldest = select(_EVENT.seq, _EVENT.occurred_at).where(_EVENT.seq > start, _EVENT.seq <= mark)
    rows = (await connection.execute(oldest.order_by(_EVENT.seq).limit(limit))).all()
    old = [row.seq for row in takewhile(lambda row: row.occurred_at < before, rows)]
    if old:
        is_kept = holds(select(TASKS.c.task_id).where(TASKS.c.task_id == _EVENT.task_id))
        await connection.execute(delete(EVENTS).where(_EVENT.seq > start, _EVENT.seq <= old[-1], ~is_kept))
        await mark_purged(connection, old[-1])
    return len(old)


async def purge_history(connection: Connection, task_ids: Sequence[str]) -> None:
    """Delete what `purge` left of tasks that are going; what still stands in the feed goes when its time comes."""
    start = await _hold_purged(connection)
    await connection.execute(delete(EVENTS).where(_EVENT.task_id.in_(task_ids), _EVENT.seq <= start))


async def _hold_purged(connection: Connection) -> int:
    """Up to where the feed was purged. Until the commit nobody else purges: an event that is left for the sake of its
    task must not meet the moment in which the task goes."""
    row = upsert(connection)(LOST_POSITIONS).values(after=PURGED, before=0).on_conflict_do_nothing()
    await connection.execute(row)
    held = select(LOST_POSITIONS.c.before).where(LOST_POSITIONS.c.after == PURGED).with_for_update()
    start: int = (await connection.execute(held)).scalar_one()
    return start


async def jump(connection: Connection) -> None:
    """Leave out JUMP places, on SQLite, at the start of a process; nothing on PostgreSQL.

    Polls commit without waiting for the disk there: a power cut may take events that somebody has read. Their places
    are not given again, and their positions are lost.
    """
    if connection.dialect.name != "sqlite":
        return
    newest = max(await _newest(connection, 2**63 - 1), await _purged(connection))
    taken = (await connection.execute(text("SELECT seq FROM sqlite_sequence WHERE name = 'events'"))).scalar()
    jumped = max(taken or 0, newest) + JUMP
    statement = "UPDATE sqlite_sequence SET seq = :seq WHERE name = 'events'"
    if taken is None:
        statement = "INSERT INTO sqlite_sequence (name, seq) VALUES ('events', :seq)"
    await connection.execute(text(statement), {"seq": jumped})
    await _lose(connection, newest, jumped + 1)


async def _lose(connection: Connection, after: int, before: int) -> None:
    statement = upsert(connection)(LOST_POSITIONS).values(after=after, before=before)
    wider = {"before": case((LOST_POSITIONS.c.before < before, before), else_=LOST_POSITIONS.c.before)}
    await connection.execute(statement.on_conflict_do_update(index_elements=[LOST_POSITIONS.c.after], set_=wider))
