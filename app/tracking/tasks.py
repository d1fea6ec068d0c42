"""The verbs on tasks. Each owns its transaction; ``observe`` and ``poll_failed`` take the one that ends a poll."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

import structlog

from app.clock import Clock
from app.core import recording
from app.core.public import FILES_SHOWN, Event, deletion, events, versioned
from app.core.recording import Failure, File, LastError, Task, Tracking
from app.core.schedule import Policy, Urgency, next_poll_at
from app.errors import (
    AnswerUnknown,
    AppConflict,
    InvalidRequest,
    NotPollable,
    PreconditionFailed,
    ProviderError,
    Refusal,
    TaskNotFound,
    TaskRefused,
    TaskUnknown,
)
from app.provider.client import Described
from app.store import events as event_store
from app.store import listing, polls
from app.store import tasks as store
from app.store.engine import Connection, Database
from app.store.events import StoredEvent
from app.store.polls import Claim

log = structlog.get_logger(__name__)

LABEL_LIMIT = 16
START_TOLERANCE = timedelta(minutes=5)
REFRESH_EVERY = timedelta(seconds=5)
TROUBLE_PAUSE = timedelta(seconds=3)
"""How long a task waits after a call that failed for the app's trouble, not its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """A request to register a task. ``started_at`` is the caller's hint of when the recording began."""

    task_id: str
    app_id: int | None = None
    started_at: datetime | None = None
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Registered:
    """What became of one registration."""

    task_id: str
    result: Literal["created", "existing", "conflict", "invalid"]
    task: Task | None = None
    error: Refusal | None = None


class Tasks:
    """Register, read and steer tasks; apply what polls tell."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        app_ids: Collection[int],
        policy: Policy,
        wake: Callable[[], None],
    ) -> None:
        self._database, self._clock, self._policy = database, clock, policy
        self._app_ids, self._wake = frozenset(app_ids), wake

    # -- registering

    async def register(self, wanted: NewTask) -> Registered:
        """Register one task, or merge its labels into the one that is there. Raises the Refusal it meets."""
        (done,) = await self._register([wanted], Urgency.HURRIED)
        if done.error is not None:
            raise done.error
        return done

    async def register_batch(self, wanted: Sequence[NewTask]) -> list[Registered]:
        """Register many in one transaction; the results stand in the order given, refusals among them."""
        return await self._register(wanted, Urgency.ROUTINE)

    async def _register(self, wanted: Sequence[NewTask], urgency: Urgency) -> list[Registered]:
        now = self._clock.now()
        resolved = [self._resolve(one, now=now) for one in wanted]
        first: dict[str, Task] = {}
        for one, app in zip(wanted, resolved, strict=True):
            if isinstance(app, int):
                first.setdefault(one.task_id, _new_task(one, app, now=now))
        async with self._database.write() as connection:
            created = await self._create(connection, first, urgency, now=now)
            others = sorted({one.task_id for one in wanted} - created.keys())
            there = created | await self._find_to_merge(connection, others, wanted)
            done = [
                Registered(one.task_id, "invalid", error=app)
                if isinstance(app, Refusal)
                else await self._merge(connection, one, app, there, created, now=now)
                for one, app in zip(wanted, resolved, strict=True)
            ]
        self._wake()
        return done

    async def _find_to_merge(
        self, connection: Connection, task_ids: list[str], wanted: Sequence[NewTask]
    ) -> dict[str, Task]:
        """The tasks that are there already; locked only if their labels change: repeating must not queue up."""
        found = await store.find_tasks(connection, task_ids) if task_ids else {}
        changed = {
            one.task_id
            for one in wanted
            if one.task_id in found and one.labels.items() - found[one.task_id].labels.items()
        }
        return found | (await store.find_tasks(connection, sorted(changed), lock=True) if changed else {})

    def _resolve(self, wanted: NewTask, *, now: datetime) -> int | Refusal:
        """The app a task belongs to, or what is wrong with its registration."""
        if wanted.started_at is not None and wanted.started_at > now + START_TOLERANCE:
            return InvalidRequest.at("/started_at", "lies more than 5 minutes in the future")
        if wanted.app_id is None:
            if len(self._app_ids) == 1:
                return next(iter(self._app_ids))
            return InvalidRequest.at("/app_id", "is needed: several apps are configured")
        if wanted.app_id in self._app_ids:
            return wanted.app_id
        return InvalidRequest.at("/app_id", f"no app {wanted.app_id} is configured")

    async def _create(
        self, connection: Connection, wanted: dict[str, Task], urgency: Urgency, *, now: datetime
    ) -> dict[str, Task]:
        """Store those that are not there yet, with their polls and events; a deleted one goes on counting."""
        buried = await store.lift_tombstones(connection, sorted(wanted))
        tasks = {
            task_id: replace(task, version=buried[task_id][0] + 1) if task_id in buried else task
            for task_id, task in wanted.items()
        }
        ids = await store.add_tasks(connection, list(tasks.values()))
        created = {task_id: task for task_id, task in tasks.items() if task_id in ids}
        claims = {
            task_id: buried[task_id][1] + polls.CLAIMS_IN_FLIGHT if task_id in buried else 0 for task_id in created
        }
        for app_id in {task.app_id for task in created.values()}:
            of_app = {id_: no for id_, no in claims.items() if created[id_].app_id == app_id}
            await polls.add(connection, app_id, of_app, urgency, now)
        await self._tell(connection, [(None, task) for task in created.values()], source="api", now=now)
        queued = replace(recording.Polling(), next_poll_at=now)
        return {task_id: replace(task, polling=queued) for task_id, task in created.items()}

    async def _merge(
        self,
        connection: Connection,
        wanted: NewTask,
        app_id: int,
        there: dict[str, Task],
        created: dict[str, Task],
        *,
        now: datetime,
    ) -> Registered:
        """The result for one registration; ``there`` and ``created`` follow the labels as they merge."""
        task = there[wanted.task_id]
        if created.pop(wanted.task_id, None) is not None:
            return Registered(task.task_id, "created", task)
        if task.app_id != app_id:
            conflict = AppConflict(f"{task.task_id} is registered under app {task.app_id}")
            return Registered(task.task_id, "conflict", error=conflict)
        labels = {**task.labels, **wanted.labels}
        if len(labels) > LABEL_LIMIT:
            detail = f"with the labels it has already these would be {len(labels)}; {LABEL_LIMIT} is the most"
            return Registered(task.task_id, "invalid", error=InvalidRequest.at("/labels", detail))
        task = await self.save(connection, task, replace(task, labels=labels), source="api", now=now)
        there[task.task_id] = task
        return Registered(task.task_id, "existing", task)

    # -- reading

    async def get(self, task_id: str) -> Task:
        """A task with the first of its files. Raises TaskNotFound."""
        async with self._database.read() as connection:
            task = await store.find_task(connection, task_id, at_most=FILES_SHOWN)
        return _existing(task, task_id)

    async def version(self, task_id: str) -> int | None:
        """The version of a task alone; None if there is none."""
        async with self._database.read() as connection:
            task = await store.find_task(connection, task_id, files=False)
        return task.version if task else None

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

    async def files(self, task_id: str, *, after: str | None, limit: int) -> list[tuple[Task, File]]:
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
        with_files: bool,
    ) -> tuple[list[Task], list[str]]:
        """A page of tasks, and those of the ids asked for that do not exist."""
        async with self._database.read() as connection:
            found = await listing.list_tasks(connection, wanted, order=order, after=after, limit=limit)
            if with_files:
                files = await listing.files_of(connection, [task.task_id for task in found])
                found = [replace(task, files=files[task.task_id]) for task in found]
            known = await store.find_tasks(connection, wanted.task_id) if wanted.task_id else {}
        return found, [task_id for task_id in wanted.task_id if task_id not in known]

    async def list_files(
        self, wanted: listing.FileFilter, *, after: tuple[datetime, str, str] | None, limit: int
    ) -> list[tuple[Task, File]]:
        """A page of files across tasks."""
        async with self._database.read() as connection:
            return await listing.list_files(connection, wanted, after=after, limit=limit)

    # -- steering

    async def set_labels(
        self, task_id: str, patch: Mapping[str, str | None], *, if_versions: Collection[int] | None
    ) -> Task:
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
            return await self.save(connection, task, replace(task, labels=labels), source="api", now=now)

    async def refresh(self, task_id: str) -> Task:
        """Have a task polled as soon as the budget allows, at most every 5 s. Raises TaskNotFound, NotPollable."""
        now = self._clock.now()
        async with self._database.write() as connection:
            task = _existing(await store.find_task(connection, task_id, lock=True), task_id)
            self._check_pollable(task, now=now)
            last = task.polling.last_polled_at
            at = max(now, last + REFRESH_EVERY) if last else now
            await polls.hurry(connection, task_id, task.app_id, Urgency.REFRESH, at, claim_no=task.claim_no)
        self._wake()
        return await self.get(task_id)

    def _check_pollable(self, task: Task, *, now: datetime) -> None:
        if task.tracking is Tracking.UNTRACKED:
            raise NotPollable("the task is untracked; POST …/track resumes it")
        if task.tracking is Tracking.EXPIRED or now >= task.window[0]:
            raise NotPollable("the provider answers only for 3 days after a recording's start, and they are over")
        if task.app_id not in self._app_ids:
            raise NotPollable(f"app {task.app_id} is not configured")

    async def untrack(self, task_id: str) -> Task:
        """Stop polling a task; the recording itself is untouched. Raises TaskNotFound."""
        now = self._clock.now()
        async with self._database.write() as connection:
            task = _existing(await store.find_task(connection, task_id, lock=True), task_id)
            if task.tracking is not Tracking.UNTRACKED:
                await self.save(connection, task, recording.untracked(task, now=now), source="api", now=now)
                await polls.drop(connection, task_id)
        return await self.get(task_id)

    async def track(self, task_id: str) -> Task:
        """Resume polling an untracked task; on any other it changes nothing. Raises TaskNotFound, NotPollable."""
        now = self._clock.now()
        async with self._database.write() as connection:
            task = _existing(await store.find_task(connection, task_id, lock=True), task_id)
            if task.tracking is Tracking.UNTRACKED:
                resumed = replace(task, tracking=Tracking.ACTIVE)
                self._check_pollable(resumed, now=now)
                await self.save(connection, task, recording.tracked(task, now=now), source="api", now=now)
                await polls.hurry(connection, task_id, task.app_id, Urgency.HURRIED, now, claim_no=task.claim_no)
        self._wake()
        return await self.get(task_id)

    async def delete(self, task_id: str) -> None:
        """Erase a task with its files and the contents of its events. Raises TaskNotFound."""
        now = self._clock.now()
        async with self._database.write() as connection:
            task = _existing(await store.find_task(connection, task_id, lock=True), task_id)
            task = replace(task, version=task.version + 1)
            await store.erase_task(connection, task)
            await event_store.erase(connection, task_id)
            row = self._row(deletion(task), task, source="api", now=now)
            await event_store.add(connection, [row])

    # -- what polls tell

    async def observe(self, connection: Connection, claim: Claim, told: Described) -> None:
        """Apply an answer and plan the next poll."""
        now = self._clock.now()
        task = await store.find_task(connection, claim.task_id, lock=True)
        if task is None:  # deleted while we asked
            return
        after = recording.apply(recording.answered(task, at=now), told.observation, now=now)
        after = await self.save(connection, task, after, source="poll", now=now)
        asked_at, claim_no = told.observation.asked_at, claim.claim_no
        await store.save_answer(connection, claim.task_id, told.body, asked_at=asked_at, claim_no=claim_no)
        await self._plan(connection, claim, after, now=now)

    async def poll_failed(self, connection: Connection, claim: Claim, error: ProviderError) -> None:
        """Note why a poll told nothing, and plan the next one."""
        now = self._clock.now()
        task = await store.find_task(connection, claim.task_id, lock=True)
        if task is None:
            return
        failure = _failure(error)
        last = LastError(code=error.code, message=error.message, request_id=error.request_id, at=now)
        after = await self.save(
            connection, task, recording.failed(task, last, failure, now=now), source="poll", now=now
        )
        if failure is Failure.TROUBLE:
            again = now + TROUBLE_PAUSE * (1 + self._clock.jitter())
            await polls.put_off(connection, claim, again)
        else:
            await self._plan(connection, claim, after, now=now)

    async def _plan(self, connection: Connection, claim: Claim, task: Task, *, now: datetime) -> None:
        planned = next_poll_at(task, now=now, jitter=self._clock.jitter(), policy=self._policy)
        if planned is None:
            await polls.finish(connection, claim)
        else:
            await polls.plan(connection, claim, *planned)

    async def save(self, connection: Connection, before: Task, after: Task, *, source: str, now: datetime) -> Task:
        """Write a task with its next version and its events, in one transaction."""
        after = versioned(before, after, now=now)
        if after != before:
            await store.save_task(connection, before, after)
        if after.version != before.version:
            await self._tell(connection, [(before, after)], source=source, now=now)
        return after

    async def _tell(
        self, connection: Connection, moves: Sequence[tuple[Task | None, Task]], *, source: str, now: datetime
    ) -> None:
        """Write the events of tasks that went from one state to another."""
        rows = [
            self._row(event, after, source=source, now=now)
            for before, after in moves
            for event in events(before, after)
        ]
        await event_store.add(connection, rows)
        for row in rows:
            about = row["data"].get("file") or row["data"]["task"]
            named = {"file_id": about["file_id"]} if "file_id" in about else {}
            log.info(row["type"], task_id=row["task_id"], version=row["task_version"], status=about["status"], **named)

    def _row(self, event: Event, task: Task, *, source: str, now: datetime) -> dict[str, Any]:
        return event_store.row(
            event,
            id=self._clock.token(),
            at=now,
            app_id=task.app_id,
            task_id=task.task_id,
            version=task.version,
            source=source,
        )


def _new_task(wanted: NewTask, app_id: int, *, now: datetime) -> Task:
    return Task(
        task_id=wanted.task_id,
        app_id=app_id,
        registered_at=now,
        updated_at=now,
        started_at=wanted.started_at,
        labels=dict(wanted.labels),
    )


def _existing(task: Task | None, task_id: str) -> Task:
    if task is None:
        raise TaskNotFound(f"no task {task_id} is registered")
    return task


def _failure(error: ProviderError) -> Failure:
    if isinstance(error, TaskUnknown):
        return Failure.NOT_FOUND
    if isinstance(error, TaskRefused):
        return Failure.REFUSED
    return Failure.UNKNOWN if isinstance(error, AnswerUnknown) else Failure.TROUBLE
