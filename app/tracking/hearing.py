"""What callbacks tell, applied to their tasks in the caller's transaction: kept beside, and a poll hurried."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.core.hearing import Callback, hear, hurry, last_callback, weigh
from app.core.public import Event, callback_received
from app.core.recording import SeenFile, Task, Tracking
from app.core.schedule import Urgency
from app.core.values import replace
from app.errors import CallbackUnreadable
from app.provider import callbacks as wire
from app.store import callbacks as store
from app.store import polls
from app.store import tasks as task_store
from app.store.connection import Connection
from app.store.many import send
from app.tracking.changes import Changes


@dataclass(frozen=True, slots=True)
class Heard:
    """A callback and when it came; None for one whose content counts for nothing."""

    callback: Callback | None
    at: datetime

    @property
    def images(self) -> tuple[SeenFile, ...]:
        return self.callback.images if self.callback else ()


class Hearing:
    """The only way in which what a callback says reaches a task."""

    def __init__(self, changes: Changes, *, app_ids: Collection[int]) -> None:
        self._changes, self._app_ids = changes, frozenset(app_ids)

    async def hear(
        self, connection: Connection, tasks: Mapping[str, Task], heard: Mapping[str, Sequence[Heard]], *, now: datetime
    ) -> dict[str, Task]:
        """Apply to each task what was heard of it; the tasks afterwards. Their polls are hurried, few however many."""
        known = await self._with_files(connection, tasks, heard)
        moves: list[tuple[Task, Task]] = []
        due: list[polls.Hurry] = []
        for task_id, before in known.items():
            task, at = _merge(before, heard[task_id], now=now)
            if task.tracking is Tracking.EXPIRED:
                task = weigh(task, await self.evidence(connection, task_id))
            moves.append((before, task))
            if at is not None and self._is_pollable(task, now=now):
                due.append(polls.Hurry(task_id, task.app_id, at, task.claim_no))
        saved = await self._changes.save_all(
            connection, moves, source="callback", now=now, beside=lambda task: _received(heard[task.task_id])
        )
        await polls.hurry(connection, due, Urgency.HURRIED)
        return {task.task_id: task for task in saved}

    async def _with_files(
        self, connection: Connection, tasks: Mapping[str, Task], heard: Mapping[str, Sequence[Heard]]
    ) -> dict[str, Task]:
        """The tasks with those of their files that matter: a screenshot task has thousands of others."""
        images = {file.file_id for some in heard.values() for one in some for file in one.images}
        files = await task_store.find_files(connection, sorted(heard), sorted(images))
        for task_id in heard:
            if tasks[task_id].tracking is Tracking.EXPIRED:
                whole = await task_store.find_task(connection, task_id)
                files[task_id] = dict(whole.files) if whole else {}
        return {
            task_id: replace(tasks[task_id], files=files[task_id]) if files[task_id] else tasks[task_id]
            for task_id in sorted(heard)
        }

    async def evidence(self, connection: Connection, task_id: str) -> list[Callback]:
        """All that callbacks said of a task, oldest first."""
        return [told for one in await store.accepted(connection, task_id) if (told := reread(one)) is not None]

    def _is_pollable(self, task: Task, *, now: datetime) -> bool:
        followed = task.tracking in (Tracking.ACTIVE, Tracking.SETTLED)
        return followed and now < task.window[0] and task.app_id in self._app_ids

    async def recall(self, connection: Connection, tasks: Mapping[str, Task], *, now: datetime) -> dict[str, Task]:
        """Apply to tasks just registered what came before they were; those of them that something was told of."""
        came = await store.remembered(connection, sorted(tasks))
        heard: dict[str, list[Heard]] = {}
        mine = []
        for one in came:
            task_id = one.task_id or ""
            if tasks[task_id].app_id == one.app_id:
                mine.append(one.id)
                heard.setdefault(task_id, []).append(Heard(reread(one), one.received_at))
        if not heard:
            return {}
        await send(connection)  # the tasks themselves, which change now
        await store.become_known(connection, mine)
        return await self.hear(connection, tasks, heard, now=now)


def reread(receipt: store.Stored) -> Callback | None:
    """What a stored callback said; None if its content was not kept."""
    try:
        return wire.read(receipt.body.encode()).callback if receipt.body else None
    except CallbackUnreadable:
        return None


def _received(heard: Sequence[Heard]) -> Iterable[tuple[Event, datetime]]:
    for one in heard:
        if one.callback and (told := last_callback(one.callback, at=one.at)):
            yield callback_received(told), one.at


def _merge(task: Task, heard: Sequence[Heard], *, now: datetime) -> tuple[Task, datetime | None]:
    """The task after all that was heard, and when the soonest poll is asked for."""
    soonest: datetime | None = None
    for one in heard:
        if one.callback is not None:
            task = hear(task, one.callback, at=one.at)
        task, at = hurry(task, one.callback, now=now)
        soonest = min(filter(None, [soonest, at]), default=None)
    return task, soonest


REMEMBER = timedelta(days=4)
"""How long callbacks about tasks that nobody registered are kept."""
