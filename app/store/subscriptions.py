"""The subscriptions, and which of them an event concerns."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select, update

from app.core.deliveries import Subscription, Wanted
from app.core.public import time_text
from app.store.connection import Connection
from app.store.kept import Kept
from app.store.many import upsert
from app.store.tables_webhooks import SUBSCRIPTIONS

_ROW = SUBSCRIPTIONS.c

_LISTENING = Kept(select(_ROW.subscription_id, _ROW.types, _ROW.app_id, _ROW.labels).where(_ROW.disabled_at.is_(None)))


async def listening(connection: Connection) -> list[tuple[str, Wanted]]:
    """What each enabled subscription wants. It stays so until the commit: who changes that, writes alone.

    Else an event whose transaction read the subscriptions before a new one was committed, and committed after it, would
    be missed.
    """
    return [
        (row["subscription_id"], Wanted(types=frozenset(row["types"]), app_id=row["app_id"], labels=row["labels"]))
        for row in await _LISTENING.rows(connection, {})
    ]


async def add(connection: Connection, subscription: Subscription) -> bool:
    """Store a new one; False if the name is taken."""
    statement = upsert(connection)(SUBSCRIPTIONS).values(_values(subscription)).on_conflict_do_nothing()
    return (await connection.execute(statement.returning(_ROW.name))).first() is not None


async def find(connection: Connection, subscription_id: str, *, lock: bool = False) -> Subscription | None:
    """One of them; ``lock`` keeps other writers off it until the commit."""
    statement = select(SUBSCRIPTIONS).where(_ROW.subscription_id == subscription_id)
    row = (await connection.execute(statement.with_for_update() if lock else statement)).one_or_none()
    return to_subscription(row) if row else None


async def count(connection: Connection) -> int:
    """How many there are."""
    number: int = (await connection.execute(select(func.count()).select_from(SUBSCRIPTIONS))).scalar_one()
    return number


async def named(connection: Connection, name: str) -> Subscription | None:
    """The one of this name."""
    row = (await connection.execute(select(SUBSCRIPTIONS).where(_ROW.name == name))).one_or_none()
    return to_subscription(row) if row else None


async def page(connection: Connection, *, after: str | None, limit: int) -> list[Subscription]:
    """Some of them, by name."""
    statement = select(SUBSCRIPTIONS).order_by(_ROW.name).limit(limit)
    if after is not None:
        statement = statement.where(_ROW.name > after)
    return [to_subscription(row) for row in await connection.execute(statement)]


async def save(connection: Connection, subscription: Subscription) -> None:
    """Write it as it is now."""
    row = _ROW.subscription_id == subscription.subscription_id
    await connection.execute(update(SUBSCRIPTIONS).where(row).values(_values(subscription)))


async def remove(connection: Connection, subscription_id: str) -> None:
    await connection.execute(delete(SUBSCRIPTIONS).where(_ROW.subscription_id == subscription_id))


def to_subscription(row: Any) -> Subscription:
    """A row as what it stands for."""
    given = {name: value for name, value in row._mapping.items() if name in SUBSCRIPTIONS.c}
    secrets = tuple((sealed, datetime.fromisoformat(until) if until else None) for sealed, until in row.secrets)
    return Subscription(**given | {"types": tuple(row.types), "secrets": secrets})


def _values(one: Subscription) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(one, name) for name in SUBSCRIPTIONS.c.keys()}  # noqa: SIM118 - not a dict
    secrets: Sequence[Any] = [[sealed, time_text(until)] for sealed, until in one.secrets]
    return values | {"types": list(one.types), "labels": dict(one.labels), "secrets": secrets}
