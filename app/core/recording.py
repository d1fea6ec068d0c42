"""What we know of a recording task and its files, and what one answer says of them, as values."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import field
from datetime import UTC, datetime, timedelta
from enum import Enum, IntFlag, StrEnum
from functools import lru_cache
from typing import NamedTuple, TypeVar

from app.core.told import NOTHING_TOLD, Told
from app.core.values import value

T = TypeVar("T")

QUERY_WINDOW = timedelta(days=3)
"""The provider answers only for tasks that started less than this ago (DescribeRecordStatus, all editions)."""

SLACK = timedelta(days=1)
"""How far a time told by the provider may lie outside the window around a task's registration, by a clock gone wrong;
what lies farther out cannot be (seconds for milliseconds, another year) and decides nothing."""

BACKUP_KEPT = timedelta(days=3)
"""How long the provider keeps a file in its backup store; when that begins is not documented."""

BACKUP_WARNING = timedelta(days=1)
"""How long before its end a backup copy is warned of."""


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
        return [(flag.name or "").lower() for flag in self] if self else []


NO_ATTENTION = Attention(0)


@value
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


@value
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


@value
class File:
    """A file as we know it: the winning description, the claim it came with, and when things were first seen.

    ``source``: `poll`, or `callback` for one that only callbacks told of; such a file is outside merging and outcome.
    """

    seen: SeenFile
    claim_no: int
    first_seen_at: datetime
    updated_at: datetime
    reached_end_at: datetime | None = None
    source: str = "poll"

    @property
    def polled(self) -> bool:
        return self.source == "poll"

    def backup_goes(self, now: datetime) -> bool:
        """Whether its copy in the provider's backup store goes within a day."""
        at = self.backup_expires_at
        return at is not None and at - BACKUP_WARNING <= now < at

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


@value
class LastError:
    """Why the newest poll told nothing."""

    code: str
    message: str
    request_id: str | None
    at: datetime


@value
class Polling:
    """How asking about the task goes; no change here makes a new version.

    ``listed``: the status number under which the provider's list of running tasks last showed it; 0: it left that list.
    """

    last_polled_at: datetime | None = None
    next_poll_at: datetime | None = None
    listed: int | None = None
    poll_count: int = 0
    consecutive_failures: int = 0
    last_error: LastError | None = None


class Whose(NamedTuple):
    """What is shown of its task beside a file."""

    task_id: str
    app_id: int
    room_id: str | None


@value
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
    told: Told = NOTHING_TOLD
    polling: Polling = Polling()

    @property
    def polled_files(self) -> list[File]:
        """The files that polls told of."""
        return [file for file in self.files.values() if file.polled]

    @property
    def window(self) -> tuple[datetime, Basis]:
        """When the provider stops answering for this task, and how the start it counts from is known."""
        start, basis = _start(self.task_id, self.registered_at, self.started_at, self.began_at)
        return start + QUERY_WINDOW, basis

    def is_possible(self, moment: datetime) -> bool:
        """Whether this task can have begun or ended then, as the provider tells times."""
        return abs(moment - self.registered_at) <= QUERY_WINDOW + SLACK


@lru_cache(maxsize=1000)
def _start(
    task_id: str, registered_at: datetime, started_at: datetime | None, began_at: datetime | None
) -> tuple[datetime, Basis]:
    if began_at is not None:
        # It began before it was registered, so this is never too early.
        possible = abs(began_at - registered_at) <= QUERY_WINDOW + SLACK
        return (began_at, Basis.PROVIDER) if possible else (registered_at, Basis.REGISTRATION)
    if started_at is not None:
        return started_at, Basis.CALLER
    hint = creation_time(task_id)
    if hint is not None and registered_at - QUERY_WINDOW <= hint <= registered_at + timedelta(minutes=5):
        return hint, Basis.TASK_ID
    return registered_at, Basis.REGISTRATION


def creation_time(task_id: str) -> datetime | None:
    """The time that TaskIds seem to carry in their first four bytes (inferred from samples, never documented)."""
    try:
        seconds = int.from_bytes(base64.urlsafe_b64decode(task_id)[:4], "big")
        return datetime.fromtimestamp(seconds, UTC)
    except ValueError:
        return None
