"""What polls tell: an answer, or why there was none, applied to its task in the transaction that ends the poll."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from app import metrics
from app.clock import Clock
from app.core import merging
from app.core.detection import detection_delay, found_by, settling_delay
from app.core.hearing import weigh
from app.core.public import versioned
from app.core.recording import Failure, LastError, Task, Tracking
from app.core.schedule import Pace, Plan, Policy, next_poll
from app.core.values import replace
from app.errors import AnswerUnknown, ProviderError, TaskRefused, TaskUnknown
from app.provider.client import Described
from app.provider.wire import FILES_LIMIT, too_many_files
from app.store import polls, trips
from app.store import tasks as store
from app.store.bell import after_commit
from app.store.budget import Permit
from app.store.connection import Connection
from app.store.engine import Database
from app.store.polls import Claim
from app.tracking.changes import Changes
from app.tracking.hearing import Hearing

TROUBLE_PAUSE = timedelta(seconds=3)
"""How long a task waits after a call that failed for the app's trouble, not its own; up to twice as long at random."""


class Observations:
    """The only way in which what the provider says reaches a task."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        changes: Changes,
        hearing: Hearing,
        policy: Policy,
        *,
        pace: Callable[[int], Pace],
    ) -> None:
        self._database, self._clock, self._changes, self._hearing = database, clock, changes, hearing
        self._policy, self._pace = policy, pace

    async def observe(self, connection: Connection, claim: Claim, told: Described) -> None:
        """Apply an answer and plan the next poll."""
        now = self._clock.now()
        task = await store.find_task(connection, claim.task_id, lock=True)
        if task is None:  # deleted while we asked
            return
        after = merging.apply(merging.answered(task, at=now), told.observation, now=now)
        if len(after.files) > FILES_LIMIT and (number := len(after.polled_files)) > FILES_LIMIT:
            await self.poll_failed(connection, claim, too_many_files(number, request_id=told.request_id))
            return
        for count in _ignored(task, told):
            after_commit(connection, count)
        after = await self._changes.save(connection, task, after, source="poll", now=now)
        _time(connection, task, after, now=now)
        asked_at, claim_no = told.observation.asked_at, claim.claim_no
        await store.save_answer(connection, claim.task_id, told.body, asked_at=asked_at, claim_no=claim_no)
        await self._plan(connection, claim, after, now=now)

    async def observe_at_once(
        self, claim: Claim, told: Described, permit: Permit, since: Callable[[], dict[str, float]]
    ) -> bool:
        """The same in fewer trips to PostgreSQL, the permit given back too: in one if nothing changes that is seen.

        False, and nothing is written but the permit's return, if the task was not told with the claim, is not any more
        what it was then, or leaves the queue.
        """
        now, task = self._clock.now(), claim.task
        if task is None:
            return False
        after = merging.apply(merging.answered(task, at=now), told.observation, now=now)
        planned = self._next_poll(after, now=now)
        if planned is None or len(after.files) > FILES_LIMIT:
            return False
        after = versioned(task, after, now=now)
        again = _told_again(task, after)
        is_calm = again is not None and after.version == task.version
        async with self._database.at_once() if is_calm else self._database.write(durable=False) as connection:
            is_kept = await trips.record(
                connection,
                claim,
                permit,
                after,
                planned,
                body=told.body,
                asked_at=told.observation.asked_at,
                files=again or (),
                since=since(),
            )
            if not is_kept:
                return False
            if not is_calm:
                await self._changes.save_more(connection, task, after, source="poll", now=now)
                _time(connection, task, after, now=now)
        for count in _ignored(task, told):
            count()
        return True

    async def poll_failed(self, connection: Connection, claim: Claim, error: ProviderError) -> None:
        """Note why a poll told nothing, and plan the next one."""
        now = self._clock.now()
        task = await store.find_task(connection, claim.task_id, lock=True)
        if task is None:
            return
        failure = _failure(error)
        last = LastError(code=error.code, message=error.message, request_id=error.request_id, at=now)
        after = merging.failed(task, last, failure, now=now)
        if after.tracking is Tracking.EXPIRED:
            after = weigh(after, await self._hearing.evidence(connection, claim.task_id))
        after = await self._changes.save(connection, task, after, source="poll", now=now)
        if failure is Failure.TROUBLE:
            again = now + TROUBLE_PAUSE * (1 + self._clock.jitter())
            await polls.put_off(connection, claim, again)
        else:
            await self._plan(connection, claim, after, now=now)

    async def _plan(self, connection: Connection, claim: Claim, task: Task, *, now: datetime) -> None:
        planned = self._next_poll(task, now=now)
        if planned is None:
            await polls.finish(connection, claim)
        else:
            await polls.plan(connection, claim, planned)

    def _next_poll(self, task: Task, *, now: datetime) -> Plan | None:
        jitter, pace = self._clock.jitter(), self._pace(task.app_id)
        return next_poll(task, now=now, jitter=jitter, policy=self._policy, pace=pace)


def _told_again(before: Task, after: Task) -> list[str] | None:
    """The files of which the answer told what was known; None if it told anything else of a file."""
    changed = [file_id for file_id, file in after.files.items() if before.files.get(file_id) != file]
    for file_id in changed:
        known = before.files.get(file_id)
        if known is None or replace(after.files[file_id], claim_no=known.claim_no) != known:
            return None
    return changed


def _ignored(task: Task, told: Described) -> list[Callable[[], None]]:
    """What counts the parts of an answer that meant nothing."""
    times = filter(None, [told.observation.began_at, told.observation.ended_at])
    impossible = sum(not task.is_possible(moment) for moment in times)
    counted = Counter(told.ignored) + Counter(time=impossible)
    return [partial(metrics.ANSWERS_IGNORED.labels(task.app_id, kind).inc, number) for kind, number in counted.items()]


def _time(connection: Connection, before: Task, after: Task, *, now: datetime) -> None:
    """Measure how soon we knew."""
    delay, settling = detection_delay(before, after, now=now), settling_delay(before, after, now=now)
    if delay is not None:
        histogram = metrics.DETECTION.labels(after.app_id, found_by(before))
        after_commit(connection, partial(histogram.observe, delay))
    if settling is not None:
        after_commit(connection, partial(metrics.SETTLING.labels(after.app_id).observe, settling))


def _failure(error: ProviderError) -> Failure:
    if isinstance(error, TaskUnknown):
        return Failure.NOT_FOUND
    if isinstance(error, TaskRefused):
        return Failure.REFUSED
    return Failure.UNKNOWN if isinstance(error, AnswerUnknown) else Failure.TROUBLE
