"""The shapes of requests and answers, for checking and for the API documentation."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from app.clock import to_milliseconds
from app.core.recording import FileStatus, Outcome, Status, Tracking

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


def _aware(value: Any) -> datetime:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value
    if not isinstance(value, str):
        raise ValueError('give a time as text with its offset, like "2026-01-31T18:00:00Z"; a number has no unit')
    if not _RFC3339.fullmatch(value):
        hint = "; in a query write + as %2B" if re.search(r"\d \d\d:\d\d$", value) else ""
        raise ValueError(f'give a time with its offset, like "2026-01-31T18:00:00Z" (RFC 3339){hint}')
    try:
        return to_milliseconds(datetime.fromisoformat(value.upper()).astimezone(UTC))
    except (ValueError, OverflowError):
        raise ValueError("there is no such time") from None


def _storable(value: str) -> str:
    if "\x00" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ValueError("holds a character that cannot be stored (NUL or a lone surrogate)")
    return value


Moment = Annotated[
    datetime,
    BeforeValidator(_aware),
    Field(json_schema_extra={"type": "string", "format": "date-time"}),
]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
AnyText = Annotated[str, AfterValidator(_storable)]
StorableText = Annotated[AnyText, Field(max_length=1024)]

TASK_ID = r"^[A-Za-z0-9_-]{16}$"
TaskId = Annotated[str, Field(pattern=TASK_ID, description="The provider's TaskId; case-sensitive.")]
TaskIdPath = Annotated[str, Path(pattern=TASK_ID, description="The provider's TaskId.")]
LabelKey = Annotated[str, Field(pattern=r"^[a-z0-9._-]{1,63}$")]
LabelValue = Annotated[AnyText, Field(max_length=255)]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=16)]


class In(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TaskIn(In):
    """A recording task to follow."""

    task_id: TaskId
    app_id: Annotated[
        int | None,
        Field(strict=True, description="The provider's AppId; may be left out while one app is configured."),
    ] = None
    started_at: Annotated[
        Moment | None,
        Field(
            description="When the recording began, if you know; until the provider tells, "
            "it dates the end of its 3-day query window."
        ),
    ] = None
    labels: Annotated[Labels, Field(description="Yours to find tasks by; at most 16.")] = {}


class BatchIn(In):
    """Many tasks at once. A fault of one item does not spoil the rest."""

    tasks: Annotated[list[Any], Field(min_length=1, max_length=1000, description="Each as for POST /v1/tasks.")]


class LabelsIn(In):
    """A merge patch: labels to set; `null` removes one."""

    labels: Annotated[dict[LabelKey, LabelValue | None], Field(max_length=1000)] = {}


class Out(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LastErrorOut(Out):
    """Why the newest poll told nothing."""

    code: str
    message: str
    request_id: Annotated[str | None, Field(description="The provider's RequestId, for its support.")]
    at: Time


class PollingOut(Out):
    """How asking the provider goes. A change here makes no new version."""

    last_polled_at: Annotated[Time | None, Field(description="When the provider last answered.")]
    next_poll_at: Time | None
    poll_count: int
    consecutive_failures: int
    last_error: LastErrorOut | None


class PlaylistOut(Out):
    """A live M3U8 address, known from a callback."""

    stream_id: str | None
    file_id: str | None
    url: str
    media_track_type: str | None


class NoticeOut(Out):
    """Something only a callback tells."""

    code: str
    detail: str
    first_at: Time
    last_at: Time
    count: int


class LastCallbackOut(Out):
    """The newest callback about the task."""

    event_type: Annotated[int | None, Field(description="The provider's number.")]
    event: str
    received_at: Time


class FileOut(Out):
    """A file of a recording."""

    task_id: str
    app_id: int
    room_id: str | None
    file_id: str
    status: FileStatus
    status_code: Annotated[int | None, Field(description="The provider's number.")]
    user_id: str | None
    user_name: str | None
    stream_id: str | None
    video_id: Annotated[str | None, Field(description="The id in Alibaba VOD or Tencent VOD.")]
    file_url: Annotated[str | None, Field(description="Not signed; null for Qiniu and Alibaba VOD though uploaded.")]
    output_file_format: str | None
    file_size: Annotated[int | None, Field(description="Bytes.")]
    duration_ms: Annotated[int | None, Field(description="Milliseconds.")]
    resolution_width: Annotated[int | None, Field(description="Pixels.")]
    resolution_height: Annotated[int | None, Field(description="Pixels.")]
    media_track_type: str | None
    media_track_type_code: int | None
    began_at: Time | None
    custom_begin_timestamp: int | None
    source: Annotated[Literal["poll", "callback"], Field(description="`callback`: unverified.")]
    first_seen_at: Time
    updated_at: Time
    reached_end_at: Time | None
    backup_expires_at: Annotated[
        Time | None,
        Field(description="When the provider's backup copy goes, 3 days after it was seen there."),
    ]


class TaskOut(Out):
    """A recording task as far as it is known. In a list, `files` stands only with `include=files`."""

    task_id: str
    app_id: int
    room_id: str | None
    labels: dict[str, str]
    registered_via: Literal["api", "sweep", "callback"]
    status: Status
    status_code: Annotated[int | None, Field(description="The provider's number; null until seen.")]
    tracking: Tracking
    outcome: Annotated[Outcome | None, Field(description="What became of the files; null while active.")]
    outcome_basis: Literal["poll", "callback"] | None
    attention: Annotated[list[str], Field(description="Why a person should look; empty when all is well.")]
    record_mode: str | None
    record_mode_code: int | None
    stream_type: str | None
    stream_type_code: int | None
    recording_began_at: Time | None
    recording_ended_at: Time | None
    query_deadline: Annotated[Time, Field(description="When the provider stops answering: start + 3 days.")]
    query_deadline_basis: Literal["provider", "caller", "task_id", "registration"]
    quit_reason: str | None
    quit_reason_code: int | None
    live_playlists: list[PlaylistOut]
    notices: list[NoticeOut]
    last_callback: LastCallbackOut | None
    file_counts: Annotated[dict[str, int], Field(description="Number of files by status.")]
    polling: PollingOut
    version: Annotated[int, Field(description="Moves with every change outside `polling` and `last_callback`.")]
    updated_at: Time
    registered_at: Time
    settled_at: Time | None
    files: Annotated[list[FileOut] | None, Field(description="The first 100 by `began_at`.")] = None
    files_truncated: bool | None = None


class BatchErrorOut(Out):
    """Why an item was refused."""

    code: str
    detail: str
    pointer: str


class BatchResultOut(Out):
    """What became of one item."""

    task_id: Annotated[str | None, Field(description="null if it could not be read.")]
    result: Literal["created", "existing", "conflict", "invalid"]
    error: BatchErrorOut | None = None


class BatchOut(Out):
    """What became of each item, in the order given, and how many of each."""

    results: list[BatchResultOut]
    created: int
    existing: int
    conflict: int
    invalid: int


EventsAfter = Annotated[
    str | None, Field(description="On first pages: follow `/v1/events?after=` from here, once all pages are copied.")
]


class TaskPage(Out):
    """A page of tasks."""

    items: list[TaskOut]
    next_cursor: str | None
    missing: Annotated[
        list[str] | None, Field(description="Of the `task_id`s asked for, those that are not registered.")
    ] = None
    events_after: EventsAfter = None


class FilePage(Out):
    """A page of files."""

    items: list[FileOut]
    next_cursor: str | None
    events_after: EventsAfter = None


class EventOut(Out):
    """Something that changed."""

    id: str
    seq: int
    type: str
    occurred_at: Time
    app_id: Annotated[int | None, Field(description="null, as the next two, where it is about no task.")]
    task_id: str | None
    task_version: int | None
    source: Literal["poll", "callback", "sweep", "api", "timer"]
    data: dict[str, Any]


class EventPage(Out):
    """A page of a task's history."""

    items: list[EventOut]
    next_cursor: str | None


class ProblemFault(Out):
    """One thing wrong with a request."""

    pointer: Annotated[str, Field(description="JSON pointer into the body, or the parameter's name.")]
    detail: str


class ProblemOut(Out):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str | None
    errors: list[ProblemFault] | None = None
    oldest: Annotated[str | None, Field(description="With `feed_position_lost`: the feed goes on from here …")] = None
    latest: Annotated[str | None, Field(description="… to here.")] = None
