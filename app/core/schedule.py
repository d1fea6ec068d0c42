"""When to ask about a task next. Pure: the task, ``now``, a random number and the app's pace in, a plan out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum

from app.core.merging import empty_list_grace, known_end
from app.core.recording import Outcome, Status, Task, Tracking

SECOND = timedelta(seconds=1)


class Urgency(IntEnum):
    """The classes of polls; all but the first are stored, as numbers."""

    DEADLINE = 0
    """The window closes soon and the task has had no last look: read from ``closes_at``, whatever the stored class."""
    HURRIED = 1
    """A callback, a single registration, a sweep's finding; and every claimed task until it is planned anew."""
    REFRESH = 2
    PROMPT = 3
    """Files are uploading; the fixed points before the window closes."""
    ROUTINE = 4
    """The even sweep over recordings; retries."""
    BATCH = 5
    """The first polls of tasks that were registered together."""
    LOOK = 6
    """Looks at settled tasks: on spare budget alone."""


EARLY = (Urgency.PROMPT, Urgency.ROUTINE)
"""The classes that spare budget may poll before they are due, from ``early_at`` on."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The intervals. Each is spread by jitter, so that tasks registered together do not stay together."""

    recording: timedelta = timedelta(seconds=30)
    """Between two polls of a recording at least; with many recordings it is one round over all of them."""
    recording_early: timedelta = timedelta(seconds=15)
    vouched: timedelta = timedelta(minutes=5)
    """Between two polls of a recording that the provider's list of running tasks vouches for."""
    typical_length: timedelta = timedelta(minutes=45)
    """Of a recording: a young one is not yet worth its share of the polls."""
    uploading: timedelta = timedelta(seconds=15)
    uploading_early: timedelta = timedelta(seconds=5)
    uploading_most: timedelta = timedelta(minutes=3)
    uploading_after_long: timedelta = timedelta(minutes=10)
    each_file: timedelta = timedelta(milliseconds=5)
    """Polls of a task come no faster than so much for each of its files: taking in ten thousand takes seconds."""
    retry_first: timedelta = timedelta(seconds=5)
    retry_most: timedelta = timedelta(minutes=10)
    looks_after_settling: tuple[timedelta, ...] = (
        timedelta(minutes=1),
        timedelta(minutes=10),
        timedelta(hours=1),
    )
    look_again: timedelta = timedelta(hours=6)
    before_deadline: tuple[timedelta, ...] = (timedelta(minutes=10), timedelta(minutes=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """How the tasks whose windows close fit into the budget.

    Tasks whose window closes within ``horizon`` get their last look now. Of ``tasks`` waiting for one,
    ``unservable`` cannot be served in time; the first of them are those whose window closes in ``short_in``.
    """

    tasks: int = 0
    horizon: timedelta = timedelta(minutes=10)
    pressing: bool = False
    """They need most of the budget: first polls of batches that can wait must."""
    unservable: int = 0
    short_in: timedelta | None = None
    load: float = 0.0
    """The share of the calls until some deadline that they need, where that is largest; above 1 it is too much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What one app's calls can carry at present.

    ``rate``: polls a second. ``crowding``: how long one round over all recordings is to take. ``waiting``: how long the
    first polls of batches take. ``vouched``: the provider's list of running tasks was swept lately, so what it shows as
    running needs few polls.
    """

    rate: float = 10.0
    crowding: timedelta = timedelta(0)
    waiting: timedelta = timedelta(0)
    vouched: bool = False
    closing: Closing = Closing()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """When to poll: due ``at``, on spare budget from ``early_at``, and by all means before ``closes_at``."""

    urgency: Urgency
    at: datetime
    early_at: datetime | None = None
    closes_at: datetime | None = None


_D, _H, _R, _P, _O, _B, _L = Urgency
_HURRIED_FIRST, _DEADLINES_FIRST = (_H, _D, _R, _P, _O, _B, _L), (_D, _H, _P, _O, _R, _B, _L)
_ROTATION = (
    _HURRIED_FIRST, _DEADLINES_FIRST, (_P, _O, _D, _H, _R, _B, _L),
    _HURRIED_FIRST, _DEADLINES_FIRST, (_O, _P, _D, _H, _R, _B, _L),
    _HURRIED_FIRST, _DEADLINES_FIRST, (_R, _P, _O, _D, _H, _B, _L),
    _DEADLINES_FIRST, _HURRIED_FIRST, (_B, _D, _H, _P, _O, _R, _L),
)  # fmt: skip


def claim_order(turn: int, *, pressing: bool = False) -> tuple[Urgency, ...]:
    """Which class to look at first when claiming for the ``turn``-th time; ``pressing``: see Closing.

    Deadlines and hurried tasks in turns, so that neither a day of many deadlines nor a flood of callbacks delays the
    other; refreshes at most every second claim while others wait; and every class but the looks is the first in one
    claim out of twelve, so nothing starves.
    """
    order = _ROTATION[turn % len(_ROTATION)]
    return _DEADLINES_FIRST if pressing and order[0] is _B else order


def next_poll(task: Task, *, now: datetime, jitter: float, policy: Policy, pace: Pace) -> Plan | None:
    """When to ask about this task again and how urgently, or None: never again.

    ``jitter`` in [0, 1).
    """
    if task.tracking is Tracking.SETTLED:
        return _look_again(task, now=now, policy=policy)
    if task.tracking is not Tracking.ACTIVE:
        return None
    spread = 0.9 + 0.2 * jitter
    early: timedelta | None = None
    if task.polling.consecutive_failures:
        urgency, wait = Urgency.ROUTINE, backoff(task.polling.consecutive_failures, jitter=jitter, policy=policy)
    elif task.status.ended:
        wait, early = _while_uploading(task, now=now, policy=policy, pace=pace)
        urgency, wait = Urgency.PROMPT, _not_past(_when_believed(task, now=now), wait * spread, now=now)
    else:
        wait, early = _while_recording(task, now=now, policy=policy, pace=pace)
        urgency, wait = Urgency.ROUTINE, wait * spread
    if early is not None:
        least = sum(task.file_counts.values()) * policy.each_file
        early, wait = max(early, least), max(wait, least)
    at = now + wait
    point = _point_before(at, task, now=now, policy=policy)
    deadline = task.window[0]
    return Plan(
        urgency=Urgency.PROMPT if point else urgency,
        at=point or at,
        early_at=min(now + early * spread, point or at) if early is not None else None,
        closes_at=deadline if now < deadline - pace.closing.horizon else None,
    )


def backoff(failures: int, *, jitter: float, policy: Policy) -> timedelta:
    """The wait after the ``failures``-th failure in a row: doubling, between half and the whole of it at random."""
    doubled = policy.retry_first * (1 << min(failures - 1, 20))
    return min(doubled, policy.retry_most) * (0.5 + 0.5 * jitter)


def longest_wait(policy: Policy, pace: Pace) -> timedelta:
    """How far ahead a followed task's next poll is planned at most."""
    young = math.sqrt(policy.typical_length.total_seconds() * pace.crowding.total_seconds()) * SECOND
    waits = (policy.retry_most, policy.uploading_after_long, policy.vouched, policy.recording, young)
    return 1.2 * max(*waits, pace.crowding + pace.waiting)


def _while_recording(task: Task, *, now: datetime, policy: Policy, pace: Pace) -> tuple[timedelta, timedelta | None]:
    """One round for all, after a first wait: what has only just begun seldom ends. When due, and from when early."""
    if pace.vouched and task.polling.listed is not None and task.polling.listed == task.status_code:
        return max(policy.vouched, policy.recording), None
    gap = max(pace.crowding + pace.waiting, policy.recording)
    typical, crowding = policy.typical_length.total_seconds(), pace.crowding.total_seconds()
    age = max(0.0, (now - (task.began_at or task.registered_at)).total_seconds())
    return max(gap, (math.sqrt(typical * crowding) - age) * SECOND), policy.recording_early


def _while_uploading(task: Task, *, now: datetime, policy: Policy, pace: Pace) -> tuple[timedelta, timedelta]:
    """Fast at first, then backing off: an upload that took long already will take long still."""
    since_end = now - (task.end_first_asked_at or now)
    gap = min(max(pace.crowding / 16, policy.uploading), policy.uploading_most)
    gap = max(gap, min(since_end / 20, policy.uploading_after_long))
    early = max(policy.uploading_early, min(since_end / 60, policy.uploading_after_long))
    return gap, early


def _not_past(moment: datetime | None, wait: timedelta, *, now: datetime) -> timedelta:
    return min(wait, moment - now) if moment else wait


def _when_believed(task: Task, *, now: datetime) -> datetime | None:
    """When a task that ended without files settles by the next answer, if that is to come."""
    if not task.status.ended or task.polled_files or (end := known_end(task)) is None:
        return None
    at = end + empty_list_grace(task.status) + SECOND / 2
    return at if at > now else None


def _point_before(at: datetime, task: Task, *, now: datetime, policy: Policy) -> datetime | None:
    """The first of the fixed points before the window closes, if it comes sooner than ``at``."""
    deadline, _ = task.window
    points = (deadline - before for before in policy.before_deadline)
    return next((point for point in points if now < point < at), None)


def _look_again(task: Task, *, now: datetime, policy: Policy) -> Plan | None:
    """A settled task is looked at a few times more, since what the provider lists can still change."""
    if task.settled_at is None or task.status is Status.PENDING:
        return None
    deadline, _ = task.window
    looks = [task.settled_at + after for after in policy.looks_after_settling]
    if task.outcome is not Outcome.UPLOADED:
        looks += [now + policy.look_again, deadline - policy.before_deadline[0]]
    due = min((look for look in looks if now < look < deadline), default=None)
    return Plan(urgency=Urgency.LOOK, at=due) if due else None


CLOSING_EDGES = tuple(timedelta(minutes=m) for m in (1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 360))
"""The ends of the spans in which tasks whose window closes are counted."""

_START_BY = 0.7
"""The share of the budget that closing windows may count on; the rest is for what happens meanwhile."""


def closing(counts: Sequence[int], *, rate: float, policy: Policy) -> Closing:
    """How much of the budget closing windows take; ``counts[i]``: those that close within ``CLOSING_EDGES[i]``.

    Where the tasks up to some deadline need all the time there is until then, work on them begins now, most urgent
    first.
    """
    horizon, pressing, unservable, short_in, load = policy.before_deadline[0], False, 0, None, 0.0
    for edge, count in zip(CLOSING_EDGES, counts, strict=True):
        could = rate * edge.total_seconds()
        load = max(load, count / could)
        if count >= _START_BY * could:
            horizon, pressing = max(horizon, edge), True
        if count > could:
            unservable = max(unservable, math.ceil(count - could))
            short_in = short_in or edge
    return Closing(
        tasks=counts[-1], horizon=horizon, pressing=pressing, unservable=unservable, short_in=short_in, load=load
    )
