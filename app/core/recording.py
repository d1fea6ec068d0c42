"""What we know of a recording task, and how each thing somebody tells us changes it.

This module decides and touches nothing: no clock, no database, no network. Applying observations is independent of
their order and repetition: of the task's own facts the highest claim wins; a file is described by the observation with
the greatest (rank of its status, claim), so its rank only rises; files never vanish.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import Enum, IntFlag, StrEnum
from typing import TypeVar

T = TypeVar("T")

QUERY_WINDOW = timedelta(days=3)
"""The provider answers only for tasks that started less than this ago (DescribeRecordStatus, all editions)."""

BACKUP_KEPT = timedelta(days=3)
"""How long the provider keeps a file in its backup store; when that begins is not documented."""

NOT_FOUND_PATIENCE = timedelta(minutes=10)
"""A task that is not known to the provider for this long needs a person's attention."""

FAILING_AFTER = 5
"""This many failures in a row need a person's attention."""


class Status(StrEnum):
    """The recording's own state, in the provider's terms; `pending` until it was seen, `unknown` for new numbers."""

    PENDING = "pending"
    INITIALIZED = "initialized"
    ONGOING = "ongoing"
    PAUSED = "paused"
    COMPLETED = "completed"
    ENDED_ABNORMALLY = "ended_abnormally"
    UNKNOWN = "unknown"

    @property
    def ended(self) -> bool:
        return self in (Status.COMPLETED, Status.ENDED_ABNORMALLY)


class FileStatus(StrEnum):
    """Where a file stands on its way to the customer's storage."""

    RECORDING = "recording"
    UPLOADING = "uploading"
    UPLOADED = "uploaded"
    UPLOADED_TO_BACKUP = "uploaded_to_backup"
    LOST = "lost"
    UNKNOWN = "unknown"

    @property
    def rank(self) -> int:
        """recording < uploading < at its end. An unknown number ranks with uploading: under way, not at its end."""
        return {FileStatus.RECORDING: 0, FileStatus.UPLOADING: 1, FileStatus.UNKNOWN: 1}.get(self, 2)

    @property
    def at_end(self) -> bool:
        return self.rank == 2


class Tracking(StrEnum):
    """What we are doing about the task."""

    ACTIVE = "active"
    SETTLED = "settled"
    EXPIRED = "expired"
    UNTRACKED = "untracked"


class Outcome(StrEnum):
    """What became of the recording's files."""

    LOST = "lost"
    PARTIALLY_LOST = "partially_lost"
    UPLOADED_TO_BACKUP = "uploaded_to_backup"
    UPLOADED = "uploaded"
    NO_FILES = "no_files"
    UNRESOLVED = "unresolved"


class Basis(StrEnum):
    """Where the start of the query window is known from, best first."""

    PROVIDER = "provider"
    CALLER = "caller"
    TASK_ID = "task_id"
    REGISTRATION = "registration"


class Attention(IntFlag):
    """Why a person should look; stored as a number, shown as words."""

    FAILING = 1
    NOT_FOUND = 2
    EXPIRING = 4
    LOST = 8
    BACKUP_EXPIRING = 16

    @property
    def words(self) -> list[str]:
        return [(flag.name or "").lower() for flag in self]


NO_ATTENTION = Attention(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenFile:
    """What one answer says of one file. Sizes in bytes, durations in milliseconds, resolutions in pixels."""

    file_id: str
    status: FileStatus
    status_code: int | None = None
    user_id: str | None = None
    user_name: str | None = None
    stream_id: str | None = None
    video_id: str | None = None
    file_url: str | None = None
    output_file_format: str | None = None
    file_size: int | None = None
    duration_ms: int | None = None
    resolution_width: int | None = None
    resolution_height: int | None = None
    media_track_type_code: int | None = None
    began_at: datetime | None = None
    custom_begin_timestamp: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one answer says of a task. ``claim_no``: the number of the claim that asked; ``asked_at``: when."""

    claim_no: int
    asked_at: datetime
    status: Status
    status_code: int | None = None
    room_id: str | None = None
    record_mode_code: int | None = None
    stream_type_code: int | None = None
    began_at: datetime | None = None
    ended_at: datetime | None = None
    files: tuple[SeenFile, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file as we know it: the winning description, the claim it came with, and when things were first seen."""

    seen: SeenFile
    claim_no: int
    first_seen_at: datetime
    updated_at: datetime
    reached_end_at: datetime | None = None
    source: str = "poll"

    @property
    def backup_expires_at(self) -> datetime | None:
        if self.seen.status is not FileStatus.UPLOADED_TO_BACKUP or self.reached_end_at is None:
            return None
        return self.reached_end_at + BACKUP_KEPT


class Failure(Enum):
    """Why a poll told nothing about its task."""

    TROUBLE = "the app's trouble: the provider is away, throttles, or refuses the whole app"
    NOT_FOUND = "the provider does not know the TaskId"
    REFUSED = "the provider refuses this task"
    UNKNOWN = "an answer that cannot be read"


@dataclass(frozen=True, slots=True, kw_only=True)
class LastError:
    """Why the newest poll told nothing."""

    code: str
    message: str
    request_id: str | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Polling:
    """How asking about the task goes; no change here makes a new version."""

    last_polled_at: datetime | None = None
    next_poll_at: datetime | None = None
    poll_count: int = 0
    consecutive_failures: int = 0
    last_error: LastError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A registered recording task. ``files`` may be left out (a list of tasks); ``file_counts`` always counts all."""

    task_id: str
    app_id: int
    registered_at: datetime
    updated_at: datetime
    registered_via: str = "api"
    version: int = 1
    labels: Mapping[str, str] = field(default_factory=dict)
    started_at: datetime | None = None
    tracking: Tracking = Tracking.ACTIVE
    status: Status = Status.PENDING
    status_code: int | None = None
    claim_no: int = 0
    """The highest claim applied: the one ``status`` comes from."""
    room_id: str | None = None
    record_mode_code: int | None = None
    stream_type_code: int | None = None
    began_at: datetime | None = None
    ended_at: datetime | None = None
    end_first_asked_at: datetime | None = None
    end_last_asked_at: datetime | None = None
    """The earliest and the latest moment at which somebody asked and was told that the task had ended."""
    not_found_since: datetime | None = None
    settled_at: datetime | None = None
    closed_at: datetime | None = None
    """When it last stopped being active: settled, expired or untracked."""
    outcome: Outcome | None = None
    outcome_basis: str | None = None
    attention: Attention = NO_ATTENTION
    file_counts: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, File] = field(default_factory=dict)
    polling: Polling = Polling()

    @property
    def window(self) -> tuple[datetime, Basis]:
        """When the provider stops answering for this task, and how the start it counts from is known."""
        start, basis = self._start
        return start + QUERY_WINDOW, basis

    @property
    def _start(self) -> tuple[datetime, Basis]:
        if self.began_at is not None:
            return self.began_at, Basis.PROVIDER
        if self.started_at is not None:
            return self.started_at, Basis.CALLER
        hint = creation_time(self.task_id)
        if hint is not None and self.registered_at - QUERY_WINDOW <= hint <= self.registered_at + timedelta(minutes=5):
            return hint, Basis.TASK_ID
        return self.registered_at, Basis.REGISTRATION


def creation_time(task_id: str) -> datetime | None:
    """The time that TaskIds seem to carry in their first four bytes (inferred from samples, never documented)."""
    try:
        seconds = int.from_bytes(base64.urlsafe_b64decode(task_id)[:4], "big")
        return datetime.fromtimestamp(seconds, UTC)
    except ValueError:
        return None


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
    lost = any(file.seen.status is FileStatus.LOST for file in task.files.values())
    return replace(
        task,
        tracking=tracking,
        settled_at=(task.settled_at or now) if tracking is Tracking.SETTLED else None,
        closed_at=None if active else now if began_closing else task.closed_at or now,
        outcome=None if active else outcome(task),
        outcome_basis=None if active else "poll",
        attention=task.attention | Attention.LOST if lost else task.attention & ~Attention.LOST,
        file_counts=dict(Counter(file.seen.status.value for file in task.files.values())),
    )


def is_over(task: Task) -> bool:
    """Whether the task has ended and every listed file is at its end.

    An empty list counts only if somebody asked at least 60 s after the end (180 s after an abnormal one: the file of
    a fail-over is listed late).
    """
    if not task.status.ended:
        return False
    if task.files:
        return all(file.seen.status.at_end for file in task.files.values())
    asked, end = task.end_last_asked_at, task.ended_at
    if asked is None:
        return False
    if end is None or end > asked:  # not told, or told by a clock that is ahead of ours
        end = task.end_first_asked_at
    return end is not None and asked - end >= empty_list_grace(task.status)


def empty_list_grace(status: Status) -> timedelta:
    """How long after the end an empty list of files is not yet believed."""
    return timedelta(seconds=180 if status is Status.ENDED_ABNORMALLY else 60)


def outcome(task: Task) -> Outcome:
    """What became of the files, for a task that is no longer active."""
    states = {file.seen.status for file in task.files.values()}
    if states == {FileStatus.LOST}:
        return Outcome.LOST
    if FileStatus.LOST in states:
        return Outcome.PARTIALLY_LOST
    if FileStatus.UPLOADED_TO_BACKUP in states:
        return Outcome.UPLOADED_TO_BACKUP
    if not is_over(task):
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
