"""Registering tasks, one by one or many in one transaction. Repeating is harmless."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from app.clock import Clock
from app.core.public import Json
from app.core.recording import Polling, Task
from app.core.schedule import Urgency
from app.core.values import replace
from app.errors import AppConflict, InvalidRequest, Refusal
from app.store import polls
from app.store import tasks as store
from app.store.connection import Connection
from app.store.engine import Database
from app.store.many import one_trip
from app.tracking.audit import NOBODY, Action, Caller, note, note_all
from app.tracking.changes import Changes
from app.tracking.hearing import Hearing
from app.tracking.together import Together

LABEL_LIMIT = 16
TOGETHER = 100
"""Single registrations in one transaction at most."""

START_TOLERANCE = timedelta(minutes=5)


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


class Registration:
    """Takes tasks into our care."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        changes: Changes,
        hearing: Hearing,
        *,
        app_ids: Collection[int],
    ) -> None:
        self._database, self._clock, self._changes, self._hearing = database, clock, changes, hearing
        self._app_ids = frozenset(app_ids)
        self._one_of_many = Together(
            database.write, self._register_singles, most=TOGETHER, patient=not database.is_sqlite
        )

    async def register(self, wanted: NewTask, *, by: Caller = NOBODY) -> Registered:
        """Register one task, or merge its labels into the one that is there. Raises the Refusal it meets."""
        done = await self._one_of_many((wanted, by))
        if done.error is not None:
            raise done.error
        return done

    async def _register_singles(self, connection: Connection, wanted: list[tuple[NewTask, Caller]]) -> list[Registered]:
        now = self._clock.now()
        async with one_trip(connection):
            done, labelled = await self._register(connection, [one for one, _ in wanted], Urgency.HURRIED, now=now)
            lines: list[tuple[Caller, Action, str, Json]] = []
            for (one, by), came in zip(wanted, done, strict=True):
                if came.result == "created":
                    lines.append((by, "task.register", one.task_id, {}))
                elif one.task_id in labelled:
                    labelled.discard(one.task_id)
                    lines.append((by, "task.label", one.task_id, {"labels": sorted(one.labels)}))
            await note_all(connection, lines, at=now)
        return done

    async def register_batch(self, wanted: Sequence[NewTask], *, by: Caller = NOBODY) -> list[Registered]:
        """Register many in one transaction; the results stand in the order given, refusals among them."""
        now = self._clock.now()
        async with self._database.write() as connection, one_trip(connection):
            done, labelled = await self._register(connection, wanted, Urgency.BATCH, now=now)
            new = sum(one.result == "created" for one in done)
            if new or labelled:
                await note(connection, by, "task.register", None, at=now, created=new, labelled=len(labelled))
        return done

    async def _register(
        self, connection: Connection, wanted: Sequence[NewTask], urgency: Urgency, *, now: datetime
    ) -> tuple[list[Registered], set[str]]:
        """What became of each, and the tasks that were there before and are labelled otherwise now."""
        resolved = [self._resolve(one, now=now) for one in wanted]
        first: dict[str, Task] = {}
        for one, app in zip(wanted, resolved, strict=True):
            if isinstance(app, int):
                first.setdefault(one.task_id, _new_task(one, app, now=now))
        created = await self.create(connection, first, urgency, source="api", now=now)
        others = sorted({one.task_id for one in wanted} - created.keys())
        found = await self._find_to_merge(connection, others, wanted)
        there = created | found
        done = [
            Registered(one.task_id, "invalid", error=app)
            if isinstance(app, Refusal)
            else await self._merge(connection, one, app, there, created, now=now)
            for one, app in zip(wanted, resolved, strict=True)
        ]
        return done, {task_id for task_id, task in found.items() if there[task_id].labels != task.labels}

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

    async def create(
        self, connection: Connection, wanted: dict[str, Task], urgency: Urgency, *, source: str, now: datetime
    ) -> dict[str, Task]:
        """Store those that are not there yet, in the caller's transaction, with events and polls due now; these.

        A deleted one goes on counting; what callbacks told of one before is applied.
        """
        buried = await store.lift_tombstones(connection, sorted(wanted))
        tasks = {
            task_id: replace(task, version=buried[task_id][0] + 1) if task_id in buried else task
            for task_id, task in wanted.items()
        }
        async with one_trip(connection):
            adding = asyncio.ensure_future(store.add_tasks(connection, list(tasks.values())))
            try:
                await asyncio.sleep(0)  # it is sent; while the database works on it, so do we
                rows = self._changes.rows([(None, task) for task in tasks.values()], source=source, now=now)
            finally:
                ids = await adding
            created = {task_id: task for task_id, task in tasks.items() if task_id in ids}
            queue = [
                polls.NewPoll(
                    task_id,
                    task.app_id,
                    claim_no=buried[task_id][1] + polls.CLAIMS_IN_FLIGHT if task_id in buried else 0,
                    closes_at=closes_at if (closes_at := task.window[0]) > now else None,
                )
                for task_id, task in created.items()
            ]
            await polls.add(connection, queue, urgency, now)
            told = [row for row in rows if row["task_id"] in ids]
            await self._changes.write(connection, [(None, task) for task in created.values()], told)
        return created | await self._hearing.recall(connection, created, now=now)

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
        task = await self._changes.save(connection, task, replace(task, labels=labels), source="api", now=now)
        there[task.task_id] = task
        return Registered(task.task_id, "existing", task)


def _new_task(wanted: NewTask, app_id: int, *, now: datetime) -> Task:
    return Task(
        task_id=wanted.task_id,
        app_id=app_id,
        registered_at=now,
        updated_at=now,
        started_at=wanted.started_at,
        labels=dict(wanted.labels),
        polling=Polling(next_poll_at=now),
    )
