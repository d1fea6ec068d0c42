"""What is due by date alone: tasks of an app that is no longer configured are marked, and expire with their window."""

from __future__ import annotations

from collections.abc import Collection

import structlog

from app.clock import Clock
from app.core.merging import expired, mark
from app.core.recording import LastError, Tracking
from app.store import polls
from app.store import tasks as store
from app.store.engine import Database
from app.tracking.changes import Changes

log = structlog.get_logger(__name__)

BATCH = 500


class Housekeeping:
    """The slow jobs."""

    def __init__(self, database: Database, clock: Clock, changes: Changes, *, app_ids: Collection[int]) -> None:
        self._database, self._clock, self._changes = database, clock, changes
        self._app_ids = sorted(app_ids)

    async def run_once(self) -> int:
        """Mark and expire the tasks of apps that are not configured; how many changed."""
        done = 0
        while changed := await self._orphans():
            done += changed
        return done

    async def _orphans(self) -> int:
        now = self._clock.now()
        error = LastError(code="app_not_configured", message="no credentials for this app", request_id=None, at=now)
        async with self._database.write() as connection:
            ids = await polls.without_app(connection, self._app_ids, error.code, now=now, limit=BATCH)
            found = await store.find_tasks(connection, ids, lock=True)
            for task in found.values():
                over = now >= task.window[0] and task.tracking is Tracking.ACTIVE
                after = expired(mark(task, error), now=now) if over else mark(task, error)
                await self._changes.save(connection, task, after, source="timer", now=now)
                if over or task.tracking is not Tracking.ACTIVE:
                    await polls.drop(connection, task.task_id)
        return len(found)
