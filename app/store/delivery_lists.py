"""Deliveries as callers see and steer them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, func, literal_column, or_, select, update

from app.core.deliveries import Attempt, DeliveryStatus
from app.store.connection import Connection
from app.store.counts import COUNTED
from app.store.deliveries import PENDING, _row, due
from app.store.events import StoredEvent
from app.store.many import upsert
from app.store.pages import KEPT, ListingById, Page, Wanted
from app.store.tables_webhooks import ATTEMPTS, DELIVERIES

_ROW = DELIVERIES.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event to one subscription, with all attempts, oldest first."""

    id: int
    subscription_id: str
    event_id: str
    type: str
    task_id: str | None
    status: str
    created_at: datetime
    next_attempt_at: datetime | None
    attempts: list[Attempt] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """What a list of deliveries is narrowed to."""

    status: tuple[str, ...] = ()
    subscription_id: str | None = None
    type: tuple[str, ...] = ()
    created_after: datetime | None = None
    created_before: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbox:
    """``pending``: waiting to be sent, ``oldest`` since then; ``failed``: given up since a given time.

    Counted up to ``COUNTED``: ``oldest`` is of those that were counted.
    """

    pending: int
    oldest: datetime | None
    failed: int


async def outbox(connection: Connection, *, since: datetime) -> Outbox:
    """How the deliveries stand."""
    waiting = select(_ROW.created_at).where(_ROW.next_attempt_at.is_not(None)).limit(COUNTED).subquery()
    pending, oldest = (await connection.execute(select(func.count(), func.min(waiting.c.created_at)))).one()
    failed = _ROW.status == DeliveryStatus.FAILED.value
    given_up = select(func.count()).where(_IS_GIVEN_UP, _ROW.created_at > since, failed)
    return Outbox(pending=pending, oldest=oldest, failed=(await connection.execute(given_up)).scalar_one())


_GIVEN_UP = (DeliveryStatus.FAILED.value, DeliveryStatus.CANCELLED.value)
_IS_GIVEN_UP = _ROW.status.in_(literal_column(f"'{one}'") for one in _GIVEN_UP)  # word for word as the index has it
_SHOWN = [_ROW[name] for name in Delivery.__dataclass_fields__ if name != "attempts"]


async def page(connection: Connection, wanted: DeliveryFilter, *, before: int | None, limit: int) -> Page[Delivery]:
    """Some of them, newest first."""
    found = await _listing(wanted).page_below(connection, before, limit)
    return Page(await _with_attempts(connection, found.items), found.more)


@lru_cache(KEPT)
def _listing(wanted: DeliveryFilter) -> ListingById:
    found_by: list[list[ColumnElement[bool]]] = [
        [_ROW.next_attempt_at.is_not(None)] if wanted.status == (PENDING,) else [],
        [_IS_GIVEN_UP] if wanted.status and set(wanted.status) <= set(_GIVEN_UP) else [],
    ]
    checks: list[ColumnElement[bool]] = []
    if wanted.status:
        checks.append(_ROW.status.in_(wanted.status))
    if wanted.type:
        checks.append(_ROW.type.in_(wanted.type))
    if wanted.created_after is not None:
        checks.append(_ROW.created_at > wanted.created_after)
    if wanted.created_before is not None:
        checks.append(_ROW.created_at < wanted.created_before)
    lead = (_ROW.subscription_id, wanted.subscription_id) if wanted.subscription_id is not None else None
    return ListingById(
        select(*_SHOWN),
        Wanted(
            lead=lead,
            checks=checks,
            sources=[select(_ROW.id).where(*one) for one in found_by if one],
        ),
        id_=_ROW.id,
        at=_ROW.created_at,
        after=wanted.created_after,
        before=wanted.created_before,
    )


async def find(connection: Connection, subscription_id: str, id_: int) -> Delivery | None:
    """One of a subscription's deliveries."""
    statement = select(*_SHOWN).where(_ROW.id == id_, _ROW.subscription_id == subscription_id)
    found = await _with_attempts(connection, (await connection.execute(statement)).mappings().all())
    return found[0] if found else None


async def _with_attempts(connection: Connection, rows: Sequence[Any]) -> list[Delivery]:
    found = {row["id"]: Delivery(**row) for row in rows}
    statement = select(ATTEMPTS).where(ATTEMPTS.c.delivery_id.in_(list(found))).order_by(ATTEMPTS.c.id)
    for row in await connection.execute(statement) if found else ():
        attempt = Attempt(row.at, row.status_code, row.duration_ms, row.error, row.response_excerpt)
        found[row.delivery_id].attempts.append(attempt)
    return list(found.values())


async def cancel(connection: Connection, subscription_id: str) -> None:
    """Nothing that waits for this subscription is sent any more."""
    waiting = (_ROW.subscription_id == subscription_id, _ROW.next_attempt_at.is_not(None))
    over = {"status": DeliveryStatus.CANCELLED.value, "next_attempt_at": None, "fresh": False, "claimed": False}
    await connection.execute(update(DELIVERIES).where(*waiting).values(**over, claim_no=_ROW.claim_no + 1))


async def redeliver(connection: Connection, id_: int, *, now: datetime) -> None:
    """Send it at once, whatever became of it, and begin its schedule anew; nothing waits behind it."""
    again = {"status": PENDING, "next_attempt_at": now, "fresh": False, "behind": False, "claimed": False, "tries": 0}
    await connection.execute(update(DELIVERIES).where(_ROW.id == id_).values(**again, claim_no=_ROW.claim_no + 1))
    due(connection)


async def statuses(connection: Connection, subscription_id: str, seqs: Sequence[int]) -> dict[int, str]:
    """Of these events, those that have a delivery to this subscription, and how it stands."""
    statement = select(_ROW.event_seq, _ROW.status).where(
        _ROW.subscription_id == subscription_id, _ROW.event_seq.in_(seqs)
    )
    return {row.event_seq: row.status for row in await connection.execute(statement)}


async def replay(
    connection: Connection, subscription_id: str, events: Sequence[StoredEvent], over: Sequence[str], *, now: datetime
) -> int:
    """Queue these events behind what is live: new ones, and those whose deliveries ended so; how many."""
    rows = [
        _row(
            subscription_id,
            {"seq": one.seq, "id": one.id, "type": one.type, "task_id": one.task_id},
            at=now,
            behind=True,
        )
        for one in events
    ]
    if not rows:
        return 0
    again = ("status", "next_attempt_at", "fresh", "behind", "claimed", "tries")
    statement = upsert(connection)(DELIVERIES)
    statement = statement.on_conflict_do_update(
        index_elements=["subscription_id", "event_seq"],
        set_={name: statement.excluded[name] for name in again} | {"claim_no": _ROW.claim_no + 1},
        where=or_(*(_ROW.status == one for one in over)),  # IN would be expanded, and many rows forbid that
    ).returning(_ROW.id)
    queued = (await connection.execute(statement, rows)).all()
    due(connection)
    return len(queued)
