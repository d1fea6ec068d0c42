"""The events: what changed, written in the transaction of the change."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import BigInteger, Integer, Text, bindparam, cast, select, update

from app.core.deliveries import EVENT_TYPES
from app.core.public import Event, event_json
from app.store import bell, deliveries, subscriptions
from app.store.connection import Connection
from app.store.kept import Kept
from app.store.many import add_rows, put_rows
from app.store.tables import EVENTS


@dataclass(frozen=True, kw_only=True)
class StoredEvent:
    """An event with its place in the order of all (``seq``) and its stable ``id``."""

    seq: int
    id: str
    type: str
    occurred_at: datetime
    app_id: int | None
    task_id: str | None
    task_version: int | None
    source: str
    content: str
    """``data`` as JSON."""

    @cached_property
    def data(self) -> dict[str, Any]:
        """What consumers get of what happened."""
        data: dict[str, Any] = json.loads(self.content)
        return data

    @cached_property
    def text(self) -> str:
        """As everybody is told of it, as JSON: the newest events are told to many. What is stored is sent on as it is:
        to read it and to write it again would be half of what a page of the feed costs."""
        return f'{_json(event_json(self, data=False))[:-1]},"data":{self.content}}}'

    @cached_property
    def streamed(self) -> bytes:
        """As a Server-Sent Event."""
        return f"data: {self.text}\nid: {self.seq}\n\n".encode()


_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def stored(row: Any) -> list[Any]:
    """What of an event's columns makes a StoredEvent."""
    beside = [row[name] for name in StoredEvent.__dataclass_fields__ if name != "content"]
    return [*beside, cast(row.data, Text).label("content")]


async def add(
    connection: Connection, events: Sequence[dict[str, Any]], labels: Mapping[str, str] | None = None
) -> None:
    """Append events, each a row but for its ``seq``, and queue each for the subscriptions that want it.

    ``labels``: of the task, where the events do not show it.
    """
    told = [one for one in events if one["type"] in EVENT_TYPES]
    listening = await subscriptions.listening(connection) if told else []
    wanted = [(one["id"], to) for one in told for to, what in listening if what.matches(*_about(one, labels))]
    if not events:
        return
    bell.ring(connection, bell.EVENTS)
    if not wanted:
        await put_rows(connection, EVENTS, events)
        return
    stored = {row["id"]: row["seq"] for row in await add_rows(connection, EVENTS, events, _telling_places)}
    by_id = {one["id"]: one for one in told}
    await deliveries.queue(connection, [(to, by_id[id_] | {"seq": stored[id_]}) for id_, to in wanted])


def _telling_places(statement: Any) -> Any:
    return statement.returning(EVENTS.c.id, EVENTS.c.seq)


def _about(event: dict[str, Any], labels: Mapping[str, str] | None) -> tuple[str, int | None, Mapping[str, str]]:
    shown = event["data"].get("task", {}).get("labels")
    return event["type"], event["app_id"], shown if shown is not None else labels or {}


def row(
    event: Event,
    *,
    id: str,
    at: datetime,
    source: str,
    app_id: int | None = None,
    task_id: str | None = None,
    version: int | None = None,
) -> dict[str, Any]:
    """An event as it is stored."""
    return {
        "id": f"evt_{id}",
        "type": event.type,
        "occurred_at": at,
        "app_id": app_id,
        "task_id": task_id,
        "task_version": version,
        "source": source,
        "data": event.data,
    }


async def history(connection: Connection, task_id: str, *, after: int, limit: int) -> list[StoredEvent]:
    """A task's events, oldest first."""
    rows = await _HISTORY.rows(connection, {"its_task": task_id, "behind": after, "at_most": limit})
    return [StoredEvent(**one) for one in rows]


_HISTORY = Kept(
    select(*stored(EVENTS.c))
    .where(
        EVENTS.c.task_id == bindparam("its_task", None, EVENTS.c.task_id.type),
        EVENTS.c.seq > bindparam("behind", None, BigInteger),
    )
    .order_by(EVENTS.c.seq)
    .limit(bindparam("at_most", None, Integer))
)


async def erase(connection: Connection, task_id: str) -> None:
    """Empty the contents of a task's events; that they happened stays."""
    await connection.execute(update(EVENTS).where(EVENTS.c.task_id == task_id).values(data={}))


async def find(connection: Connection, seqs: Sequence[int]) -> dict[int, StoredEvent]:
    """These events, by ``seq``."""
    rows = await connection.execute(_FIND, {"seqs": list(seqs)})
    return {row.seq: StoredEvent(**row._mapping) for row in rows}


_FIND = select(*stored(EVENTS.c)).where(EVENTS.c.seq.in_(bindparam("seqs", expanding=True)))


async def between(
    connection: Connection, since: datetime, until: datetime | None, *, after: int, types: Sequence[str], limit: int
) -> list[StoredEvent]:
    """Events of these types that occurred from ``since`` on, and before ``until``, by ``seq``."""
    statement = (
        select(*stored(EVENTS.c))
        .where(EVENTS.c.seq > after, EVENTS.c.type.in_(types))
        .where(EVENTS.c.occurred_at >= since)
        .order_by(EVENTS.c.seq)
        .limit(limit)
    )
    if until is not None:
        statement = statement.where(EVENTS.c.occurred_at < until)
    return [StoredEvent(**row._mapping) for row in await connection.execute(statement)]
