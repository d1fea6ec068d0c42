"""When to ask about a task next. Pure: the task, ``now`` and a random number in, a class and a date out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum

from app.core.recording import Outcome, Status, Task, Tracking


class Urgency(IntEnum):
    """The classes of polls, most urgent first; stored as numbers."""

    DEADLINE = 0
    HURRIED = 1
    REFRESH = 2
    ROUTINE = 3


@dataclass(frozen=True, slots=True)
class Policy:
    """The intervals. Each is spread by jitter, so that tasks registered together do not stay together."""

    ongoing: timedelta = timedelta(seconds=30)
    uploading_quick: timedelta = timedelta(seconds=5)
    quick_for: timedelta = timedelta(minutes=2)
    uploading_slow: timedelta = timedelta(seconds=30)
    retry_first: timedelta = timedelta(seconds=5)
    retry_most: timedelta = timedelta(minutes=10)
    looks_after_settling: tuple[timedelta, ...] = (
        timedelta(minutes=1),
        timedelta(minutes=10),
        timedelta(hours=1),
    )
    look_again: timedelta = timedelta(hours=6)
    before_deadline: tuple[timedelta, ...] = (timedelta(minutes=10), timedelta(minutes=1))


def claim_order(turn: int) -> tuple[Urgency, ...]:
    """Which class to look at first when claiming for the ``turn``-th time.

    Every fifth claim takes the oldest routine task, so nothing starves; refreshes get at most every second claim
    while routine tasks wait.
    """
    if turn % 5 == 4:
        return (Urgency.ROUTINE, Urgency.DEADLINE, Urgency.HURRIED, Urgency.REFRESH)
    if turn % 2:
        return (Urgency.DEADLINE, Urgency.HURRIED, Urgency.ROUTINE, Urgency.REFRESH)
    return (Urgency.DEADLINE, Urgency.HURRIED, Urgency.REFRESH, Urgency.ROUTINE)


def next_poll_at(task: Task, *, now: datetime, jitter: float, policy: Policy) -> tuple[Urgency, datetime] | None:
    """When to ask about this task again and how urgently, or None: never again.

    ``jitter`` in [0, 1).
    """
    if task.tracking is Tracking.SETTLED:
        return _look_again(task, now=now, policy=policy)
    if task.tracking is not Tracking.ACTIVE:
        return None
    if task.polling.consecutive_failures:
        wait = backoff(task.polling.consecutive_failures, jitter=jitter, policy=policy)
    else:
        wait = _interval(task, now=now, policy=policy) * (0.9 + 0.2 * jitter)
    return _not_past_deadline(task, now + wait, now=now, policy=policy)


def backoff(failures: int, *, jitter: float, policy: Policy) -> timedelta:
    """The wait after the ``failures``-th failure in a row: doubling, between half and the whole of it at random."""
    doubled = policy.retry_first * (1 << min(failures - 1, 20))
    return min(doubled, policy.retry_most) * (0.5 + 0.5 * jitter)


def _interval(task: Task, *, now: datetime, policy: Policy) -> timedelta:
    if not task.status.ended or task.end_first_asked_at is None:
        return policy.ongoing
    since_end = now - task.end_first_asked_at
    return policy.uploading_quick if since_end < policy.quick_for else policy.uploading_slow


def _not_past_deadline(task: Task, planned: datetime, *, now: datetime, policy: Policy) -> tuple[Urgency, datetime]:
    """``planned``, unless the window closes first: then one of the fixed points before its end."""
    deadline, _ = task.window
    points = (deadline - before for before in policy.before_deadline)
    urgent = next((point for point in points if now < point < planned), None)
    return (Urgency.DEADLINE, urgent) if urgent else (Urgency.ROUTINE, planned)


def _look_again(task: Task, *, now: datetime, policy: Policy) -> tuple[Urgency, datetime] | None:
    """A settled task is looked at a few times more, since what the provider lists can still change."""
    if task.settled_at is None or task.status is Status.PENDING:
        return None
    deadline, _ = task.window
    looks = [task.settled_at + after for after in policy.looks_after_settling]
    if task.outcome is not Outcome.UPLOADED:
        looks += [now + policy.look_again, deadline - policy.before_deadline[0]]
    due = min((look for look in looks if now < look < deadline), default=None)
    return (Urgency.ROUTINE, due) if due else None
