"""The events: what changed, written in the transaction of the change."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import insert, select, update

from app.core.public import Event, Json, time_text
from app.store.bell import EVENTS, ring
from app.store.engine import Connection
from app.store.models import EventRow, table_of

_INSERT = insert(table_of(EventRow))


@dataclass(frozen=True, kw_only=True)
class StoredEvent:
    """An event with its place in the order of all (``seq``) and its stable ``id``."""

    seq: int
    id: str
    type: str
    occurred_at: datetime
    app_id: int
    task_id: str
    task_version: int
    source: str
    data: dict[str, Any]

    def to_json(self) -> Json:
        """As everybody is told of it."""
        return {
            "id": self.id,
            "seq": self.seq,
            "type": self.type,
            "occurred_at": time_text(self.occurred_at),
            "app_id": self.app_id,
            "task_id": self.task_id,
            "task_version": self.task_version,
            "source": self.source,
            "data": self.data,
        }

    @cached_property
    def text(self) -> str:
        """The same as JSON: the newest events are told to many."""
        return json.dumps(self.to_json(), ensure_ascii=False, separators=(",", ":"))


async def add(connection: Connection, events: Sequence[dict[str, Any]]) -> None:
    """Append events; each a row but for its ``seq``."""
    if events:
        await connection.execute(_INSERT, events)
        ring(connection, EVENTS)


def row(event: Event, *, id: str, at: datetime, app_id: int, task_id: str, version: int, source: str) -> dict[str, Any]:
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
    statement = (
        select(EventRow.__table__)
        .where(EventRow.task_id == task_id, EventRow.seq > after)
        .order_by(EventRow.seq)
        .limit(limit)
    )
    return [StoredEvent(**found._mapping) for found in await connection.execute(statement)]


async def erase(connection: Connection, task_id: str) -> None:
    """Empty the contents of a task's events; that they happened stays."""
    await connection.execute(update(EventRow).where(EventRow.task_id == task_id).values(data={}))
