"""Who did what: a line for each request that changed something, written in the transaction of the change.

A line outlives what it tells of, so it holds nothing that an erasure has to remove: ids and names, no values of labels,
no addresses. What the provider's callbacks, polls and sweeps bring about is no line, nor is a request that changed
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from app.core.public import Json
from app.store import audit as store
from app.store.audit import AuditFilter, Line
from app.store.connection import Connection
from app.store.engine import Database
from app.store.pages import Page

Action = Literal[
    "task.register",
    "task.label",
    "task.untrack",
    "task.track",
    "task.delete",
    "subscription.create",
    "subscription.change",
    "subscription.delete",
    "subscription.rotate_secret",
    "subscription.replay",
    "delivery.redeliver",
    "app.switch",
]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the name of its key, None where there are no keys, and the id of its request."""

    key: str | None = None
    request_id: str | None = None


NOBODY = Caller()
"""No request: this program itself."""


async def note(
    connection: Connection, by: Caller, action: Action, subject: str | None, *, at: datetime, **details: Any
) -> int:
    """Write that this caller did this, in the transaction that does it; the line's id."""
    return await store.add(
        connection, at=at, key=by.key, action=action, subject=subject, details=details, request_id=by.request_id
    )


async def note_all(connection: Connection, lines: Sequence[tuple[Caller, Action, str, Json]], *, at: datetime) -> None:
    """The same for many: who did what to which subject, and its details."""
    await store.add_all(
        connection,
        [
            {
                "at": at,
                "key": by.key,
                "action": action,
                "subject": subject,
                "details": details,
                "request_id": by.request_id,
            }
            for by, action, subject, details in lines
        ],
    )


async def retell(connection: Connection, line: int, **details: Any) -> None:
    """Bring a line up to date, in the transaction that does more of the same for the same request."""
    await store.tell(connection, line, details)


class Audit:
    """Shows the lines."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, wanted: AuditFilter, *, below: int | None, limit: int) -> Page[Line]:
        """Some lines, newest first."""
        async with self._database.read() as connection:
            return await store.page(connection, wanted, below=below, limit=limit)
