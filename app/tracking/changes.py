"""One change, one event: a task's next version and what it reports are written in the caller's transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import structlog

from app import metrics
from app.clock import Clock
from app.core.public import Event, events, versioned
from app.core.recording import Task
from app.store import events as event_store
from app.store import tasks as store
from app.store.bell import after_commit
from app.store.connection import Connection
from app.store.many import one_trip

log = structlog.get_logger(__name__)

Move = tuple[Task | None, Task]
"""A task before, if it was there, and after."""


class Changes:
    """Writes tasks and their events."""

    def __init__(self, clock: Clock, public_url: str | None = None) -> None:
        self._clock, self._public_url = clock, public_url

    async def save(self, connection: Connection, before: Task, after: Task, *, source: str, now: datetime) -> Task:
        """Write a task with its next version and its events, in one transaction."""
        after = versioned(before, after, now=now)
        async with one_trip(connection):
            if after != before:
                await store.save_task(connection, before, after)
            if after.version != before.version:
                await self.tell(connection, [(before, after)], source=source, now=now)
        return after

    async def save_more(self, connection: Connection, before: Task, after: Task, *, source: str, now: datetime) -> None:
        """Write what `save` does beside the task itself, which has its next version and is written."""
        async with one_trip(connection):
            await store.save_files(connection, before, after)
            await self.tell(connection, [(before, after)], source=source, now=now)

    async def save_all(
        self,
        connection: Connection,
        moves: Sequence[tuple[Task, Task]],
        *,
        source: str,
        now: datetime,
        beside: Callable[[Task], Iterable[tuple[Event, datetime]]] = lambda task: (),
    ) -> list[Task]:
        """Write many tasks, of which no labels changed, with their next versions and their events; as they are then.

        ``beside``: what else is to be told of each of them, and when it happened.
        """
        versions = [(before, versioned(before, after, now=now)) for before, after in moves]
        changed = [(before, after) for before, after in versions if after.version != before.version]
        more = [self.row(event, task, source=source, now=at) for _, task in versions for event, at in beside(task)]
        async with one_trip(connection):
            await store.save_tasks(connection, versions)
            await self.tell(connection, changed, source=source, now=now, more=more)
        return [after for _, after in versions]

    async def tell(
        self,
        connection: Connection,
        moves: Sequence[Move],
        *,
        source: str,
        now: datetime,
        more: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Write the events of tasks that went from one state to another, and behind them ``more`` rows."""
        await self.write(connection, moves, self.rows(moves, source=source, now=now), more)

    def rows(self, moves: Sequence[Move], *, source: str, now: datetime) -> list[dict[str, Any]]:
        """The events of these moves, as they are stored."""
        return [
            self.row(event, after, source=source, now=now)
            for before, after in moves
            for event in events(before, after, self._public_url)
        ]

    async def write(
        self,
        connection: Connection,
        moves: Sequence[Move],
        rows: Sequence[dict[str, Any]],
        more: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Write the ``rows`` of these moves, and behind them ``more``."""
        await event_store.add(connection, [*rows, *more])
        after_commit(connection, partial(_count, moves, [row["type"] for row in rows]))
        info = log.bind().info
        for row in rows:
            about = row["data"].get("file") or row["data"]["task"]
            named = {"file_id": about["file_id"]} if "file_id" in about else {}
            info(row["type"], task_id=row["task_id"], version=row["task_version"], status=about["status"], **named)

    def row(self, event: Event, task: Task, *, source: str, now: datetime) -> dict[str, Any]:
        return event_store.row(
            event,
            id=self._clock.token(),
            at=now,
            app_id=task.app_id,
            task_id=task.task_id,
            version=task.version,
            source=source,
        )


def _count(moves: Sequence[Move], types: Sequence[str]) -> None:
    for type_, number in Counter(types).items():
        metrics.EVENTS.labels(type_).inc(number)
    for before, after in moves:
        if after.outcome is not None and (before is None or before.outcome != after.outcome):
            metrics.OUTCOMES.labels(after.app_id, after.outcome).inc()
