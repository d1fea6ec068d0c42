"""The shapes of answers about tasks, files and events."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from app.api.schemas import NextCursor, Out, Time
from app.api.words import (
    AttentionWord,
    EventName,
    EventSource,
    ItemResult,
    MediaTrackType,
    NoticeCode,
    QuitReason,
    RecordMode,
    RegisteredVia,
    Source,
    StreamType,
)
from app.core.recording import Basis, FileStatus, Outcome, Status, Tracking
from app.core.told import CallbackEvent

CODE = "The provider's number behind the word beside it."


class LastErrorOut(Out):
    """Why the newest poll told nothing."""

    code: Annotated[str, Field(description="What went wrong, as a stable word such as `throttled` or `bad_signature`.")]
    message: Annotated[str, Field(description="In words, for people.")]
    request_id: Annotated[str | None, Field(description="The provider's RequestId, for its support.")]
    at: Annotated[Time, Field(description="When.")]


class PollingOut(Out):
    """How asking the provider goes. A change here makes no new version."""

    last_polled_at: Annotated[Time | None, Field(description="When the provider last answered.")]
    next_poll_at: Annotated[
        Time | None, Field(description="When it is asked about next at the latest; null: not again.")
    ]
    poll_count: Annotated[int, Field(description="Answers recorded.")]
    consecutive_failures: Annotated[
        int, Field(description="Polls since the last good answer that told nothing about this task.")
    ]
    last_error: Annotated[LastErrorOut | None, Field(description="Null once a poll succeeds.")]


class PlaylistOut(Out):
    """A live M3U8 address, known from a callback."""

    stream_id: Annotated[str | None, Field(description="The stream it plays.")]
    file_id: Annotated[str | None, Field(description="The file it belongs to.")]
    url: Annotated[str, Field(description="Where the playlist is. Unverified: it comes from a callback.")]
    media_track_type: Annotated[MediaTrackType | None, Field(description="What it plays.")]


class NoticeOut(Out):
    """Something only a callback tells."""

    code: Annotated[NoticeCode, Field(description="What is told.")]
    detail: Annotated[str, Field(description="Which one, in the provider's words.")]
    first_at: Annotated[Time, Field(description="When it was told first.")]
    last_at: Annotated[Time, Field(description="When it was told last.")]
    count: Annotated[int, Field(description="How often it was told.")]


class LastCallbackOut(Out):
    """The newest callback about the task."""

    event_type: Annotated[int | None, Field(description="The provider's number.")]
    event: Annotated[CallbackEvent, Field(description="What it is about.")]
    received_at: Annotated[Time, Field(description="When it arrived here.")]


class FileOut(Out):
    """A file of a recording."""

    task_id: Annotated[str, Field(description="Of the recording it belongs to.")]
    app_id: Annotated[int, Field(description="The provider's AppId.")]
    room_id: Annotated[str | None, Field(description="The room that was recorded.")]
    file_id: Annotated[str, Field(description="The provider's name of it; unique within the task.")]
    status: Annotated[FileStatus, Field(description="Where it stands on its way to your storage.")]
    status_code: Annotated[int | None, Field(description="The provider's number.")]
    user_id: Annotated[str | None, Field(description="Who was recorded; null in mixed recordings.")]
    user_name: Annotated[str | None, Field(description="Personal data.")]
    stream_id: Annotated[str | None, Field(description="What was recorded; null in mixed recordings.")]
    video_id: Annotated[str | None, Field(description="The id in Alibaba VOD or Tencent VOD.")]
    file_url: Annotated[str | None, Field(description="Not signed; null for Qiniu and Alibaba VOD though uploaded.")]
    output_file_format: Annotated[str | None, Field(description="Such as `mp4` or `hls`.")]
    file_size: Annotated[int | None, Field(description="Bytes.")]
    duration_ms: Annotated[int | None, Field(description="Milliseconds.")]
    resolution_width: Annotated[int | None, Field(description="Pixels.")]
    resolution_height: Annotated[int | None, Field(description="Pixels.")]
    media_track_type: Annotated[MediaTrackType | None, Field(description="What it holds.")]
    media_track_type_code: Annotated[int | None, Field(description=CODE)]
    began_at: Annotated[Time | None, Field(description="When its content begins.")]
    custom_begin_timestamp: Annotated[
        int | None,
        Field(description="As given by whoever started the recording; milliseconds since 1970."),
    ]
    source: Annotated[
        Source,
        Field(description="`callback`: unverified, its body is not signed: check the host first."),
    ]
    first_seen_at: Annotated[Time, Field(description="When it was first told of.")]
    updated_at: Annotated[Time, Field(description="When it last changed here.")]
    reached_end_at: Annotated[Time | None, Field(description="When it was seen uploaded, in the backup store or lost.")]
    backup_expires_at: Annotated[
        Time | None,
        Field(description="When the provider's backup copy goes, 3 days after it was seen there."),
    ]


class TaskOut(Out):
    """A recording task as far as it is known. In a list, `files` stands only with `include=files`."""

    task_id: Annotated[str, Field(description="The provider's TaskId.")]
    app_id: Annotated[int, Field(description="The provider's AppId.")]
    room_id: Annotated[str | None, Field(description="The room that is recorded; null until known.")]
    labels: Annotated[dict[str, str], Field(description="Yours.")]
    registered_via: Annotated[RegisteredVia, Field(description="Who brought it here.")]
    status: Annotated[
        Status, Field(description="The recording's own state. `ended_abnormally` is not loss: judge by `outcome`.")
    ]
    status_code: Annotated[int | None, Field(description="The provider's number; null until seen.")]
    tracking: Annotated[
        Tracking,
        Field(description="What is done about it: `active`, it is followed; `settled`, all is known."),
    ]
    outcome: Annotated[Outcome | None, Field(description="What became of the files; null while active.")]
    outcome_basis: Annotated[
        Source | None, Field(description="`callback`: no poll could confirm it; null while active.")
    ]
    attention: Annotated[list[AttentionWord], Field(description="Why a person should look; empty when all is well.")]
    record_mode: Annotated[
        RecordMode | None, Field(description="One file per stream, or one of all; null until known.")
    ]
    record_mode_code: Annotated[int | None, Field(description=CODE)]
    stream_type: Annotated[StreamType | None, Field(description="What is recorded; null until known.")]
    stream_type_code: Annotated[int | None, Field(description=CODE)]
    recording_began_at: Annotated[Time | None, Field(description="Null until the provider told.")]
    recording_ended_at: Annotated[Time | None, Field(description="Null until the provider told.")]
    query_deadline: Annotated[Time, Field(description="When the provider stops answering: start + 3 days.")]
    query_deadline_basis: Annotated[Basis, Field(description="Where that start is known from.")]
    quit_reason: Annotated[
        QuitReason | None,
        Field(description="From a callback. `idle` and `max_duration` are ordinary ends."),
    ]
    quit_reason_code: Annotated[int | None, Field(description=CODE)]
    live_playlists: Annotated[list[PlaylistOut], Field(description="Live M3U8 addresses, from callbacks.")]
    notices: Annotated[list[NoticeOut], Field(description="What else only callbacks tell; at most 50.")]
    last_callback: Annotated[
        LastCallbackOut | None, Field(description="The newest callback. A change here makes no new version.")
    ]
    file_counts: Annotated[dict[str, int], Field(description="Number of files by status.")]
    polling: Annotated[
        PollingOut, Field(description="How asking the provider goes. A change here makes no new version.")
    ]
    version: Annotated[int, Field(description="Moves with every change outside `polling` and `last_callback`.")]
    updated_at: Annotated[Time, Field(description="When `version` last moved.")]
    registered_at: Annotated[Time, Field(description="Since when it is known here.")]
    settled_at: Annotated[Time | None, Field(description="When it was settled.")]
    files: Annotated[list[FileOut] | None, Field(description="The first 100 by `began_at`.")] = None
    files_truncated: Annotated[bool | None, Field(description="There are more, at `/v1/tasks/{task_id}/files`.")] = None


class AnswerOut(Out):
    """What the provider said last of a task."""

    task_id: Annotated[str, Field(description="The provider's TaskId.")]
    asked_at: Annotated[Time, Field(description="When it was asked.")]
    answer: Annotated[dict[str, Any], Field(description="Word for word; its form is the provider's.")]


class BatchErrorOut(Out):
    """Why an item was refused."""

    code: Annotated[str, Field(description="A problem code, as `code` of other errors.")]
    detail: Annotated[str, Field(description="What is wrong, for people.")]
    pointer: Annotated[str, Field(description="JSON pointer into the request's body.")]


class BatchResultOut(Out):
    """What became of one item."""

    task_id: Annotated[str | None, Field(description="null if it could not be read.")]
    result: Annotated[ItemResult, Field(description="`conflict`: it is registered under another app.")]
    error: Annotated[BatchErrorOut | None, Field(description="With `conflict` and `invalid`.")] = None


class BatchOut(Out):
    """What became of each item, in the order given, and how many of each."""

    results: Annotated[list[BatchResultOut], Field(description="In the order given.")]
    created: Annotated[int, Field(description="How many registered now.")]
    existing: Annotated[int, Field(description="How many were registered before.")]
    conflict: Annotated[int, Field(description="How many belong to another app.")]
    invalid: Annotated[int, Field(description="How many break a rule.")]


EventsAfter = Annotated[
    str | None, Field(description="On first pages: follow `/v1/events?after=` from here, once all pages are copied.")
]


class TaskPage(Out):
    """A page of tasks."""

    items: Annotated[list[TaskOut], Field(description="At most `limit`.")]
    next_cursor: NextCursor
    missing: Annotated[
        list[str] | None, Field(description="Of the `task_id`s asked for, those that are not registered.")
    ] = None
    events_after: EventsAfter = None


class FilePage(Out):
    """A page of files."""

    items: Annotated[list[FileOut], Field(description="At most `limit`.")]
    next_cursor: NextCursor
    events_after: EventsAfter = None


class EventOut(Out):
    """Something that changed."""

    id: Annotated[
        str, Field(description="The same wherever the event is read, and the `webhook-id` of its deliveries.")
    ]
    seq: Annotated[int, Field(description="Its place in the order of all.")]
    type: Annotated[EventName, Field(description="What happened. More types may come: ignore those you do not know.")]
    occurred_at: Annotated[Time, Field(description="When it was recorded.")]
    app_id: Annotated[int | None, Field(description="The provider's AppId; null, as the next two, if about no task.")]
    task_id: Annotated[str | None, Field(description="The task it is about.")]
    task_version: Annotated[
        int | None,
        Field(description="The task's `version` after it: the highest is the newest, however they arrive."),
    ]
    source: Annotated[EventSource, Field(description="Who brought it about.")]
    data: Annotated[dict[str, Any], Field(description="See EventData.")]


class EventPage(Out):
    """A page of a task's history."""

    items: Annotated[list[EventOut], Field(description="Oldest first.")]
    next_cursor: NextCursor


class EventDataOut(BaseModel):
    """What an event tells; which of these are there depends on its type. More may come."""

    task: Annotated[TaskOut | None, Field(description="As it was after the event, without files.")] = None
    previous: Annotated[
        dict[str, Any] | None, Field(description="The old values of what changed; null for a new file.")
    ] = None
    file: Annotated[FileOut | None, Field(description="With `file.*`.")] = None
    files: Annotated[list[FileOut] | None, Field(description="With `task.settled`: those that fit.")] = None
    files_truncated: Annotated[bool | None, Field(description="There are more than those.")] = None
    files_url: Annotated[str | None, Field(description="Where all of them stand.")] = None
    callback: Annotated[LastCallbackOut | None, Field(description="With `callback.received`.")] = None
    subscription: Annotated[
        dict[str, Any] | None, Field(description="With `subscription.disabled` and `delivery.failed`: which one.")
    ] = None
    delivery: Annotated[dict[str, Any] | None, Field(description="With `delivery.failed`: which one.")] = None


class WebhookOut(Out):
    """The body of a webhook."""

    type: Annotated[EventName, Field(description="As the event's.")]
    timestamp: Annotated[Time, Field(description="The event's `occurred_at`.")]
    data: Annotated[EventOut, Field(description="The event, as in the feed.")]
