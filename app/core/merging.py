"""How each thing that polls and callers tell us changes a task; what callbacks tell is in hearing.py.

This module decides and touches nothing: no clock, no database, no network. Applying observations is independent of
their order and repetition: of the task's own facts the highest claim wins; a file is described by the observation with
the greatest (rank of its status, claim), so its rank only rises; files never vanish.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TypeVar

from app.core.recording import (
    Attention,
    Failure,
    File,
    FileStatus,
    LastError,
    Observation,
    Outcome,
    SeenFile,
    Status,
    Task,
    Tracking,
)
from app.core.values import replace

T = TypeVar("T")

NOT_FOUND_PATIENCE = timedelta(minutes=10)
"""A task that is not known to the provider for this long needs a person's attention."""

EXPIRING_BEFORE = timedelta(hours=6)
"""How long before its window closes an unsettled task needs a person's attention."""

FAILING_AFTER = 5
"""This many failures in a row need a person's attention."""


def apply(task: Task, seen: Observation, *, now: datetime) -> Task:
    """The task after one observation. Order, repetition and concurrency of observations make no difference."""
    newest = seen.claim_no > task.claim_no

    def identity(known: T | None, told: T | None) -> T | None:
        first, second = (told, known) if newest else (known, told)
        return second if first is None else first

    ended = [seen.asked_at] if seen.status.ended else []
    task = replace(
        task,
        claim_no=max(task.claim_no, seen.claim_no),
        room_id=identity(task.room_id, seen.room_id),
        record_mode_code=identity(task.record_mode_code, seen.record_mode_code),
        stream_type_code=identity(task.stream_type_code, seen.stream_type_code),
        began_at=identity(task.began_at, seen.began_at),
        end_first_asked_at=min([*filter(None, [task.end_first_asked_at]), *ended], default=None),
        end_last_asked_at=max([*filter(None, [task.end_last_asked_at]), *ended], default=None),
        files=merge_files(task.files, seen, now=now),
    )
    if newest:
        task = replace(task, status=seen.status, status_code=seen.status_code, ended_at=seen.ended_at)
        if not seen.status.ended:  # it runs again: what was asked before says nothing of its next end
            task = replace(task, end_first_asked_at=None)
    return conclude(task, now=now)


def merge_files(known: Mapping[str, File], seen: Observation, *, now: datetime) -> dict[str, File]:
    """All files ever seen, each described by the observation with the greatest (rank, claim)."""
    files = dict(known)
    for told in seen.files:
        old = files.get(told.file_id)
        files[told.file_id] = _merge_file(old, told, seen, now=now) if old else _new_file(told, seen, now=now)
    return files


def _new_file(told: SeenFile, seen: Observation, *, now: datetime) -> File:
    return File(
        seen=told,
        claim_no=seen.claim_no,
        first_seen_at=seen.asked_at,
        updated_at=now,
        reached_end_at=seen.asked_at if told.status.at_end else None,
    )


def _merge_file(old: File, told: SeenFile, seen: Observation, *, now: datetime) -> File:
    if not old.polled:  # until now only a callback told of it, and that counts for nothing beside an answer
        return replace(_new_file(told, seen, now=now), first_seen_at=min(old.first_seen_at, seen.asked_at))
    wins = (told.status.rank, seen.claim_no) > (old.seen.status.rank, old.claim_no)
    ends = [seen.asked_at if told.status.at_end else None, old.reached_end_at]
    merged = replace(
        old,
        seen=told if wins else old.seen,
        claim_no=seen.claim_no if wins else old.claim_no,
        first_seen_at=min(old.first_seen_at, seen.asked_at),
        reached_end_at=min(filter(None, ends), default=None),
    )
    changed = merged.seen != old.seen or merged.reached_end_at != old.reached_end_at
    return replace(merged, updated_at=now) if changed else merged


def conclude(task: Task, *, now: datetime) -> Task:
    """Draw the conclusions from a task's facts: counts, tracking, outcome, attention."""
    over = is_over(task)
    tracking = task.tracking
    if over and tracking in (Tracking.ACTIVE, Tracking.EXPIRED):
        tracking = Tracking.SETTLED
    elif not over and tracking is Tracking.SETTLED:
        tracking = Tracking.ACTIVE if now < task.window[0] else Tracking.EXPIRED
    active = tracking is Tracking.ACTIVE
    began_closing = task.tracking is Tracking.ACTIVE and not active
    task = replace(
        task,
        tracking=tracking,
        settled_at=(task.settled_at or now) if tracking is Tracking.SETTLED else None,
        closed_at=None if active else now if began_closing else task.closed_at or now,
        attention=_attention(task, active=active, now=now),
        file_counts=dict(Counter(file.seen.status.value for file in task.files.values())),
    )
    if active:
        return replace(task, outcome=None, outcome_basis=None)
    told_by_polls = outcome(task)
    if told_by_polls is Outcome.UNRESOLVED and tracking is Tracking.EXPIRED and task.outcome_basis == "callback":
        return task
    return replace(task, outcome=told_by_polls, outcome_basis="poll")


def _attention(task: Task, *, active: bool, now: datetime) -> Attention:
    """The flags that follow from a task's facts; the others stay."""
    lost = any(file.seen.status is FileStatus.LOST for file in task.polled_files)
    flags = task.attention | Attention.LOST if lost else task.attention & ~Attention.LOST
    backup_goes = any(file.backup_goes(now) for file in task.polled_files)
    flags = flags | Attention.BACKUP_EXPIRING if backup_goes else flags & ~Attention.BACKUP_EXPIRING
    return flags if active and is_expiring(task, now=now) else flags & ~Attention.EXPIRING


def is_over(task: Task) -> bool:
    """Whether the task has ended and every listed file is at its end.

    An empty list counts only if somebody asked at least 60 s after the end (180 s after an abnormal one: the file of
    a fail-over is listed late).
    """
    if not task.status.ended:
        return False
    if files := task.polled_files:
        return all(file.seen.status.at_end for file in files)
    asked, end = task.end_last_asked_at, known_end(task)
    return asked is not None and end is not None and asked - end >= empty_list_grace(task.status)


def known_end(task: Task) -> datetime | None:
    """When a task ended: as told, or as first seen if it was not told, or told by a clock that is ahead of ours."""
    told = task.ended_at
    if told is None or task.end_last_asked_at is None or told > task.end_last_asked_at or not task.is_possible(told):
        return task.end_first_asked_at
    return told


def empty_list_grace(status: Status) -> timedelta:
    """How long after the end an empty list of files is not yet believed."""
    return timedelta(seconds=180 if status is Status.ENDED_ABNORMALLY else 60)


def outcome(task: Task) -> Outcome:
    """What became of the files, for a task that is no longer active."""
    return outcome_of({file.seen.status for file in task.polled_files}, over=is_over(task))


def outcome_of(states: set[FileStatus], *, over: bool) -> Outcome:
    """What files in these states add up to; ``over``: nothing is under way any more."""
    if states == {FileStatus.LOST}:
        return Outcome.LOST
    if FileStatus.LOST in states:
        return Outcome.PARTIALLY_LOST
    if FileStatus.UPLOADED_TO_BACKUP in states:
        return Outcome.UPLOADED_TO_BACKUP
    if not over:
        return Outcome.UNRESOLVED
    return Outcome.UPLOADED if states else Outcome.NO_FILES


def answered(task: Task, *, at: datetime) -> Task:
    """The task after an answer about it was received: its failures are over."""
    polling = replace(
        task.polling,
        last_polled_at=at,
        poll_count=task.polling.poll_count + 1,
        consecutive_failures=0,
        last_error=None,
    )
    calm = task.attention & ~(Attention.FAILING | Attention.NOT_FOUND)
    return replace(task, polling=polling, not_found_since=None, attention=calm)


def failed(task: Task, error: LastError, failure: Failure, *, now: datetime) -> Task:
    """The task after a poll that told nothing.

    The app's trouble is not counted against the task. Not found after the window has closed is how the end of the
    window shows: such a task expires.
    """
    if failure is Failure.TROUBLE:
        return replace(task, polling=replace(task.polling, last_error=error))
    failures = task.polling.consecutive_failures + 1
    polling = replace(
        task.polling,
        last_polled_at=now,
        poll_count=task.polling.poll_count + 1,
        consecutive_failures=failures,
        last_error=error,
    )
    since = (task.not_found_since or now) if failure is Failure.NOT_FOUND else None
    task = replace(task, polling=polling, not_found_since=since)
    if task.tracking is not Tracking.ACTIVE:
        return task
    if _window_is_over(task, failure, now=now):
        return expired(task, now=now)
    flags = task.attention & ~(Attention.FAILING | Attention.NOT_FOUND)
    if since is not None and now - since >= NOT_FOUND_PATIENCE:
        flags |= Attention.NOT_FOUND
    elif since is None and failures >= FAILING_AFTER:
        flags |= Attention.FAILING
    return replace(task, attention=flags)


def mark(task: Task, error: LastError) -> Task:
    """The task with a reason why it is not polled."""
    return replace(task, polling=replace(task.polling, last_error=error))


def _window_is_over(task: Task, failure: Failure, *, now: datetime) -> bool:
    # Which code stands for a task outside the window is not documented; "not found" and "refused" both fit.
    # An answer that can never be read must not keep a task for ever: a day after the window is enough.
    patience = timedelta(0) if failure in (Failure.NOT_FOUND, Failure.REFUSED) else timedelta(days=1)
    return now >= task.window[0] + patience


def is_expiring(task: Task, *, now: datetime) -> bool:
    """Whether the window of a task closes soon, or has closed."""
    return now >= task.window[0] - EXPIRING_BEFORE


def expiring(task: Task) -> Task:
    """The task with the mark that its window closes soon."""
    return replace(task, attention=task.attention | Attention.EXPIRING)


def with_backups_watched(task: Task, *, now: datetime) -> Task:
    """The task with the mark that backup copies go soon, or without it when they are gone."""
    return replace(task, attention=_attention(task, active=task.tracking is Tracking.ACTIVE, now=now))


def expired(task: Task, *, now: datetime) -> Task:
    """The task after its window closed unsettled; its last known state stays."""
    return _close(task, Tracking.EXPIRED, now=now)


def untracked(task: Task, *, now: datetime) -> Task:
    """The task after a caller told us to stop; its last known state stays."""
    return _close(task, Tracking.UNTRACKED, now=now)


def _close(task: Task, tracking: Tracking, *, now: datetime) -> Task:
    """Nobody asks any more, so what went wrong with asking needs nobody's attention."""
    calm = task.attention & ~(Attention.FAILING | Attention.NOT_FOUND | Attention.EXPIRING)
    return conclude(replace(task, tracking=tracking, attention=calm, settled_at=None, closed_at=now), now=now)


def tracked(task: Task, *, now: datetime) -> Task:
    """The task after a caller told us to go on."""
    return conclude(replace(task, tracking=Tracking.ACTIVE), now=now)
