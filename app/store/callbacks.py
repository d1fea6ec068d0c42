"""The callbacks as they arrived."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, delete, literal_column, select, text, update

from app.store.connection import Connection
from app.store.kept import Kept
from app.store.many import among, put_rows, send
from app.store.pages import KEPT, ListingById, Page, Wanted
from app.store.tables import CALLBACKS, TASKS, TOMBSTONES

_SEEN = Kept(
    select(CALLBACKS.c.signed, CALLBACKS.c.said).where(among(CALLBACKS.c.signed, "signed")).order_by(CALLBACKS.c.id)
)

ACCEPTED, REPEAT, SUSPICIOUS = "accepted", "repeat", "suspicious"


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """One callback: app.store.tables.CALLBACKS."""

    received_at: datetime
    app_id: int
    task_id: str | None
    event_type: int | None
    sequence: int | None
    verdict: str
    forget_at: datetime | None
    signed: str
    said: str
    body: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A receipt as it is listed."""

    id: int
    received_at: datetime
    app_id: int
    task_id: str | None
    event_type: int | None
    sequence: int | None
    verdict: str
    known: bool
    body: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackFilter:
    """What a list of callbacks is narrowed to."""

    task_id: tuple[str, ...] = ()
    app_id: int | None = None
    verdict: tuple[str, ...] = ()
    known: bool | None = None
    received_after: datetime | None = None
    received_before: datetime | None = None


_RECEIPT = [field.name for field in fields(Receipt)]


async def add(connection: Connection, receipts: Sequence[Receipt]) -> None:
    """Keep what arrived."""
    if receipts:
        await put_rows(connection, CALLBACKS, [{name: getattr(one, name) for name in _RECEIPT} for one in receipts])


async def hold(connection: Connection, signed: Sequence[str]) -> None:
    """Until the commit nobody else judges callbacks with these signatures.

    On SQLite nobody else writes anyway. PostgreSQL has no row of a signature that never came, so a number made of it is
    locked; in one order everywhere, so that two batches cannot wait for each other in a circle.
    """
    if signed and connection.dialect.name == "postgresql":
        # The digest's first 60 bits: should two have them in common, one waits for the other without need.
        numbers = sorted({int(one[:15], 16) for one in signed})
        await _HOLD.rows(connection, {"numbers": numbers})


_HOLD = Kept(text("SELECT pg_advisory_xact_lock(one) FROM unnest(CAST(:numbers AS bigint[])) AS one"))


async def seen(connection: Connection, signed: Sequence[str]) -> dict[str, tuple[str, int]]:
    """For each of these signatures that came before: what was said with it first, and how often it came."""
    found: dict[str, tuple[str, int]] = {}
    for row in await _SEEN.rows(connection, {"signed": list(signed)}):
        first, times = found.get(row["signed"], (row["said"], 0))
        found[row["signed"]] = (first, times + 1)
    return found


async def remembered(connection: Connection, task_ids: Sequence[str]) -> list[Stored]:
    """Accepted callbacks about tasks that were not registered when they came, in the order in which they came."""
    if not task_ids:
        return []
    return [Stored(**row) for row in await _REMEMBERED.rows(connection, {"ids": list(task_ids)})]


async def accepted(connection: Connection, task_id: str) -> list[Stored]:
    """All accepted callbacks about a task, in the order in which they came."""
    await send(connection)
    rows = await connection.execute(
        _select(CallbackFilter(task_id=(task_id,), verdict=(ACCEPTED,))).order_by(CALLBACKS.c.id)
    )
    return [Stored(**row._mapping) for row in rows]


async def overlooked(connection: Connection, *, since: datetime) -> set[str]:
    """Registered tasks of which a callback, come since then, was not known to be theirs: both came at the same time."""
    statement = (
        select(CALLBACKS.c.task_id)
        .join(TASKS, TASKS.c.task_id == CALLBACKS.c.task_id)
        .where(CALLBACKS.c.forget_at.is_not(None), CALLBACKS.c.received_at > since)
        .where(TASKS.c.app_id == CALLBACKS.c.app_id, CALLBACKS.c.verdict == ACCEPTED)
    )
    return set((await connection.execute(statement)).scalars())


async def become_known(connection: Connection, ids: Sequence[int]) -> None:
    """The tasks of these callbacks are registered now."""
    if ids:
        await connection.execute(update(CALLBACKS).where(CALLBACKS.c.id.in_(ids)).values(forget_at=None))


async def buried(connection: Connection, task_ids: Sequence[str], *, now: datetime) -> set[str]:
    """Those of the tasks that were deleted and must not come back by themselves yet."""
    if not task_ids:
        return set()
    return {row["task_id"] for row in await _BURIED.rows(connection, {"ids": list(task_ids), "now": now})}


async def erase(connection: Connection, task_id: str) -> None:
    """Remove all callbacks about a task."""
    await connection.execute(delete(CALLBACKS).where(CALLBACKS.c.task_id == task_id))


async def forget(connection: Connection, *, now: datetime, limit: int) -> int:
    """Remove callbacks about tasks that nobody registered in time; how many."""
    old = select(CALLBACKS.c.id).where(CALLBACKS.c.forget_at <= now).order_by(CALLBACKS.c.forget_at).limit(limit)
    gone = await connection.execute(delete(CALLBACKS).where(CALLBACKS.c.id.in_(old)).returning(CALLBACKS.c.id))
    return len(gone.all())


async def list_callbacks(
    connection: Connection, wanted: CallbackFilter, *, before: int | None, limit: int
) -> Page[Stored]:
    """A page of callbacks, newest first."""
    found = await _listing(wanted).page_below(connection, before, limit)
    return Page([Stored(**one) for one in found.items], found.more)


@lru_cache(KEPT)
def _listing(wanted: CallbackFilter) -> ListingById:
    row = CALLBACKS.c
    rare = wanted.verdict and ACCEPTED not in wanted.verdict
    found_by: list[list[ColumnElement[bool]]] = [
        [row.task_id.in_(wanted.task_id)] if wanted.task_id else [],
        [row.forget_at.is_not(None)] if wanted.known is False else [],
        # Word for word as the index has it.
        [row.verdict != literal_column("'accepted'")] if rare else [],
    ]
    return ListingById(
        select(*_SHOWN),
        Wanted(
            checks=_conditions(wanted),
            sources=[select(row.id).where(*conditions) for conditions in found_by if conditions],
        ),
        id_=row.id,
        at=row.received_at,
        after=wanted.received_after,
        before=wanted.received_before,
    )


_SHOWN: list[Any] = [
    *(getattr(CALLBACKS.c, name) for name in Stored.__dataclass_fields__ if name != "known"),
    CALLBACKS.c.forget_at.is_(None).label("known"),
]

_REMEMBERED = Kept(
    select(*_SHOWN)
    .where(among(CALLBACKS.c.task_id, "ids"), CALLBACKS.c.verdict == ACCEPTED, CALLBACKS.c.forget_at.is_not(None))
    .order_by(CALLBACKS.c.id)
)
_BURIED = Kept(
    select(TOMBSTONES.c.task_id).where(
        among(TOMBSTONES.c.task_id, "ids"), TOMBSTONES.c.until > bindparam("now", None, TOMBSTONES.c.until.type)
    )
)


def _select(wanted: CallbackFilter) -> Select[Any]:
    return select(*_SHOWN).where(*_conditions(wanted))


def _conditions(wanted: CallbackFilter) -> list[ColumnElement[bool]]:
    row = CALLBACKS.c
    conditions: list[ColumnElement[bool]] = []
    if wanted.task_id:
        conditions.append(row.task_id.in_(wanted.task_id))
    if wanted.verdict:
        conditions.append(row.verdict.in_(wanted.verdict))
    if wanted.app_id is not None:
        conditions.append(row.app_id == wanted.app_id)
    if wanted.known is not None:
        conditions.append(row.forget_at.is_(None) if wanted.known else row.forget_at.is_not(None))
    if wanted.received_after is not None:
        conditions.append(row.received_at > wanted.received_after)
    if wanted.received_before is not None:
        conditions.append(row.received_at < wanted.received_before)
    return conditions
