"""The verbs on registered tasks: read them, steer them. Each owns its transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.clock import Clock
from app.core import merging
from app.core.public import FILES_SHOWN, deletion
from app.core.recording import File, Task, Tracking, Whose
from app.core.schedule import Urgency
from app.core.values import replace
from app.errors import InvalidRequest, NotPollable, PreconditionFailed, TaskNotFound
from app.store import callbacks as callback_store
from app.store import events as event_store
from app.store import feed, listing, polls
from app.store import tasks as store
from app.store.connection import Connection
from app.store.engine import Database
from app.store.events import StoredEvent
from app.store.pages import Page
from app.store.rows import Stamp
from app.tracking.audit import NOBODY, Caller, note
from app.tracking.changes import Changes
from app.tracking.registration import LABEL_LIMIT
from app.tracking.together import Together

REFRESH_EVERY = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class TaskList:
    """A page of tasks by their stamps, those of the ids asked for that do not exist, where the feed goes on from a
    first page, and behind which place the list itself does."""

    tasks: Sequence[Stamp]
    missing: list[str]
    events_after: int | None
    more: tuple[datetime, str] | None


class Tasks:
    """Read and steer tasks."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        changes: Changes,
        *,
        app_ids: Collection[int],
    ) -> None:
        self._database, self._clock, self._changes = database, clock, changes
        self._app_ids = frozenset(app_ids)
        self._stamps = Together(database.read, _find_stamps, most=500)

    # -- reading

    async def get(self, task_id: str) -> Task:
        """A task with the first of its files. Raises TaskNotFound."""
        async with self._database.read() as connection:
            task = await store.find_task(connection, task_id, at_most=FILES_SHOWN)
        return _existing(task, task_id)

    async def stamp(self, task_id: str) -> Stamp:
        """What shows whether the task looks as it did. Raises TaskNotFound."""
        stamp = await self._stamps(task_id)
        if stamp is None:
            raise _not_found(task_id)
        return stamp

    async def was_told(self, task_id: str, *, since: datetime) -> bool:
        """Whether a poll asked since then has told something, be it an error. Raises TaskNotFound."""
        async with self._database.read() as connection:
            told = await store.last_told(connection, task_id)
        if told is None:
            raise _not_found(task_id)
        asked_at, error = told
        return (asked_at is not None and asked_at >= since) or (error is not None and error.at >= since)

    async def answer(self, task_id: str) -> tuple[datetime, str] | None:
        """The provider's last raw answer and when it was asked for; None before the first. Raises TaskNotFound."""
        async with self._database.read() as connection:
            _existing(await store.find_task(connection, task_id, files=False), task_id)
            return await store.find_answer(connection, task_id)

    async def history(self, task_id: str, *, after: int, limit: int) -> list[StoredEvent]:
        """A task's events, oldest first; also of a deleted one. Raises TaskNotFound if it never existed."""
        async with self._database.read() as connection:
            found = await event_store.history(connection, task_id, after=after, limit=limit)
            if not found:
                _existing(await store.find_task(connection, task_id, files=False), task_id)
            return found

    async def files(self, task_id: str, *, after: str | None, limit: int) -> list[tuple[Whose, File]]:
        """A page of a task's files. Raises TaskNotFound."""
        async with self._database.read() as connection:
            _existing(await store.find_task(connection, task_id, files=False), task_id)
            return await listing.list_task_files(connection, task_id, after=after, limit=limit)

    async def list_tasks(
        self,
        wanted: listing.TaskFilter,
        *,
        order: listing.TaskOrder,
        after: tuple[datetime, str] | None,
        limit: int,
    ) -> TaskList:
        """A page of tasks; the first one, without ``after``, tells where the feed goes on from it."""
        async with self._database.read() as connection:
            events_after = None if after else (await feed.bounds(connection)).newest  # before the tasks: no gap
            page = await listing.list_tasks(connection, wanted, order=order, after=after, limit=limit)
            known = await store.find_stamps(connection, wanted.task_id) if wanted.task_id else {}
        missing = [task_id for task_id in wanted.task_id if task_id not in known]
        return TaskList(page.items, missing, events_after, page.more)

    async def get_all(self, task_ids: list[str], *, with_files: bool) -> dict[str, Task]:
        """Those of the tasks that exist, with all of their files or none."""
        async with self._database.read() as connection:
            found = await store.find_tasks(connection, task_ids)
            files = await store.files_of(connection, list(found)) if with_files else {}
        return {task_id: replace(task, files=files[task_id]) if files else task for task_id, task in found.items()}

    async def list_files(
        self, wanted: listing.FileFilter, *, after: tuple[datetime, str, str] | None, limit: int
    ) -> tuple[Page[tuple[Whose, File]], int | None]:
        """A page of files across tasks, and for the first one where the feed goes on from it."""
        async with self._database.read() as connection:
            events_after = None if after else (await feed.bounds(connection)).newest  # before the files: no gap
            return await listing.list_files(connection, wanted, after=after, limit=limit), events_after

    # -- steering

    async def set_labels(
        self,
        task_id: str,
        patch: Mapping[str, str | None],
        *,
        if_versions: Collection[int] | None,
        by: Caller = NOBODY,
    ) -> None:
        """Merge labels into a task's; None removes one. Raises TaskNotFound, PreconditionFailed, InvalidRequest."""
        now = self._clock.now()
        async with self._database.write() as connection:
            task = _existing(await store.find_task(connection, task_id, lock=True), task_id)
            if if_versions is not None and task.version not in if_versions:
                raise PreconditionFailed(f"the task's version is {task.version} by now")
            merged = {**task.labels, **patch}
            labels = {key: value for key, value in merged.items() if value is not None}
            if len(labels) > LABEL_LIMIT:
                raise InvalidRequest.at("/labels", f"{len(labels)} labels; {LABEL_LIMIT} is the most")
            after = await self._changes.save(connection, task, replace(task, labels=labels), source="api", now=now)
            if after.labels != task.labels:
                await note(connection, by, "task.label", task_id, at=now, labels=sorted(patch))

    async def refresh(self, task_id: str) -> None:
        """Have a task polled as soon as the budget allows, at most every 5 s. Raises TaskNotFound, NotPollable."""
        now = self._clock.now()
        async with self._database.write() as connection:
            task = _existing(await store.find_task(connection, task_id, lock=True), task_id)
            self._check_pollable(task, now=now)
            last = task.polling.last_polled_at
            at = max(now, min(last, now) + REFRESH_EVERY) if last else now
            await polls.hurry(connection, [polls.Hurry(task_id, task.app_id, at, task.claim_no)], Urgency.REFRESH)

    def _check_pollable(self, task: Task, *, now: datetime) -> None:
        if task.tracking is Tracking.UNTRACKED:
            raise NotPollable("the task is untracked; POST …/track resumes it")
        if task.tracking is Tracking.EXPIRED or now >= task.window[0]:
            raise NotPollable("the provider answers only for 3 days after a recording's start, and they are over")
        if task.app_id not in self._app_ids:
            raise NotPollable(f"app {task.app_id} is not configured")

    async def untrack(self, task_id: str, *, by: Caller = NOBODY) -> None:
        """Stop polling a task; the recording itself is untouched. Raises TaskNotFound."""
        now = self._clock.now()
        async with self._database.write() as connection:
            task = _existing(await store.find_task(connection, task_id, lock=True), task_id)
            if task.tracking is not Tracking.UNTRACKED:
                await self._changes.save(connection, task, merging.untracked(task, now=now), source="api", now=now)
                await polls.drop(connection, task_id)
                await note(connection, by, "task.untrack", task_id, at=now)

    async def track(self, task_id: str, *, by: Caller = NOBODY) -> None:
        """Resume polling an untracked task; on any other it changes nothing. Raises TaskNotFound, NotPollable."""
        now = self._clock.now()
        async with self._database.write() as connection:
            task = _existing(await store.find_task(connection, task_id, lock=True), task_id)
            if task.tracking is Tracking.UNTRACKED:
                resumed = replace(task, tracking=Tracking.ACTIVE)
                self._check_pollable(resumed, now=now)
                await self._changes.save(connection, task, merging.tracked(task, now=now), source="api", now=now)
                await polls.hurry(connection, [polls.Hurry(task_id, task.app_id, now, task.claim_no)], Urgency.HURRIED)
                await note(connection, by, "task.track", task_id, at=now)

    async def delete(self, task_id: str, *, by: Caller = NOBODY) -> None:
        """Erase a task with its files, its callbacks and the contents of its events. Raises TaskNotFound."""
        now = self._clock.now()
        async with self._database.write() as connection:
            task = _existing(await store.find_task(connection, task_id, lock=True), task_id)
            task = replace(task, version=task.version + 1)
            await store.erase_task(connection, task)
            await event_store.erase(connection, task_id)
            await feed.purge_history(connection, [task_id])
            await callback_store.erase(connection, task_id)
            row = self._changes.row(deletion(task), task, source="api", now=now)
            await event_store.add(connection, [row], labels=task.labels)
            await note(connection, by, "task.delete", task_id, at=now)


def _existing(task: Task | None, task_id: str) -> Task:
    if task is None:
        raise _not_found(task_id)
    return task


def _not_found(task_id: str) -> TaskNotFound:
    return TaskNotFound(f"no task {task_id} is registered")


async def _find_stamps(connection: Connection, task_ids: list[str]) -> list[Stamp | None]:
    found = await store.find_stamps(connection, task_ids)
    return [found.get(task_id) for task_id in task_ids]
