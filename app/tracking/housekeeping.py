"""What is due by date alone: windows that close, apps no longer configured, callbacks that nobody claimed, and what has
been kept long enough."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime, timedelta

import structlog

from app.clock import Clock
from app.core.hearing import weigh
from app.core.merging import EXPIRING_BEFORE, expired, expiring, mark, with_backups_watched
from app.core.public import backup_notice
from app.core.recording import Basis, LastError, Task, Tracking
from app.core.values import replace
from app.store import backups, counts, feed, polls, purging
from app.store import callbacks as callback_store
from app.store import events as event_store
from app.store import tasks as store
from app.store.connection import Connection
from app.store.engine import Database
from app.tracking.changes import Changes
from app.tracking.hearing import Hearing

log = structlog.get_logger(__name__)

BATCH = 200

PURGES = {
    "tasks": (purging.purge_tasks, 100),
    "receipts": (purging.purge_receipts, 500),
    "deliveries": (purging.purge_deliveries, 500),
    "events": (feed.purge, 500),
    "audit": (purging.purge_audit, 500),
    "tombstones": (purging.purge_tombstones, 500),
}
"""What goes when it was kept long enough, in this order: a purge, and how many it takes in one transaction.

Each takes ``before`` and ``limit`` and returns how many went; what else is kept for a time finds its place here.
"""

PURGE_BATCHES = 20
"""Transactions of each purge in one run, at most: polls and requests come between them, and other jobs after them."""

GRACE = timedelta(minutes=1)
"""How long after the end of its window a task is still left to an answer under way, and to the provider's clock."""

COUNTS = 200
COUNTS_AT_ONCE = 20_000
"""Above so many rows, counts are drawn together; so many in one transaction."""

OVERLOOKED = timedelta(minutes=5)
"""How far back to look for callbacks that came while their task was being registered."""


class Housekeeping:
    """The slow jobs."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        changes: Changes,
        hearing: Hearing,
        *,
        app_ids: Collection[int],
        keep: timedelta | None = None,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._database, self._clock, self._changes, self._hearing = database, clock, changes, hearing
        self._app_ids, self._keep, self._alive = sorted(app_ids), keep, alive

    async def run_once(self) -> int:
        """Do all that is due; how many tasks and callbacks changed, and how much was purged."""
        jobs = (self._orphans, self._warn, self._expire, self._backups, self._recall, self._forget, self._count)
        return sum([await self._until_done(job) for job in jobs]) + await self._purge()

    async def _purge(self) -> int:
        """Delete what was kept long enough; if there is much of it, a part now and the rest in runs to come."""
        if self._keep is None:
            return 0
        before = self._clock.now() - self._keep
        gone = dict.fromkeys(PURGES, 0)
        for name, (purge, limit) in PURGES.items():
            for _ in range(PURGE_BATCHES):
                self._alive()
                async with self._database.write() as connection:
                    number = await purge(connection, before=before, limit=limit)
                gone[name] += number
                if not number:
                    break
        if any(gone.values()):
            log.info("purged", **gone, before=before.isoformat())
        return sum(gone.values())

    async def _until_done(self, job: Callable[[Connection, datetime], Awaitable[int]]) -> int:
        """A job in transactions of a size that keeps nobody waiting."""
        done, changed = 0, BATCH
        while changed >= BATCH:
            self._alive()
            async with self._database.write() as connection:
                changed = await job(connection, self._clock.now())
            done += changed
        return done

    async def _orphans(self, connection: Connection, now: datetime) -> int:
        """Mark the tasks of apps that are not configured; when their windows close they expire."""
        error = LastError(code="app_not_configured", message="no credentials for this app", request_id=None, at=now)
        ids = await polls.without_app(connection, self._app_ids, error.code, now=now, limit=BATCH)
        found = await self._whole(connection, ids)
        for task in found.values():
            over = now >= task.window[0] and task.tracking is Tracking.ACTIVE
            if over:
                await self._close(connection, replace(task, polling=mark(task, error).polling), task, now=now)
            else:
                await self._changes.save(connection, task, mark(task, error), source="timer", now=now)
            if over or task.tracking is not Tracking.ACTIVE:
                await polls.drop(connection, task.task_id)
        return len(found)

    async def _warn(self, connection: Connection, now: datetime) -> int:
        """Say that windows close in six hours."""
        ids = await store.closing(connection, before=now + EXPIRING_BEFORE, flag_missing=True, limit=BATCH)
        found = await store.find_tasks(connection, ids, lock=True)
        await self._changes.save_all(
            connection, [(task, expiring(task)) for task in found.values()], source="timer", now=now
        )
        return len(ids)

    async def _expire(self, connection: Connection, now: datetime) -> int:
        """Expire the tasks whose windows have closed for certain: the provider told when the recording began.

        Where the beginning is a guess, only the provider's own word that it does not know the task ends it.
        """
        ids = await store.closing(connection, before=now - GRACE, basis=Basis.PROVIDER, limit=BATCH)
        for task in (await self._whole(connection, ids)).values():
            await self._close(connection, task, task, now=now)
            await polls.drop(connection, task.task_id)
        return len(ids)

    async def _backups(self, connection: Connection, now: datetime) -> int:
        """Say of copies in the provider's backup store that they go within a day, and that they are gone."""
        due = await backups.due(connection, now=now, limit=BATCH)
        found = await self._whole(connection, sorted({task_id for task_id, _ in due}))
        moves = [(task, with_backups_watched(task, now=now)) for task in found.values()]
        rows, told = [], []
        for task in await self._changes.save_all(connection, moves, source="timer", now=now):
            for file in (task.files.get(file_id) for task_id, file_id in due if task_id == task.task_id):
                if file is None or file.backup_expires_at is None:
                    continue  # it was delivered, or its task deleted, in the moment before the lock
                gone = now >= file.backup_expires_at
                rows.append(self._changes.row(backup_notice(task, file, gone=gone), task, source="timer", now=now))
                told.append((task.task_id, file.seen.file_id, gone))
        await event_store.add(connection, rows)
        await backups.told(connection, told)
        return len(due)

    async def _whole(self, connection: Connection, ids: list[str]) -> Mapping[str, Task]:
        found = await store.find_tasks(connection, ids, lock=True)
        files = await store.files_of(connection, list(found))
        return {task_id: replace(task, files=files[task_id]) for task_id, task in found.items()}

    async def _close(self, connection: Connection, task: Task, before: Task, *, now: datetime) -> None:
        after = weigh(expired(task, now=now), await self._hearing.evidence(connection, task.task_id))
        await self._changes.save(connection, before, after, source="timer", now=now)

    async def _recall(self, connection: Connection, now: datetime) -> int:
        """Apply callbacks that came in the moment in which their task was registered."""
        ids = sorted(await callback_store.overlooked(connection, since=now - OVERLOOKED))
        tasks = await store.find_tasks(connection, ids, lock=True) if ids else {}
        await self._hearing.recall(connection, tasks, now=now)
        return 0

    async def _forget(self, connection: Connection, now: datetime) -> int:
        """Forget callbacks about tasks that nobody registered."""
        return await callback_store.forget(connection, now=now, limit=BATCH)

    async def _count(self, connection: Connection, now: datetime) -> int:
        """Keep the counts of tasks few rows, which are read all day."""
        await counts.draw_together(connection, above=COUNTS, limit=COUNTS_AT_ONCE)
        return 0
