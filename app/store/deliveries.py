"""The queue of what is to be sent, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, bindparam, exists, func, insert, not_, or_, select, update

from app.core.deliveries import LEASE, Attempt, DeliveryStatus, Subscription, Verdict
from app.store import bell
from app.store.connection import Connection
from app.store.many import put_rows
from app.store.subscriptions import to_subscription
from app.store.tables_webhooks import ATTEMPTS, DELIVERIES, SUBSCRIPTIONS

_ROW = DELIVERIES.c

PENDING = DeliveryStatus.PENDING.value


def due(connection: Connection) -> None:
    """Deliveries of this transaction are due now: whoever sends them looks again after the commit."""
    bell.ring(connection, bell.DELIVERIES)


async def queue(connection: Connection, wanted: Iterable[tuple[str, dict[str, Any]]]) -> None:
    """Queue events (each a row with its ``seq``), each for the subscription of this id."""
    rows = [_row(subscription_id, event, at=event["occurred_at"], behind=False) for subscription_id, event in wanted]
    await put_rows(connection, DELIVERIES, rows)
    due(connection)


def _row(subscription_id: str, event: dict[str, Any], *, at: datetime, behind: bool) -> dict[str, Any]:
    return {
        "subscription_id": subscription_id,
        "event_seq": event["seq"],
        "event_id": event["id"],
        "type": event["type"],
        "task_id": event["task_id"],
        "status": PENDING,
        "created_at": at,
        "next_attempt_at": at,
        "fresh": True,
        "behind": behind,
        "claimed": False,
        "claim_no": 0,
        "tries": 0,
    }


# -- sending


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery in our hands; ``tries`` were made before this one."""

    id: int
    subscription_id: str
    event_seq: int
    event_id: str
    type: str
    task_id: str | None
    tries: int
    claim_no: int


async def any_due(connection: Connection, now: datetime) -> bool:
    """Whether anything is to be sent."""
    return (await connection.execute(_ANY_DUE, {"now": now})).scalar() is not None


@dataclass(frozen=True, slots=True)
class Ready:
    """A subscription something is due for: live, or behind that."""

    subscription: Subscription
    live: bool
    behind: bool


async def lock_ready(connection: Connection, also: Sequence[str], now: datetime) -> list[Ready]:
    """The enabled subscriptions that something is due for, and these also whatever they are, locked until the commit.

    Always before a delivery of theirs is locked.
    """
    rows = await connection.execute(_READY, {"now": now, "also": sorted(also)})
    return [Ready(to_subscription(row), row.live, row.behind) for row in rows]


async def in_flight(connection: Connection, subscription_ids: Sequence[str], now: datetime) -> dict[str, int]:
    """How many deliveries of each are being sent, by all processes."""
    rows = await connection.execute(_IN_FLIGHT, {"ids": list(subscription_ids), "now": now})
    return {row.subscription_id: row.number for row in rows}


async def claim(
    connection: Connection, subscription_id: str, *, behind: bool, now: datetime, limit: int
) -> list[Claim]:
    """Take those that are due, in the order of their dates; of one task never one before an earlier one was tried."""
    given = {"to": subscription_id, "behind_": behind, "now": now, "until": now + LEASE, "most": limit}
    rows = await connection.execute(_CLAIM, given)
    return [Claim(*row) for row in sorted(rows, key=lambda row: row.event_seq)]


_EARLIER = DELIVERIES.alias("earlier")
_ITS_TURN = not_(
    and_(
        _ROW.fresh,
        exists().where(
            _EARLIER.c.fresh,
            _EARLIER.c.subscription_id == _ROW.subscription_id,
            _EARLIER.c.task_id == _ROW.task_id,
            _EARLIER.c.event_seq < _ROW.event_seq,
            _EARLIER.c.behind == _ROW.behind,
        ),
    )
)
_IS_DUE = and_(_ROW.next_attempt_at.is_not(None), _ROW.next_attempt_at <= bindparam("now"))
_DUE = (
    select(_ROW.id)
    .where(_ROW.subscription_id == bindparam("to"), _ROW.behind == bindparam("behind_"), _IS_DUE, _ITS_TURN)
    .order_by(_ROW.next_attempt_at, _ROW.event_seq)
    .limit(bindparam("most"))
    .with_for_update(of=DELIVERIES, skip_locked=True)
    .cte("due")
)
_CLAIM = (
    update(DELIVERIES)
    .where(_ROW.id.in_(select(_DUE.c.id)))
    .values(next_attempt_at=bindparam("until"), claimed=True, claim_no=_ROW.claim_no + 1)
    .returning(
        _ROW.id,
        _ROW.subscription_id,
        _ROW.event_seq,
        _ROW.event_id,
        _ROW.type,
        _ROW.task_id,
        _ROW.tries,
        _ROW.claim_no,
    )
)
_OF_IT = _ROW.subscription_id == SUBSCRIPTIONS.c.subscription_id
_LIVE = exists().where(_OF_IT, not_(_ROW.behind), _IS_DUE)
_BEHIND = exists().where(_OF_IT, _ROW.behind, _IS_DUE)
_ENABLED = SUBSCRIPTIONS.c.disabled_at.is_(None)
_READY = (
    select(SUBSCRIPTIONS, _LIVE.label("live"), _BEHIND.label("behind"))
    .where(
        or_(
            and_(_ENABLED, or_(_LIVE, _BEHIND)),
            SUBSCRIPTIONS.c.subscription_id.in_(bindparam("also", expanding=True)),
        )
    )
    .order_by(SUBSCRIPTIONS.c.subscription_id)
    .with_for_update(of=SUBSCRIPTIONS)
)
_ANY_DUE = select(SUBSCRIPTIONS.c.subscription_id).where(_ENABLED, or_(_LIVE, _BEHIND)).limit(1)
_IN_FLIGHT = (
    select(_ROW.subscription_id, func.count().label("number"))
    .where(
        _ROW.claimed,
        _ROW.next_attempt_at > bindparam("now"),
        _ROW.subscription_id.in_(bindparam("ids", expanding=True)),
    )
    .group_by(_ROW.subscription_id)
)


async def add_attempts(connection: Connection, made: Sequence[tuple[int, Attempt]]) -> None:
    """Keep attempts, each at the delivery of this id."""
    await connection.execute(
        _ADD_ATTEMPTS,
        [
            {
                "delivery_id": id_,
                "at": one.at,
                "status_code": one.status_code,
                "duration_ms": one.duration_ms,
                "error": one.error,
                "response_excerpt": one.response_excerpt,
            }
            for id_, one in made
        ],
    )


_ADD_ATTEMPTS = insert(ATTEMPTS)


async def settle(connection: Connection, judged: Sequence[tuple[Claim, Verdict]]) -> list[Claim]:
    """Write what became of claimed deliveries, unless somebody else disposed of them; those that failed for good."""
    rows = [(claim, _settled(claim, verdict)) for claim, verdict in judged if verdict.status != DeliveryStatus.FAILED]
    if rows:
        await connection.execute(_SETTLE, [values for _, values in rows])
    return [
        claim
        for claim, verdict in judged
        if verdict.status == DeliveryStatus.FAILED
        and (await connection.execute(_SETTLE_RETURNING, _settled(claim, verdict))).first()
    ]


def _settled(claim: Claim, verdict: Verdict) -> dict[str, Any]:
    return {
        "claimed_id": claim.id,
        "claimed_no": claim.claim_no,
        "new_status": verdict.status.value,
        "new_at": verdict.next_attempt_at,
        "new_tries": claim.tries + 1,
    }


_SETTLE = (
    update(DELIVERIES)
    .where(_ROW.id == bindparam("claimed_id"), _ROW.claim_no == bindparam("claimed_no"))
    .values(
        status=bindparam("new_status"),
        next_attempt_at=bindparam("new_at"),
        tries=bindparam("new_tries"),
        fresh=False,
        claimed=False,
    )
)
_SETTLE_RETURNING = _SETTLE.returning(_ROW.id)
