"""How tasks and files are shown to the outside, and what changed between two states of one.

The same words serve the API's answers and the events, so an event says exactly what a reader would have seen.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any, Protocol

from app.core.codes import MEDIA_TRACK_TYPES, QUIT_REASONS, RECORD_MODES, STREAM_TYPES, word
from app.core.deliveries import settled_files, size, task_url
from app.core.recording import Attention, File, LastError, Polling, Task, Tracking, Whose
from app.core.told import LastCallback, Notice, Playlist
from app.core.values import replace

Json = dict[str, Any]

FILES_SHOWN = 100
"""A task shows this many of its files; the rest stand at ``/v1/tasks/{task_id}/files``."""

CALLBACK_RECEIVED = "callback.received"
"""The one event that stands in its task's own history only."""

SILENT = frozenset({"polling", "last_callback", "version", "updated_at"})
"""Fields whose change makes no new version."""


@lru_cache(1000)
def time_text(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC with exactly three decimals."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def task_json(task: Task) -> Json:
    """A task without its files."""
    deadline, basis = task.window
    return {
        "task_id": task.task_id,
        "app_id": task.app_id,
        "room_id": task.room_id,
        "labels": dict(task.labels),
        "registered_via": task.registered_via,
        "status": task.status.value,
        "status_code": task.status_code,
        "tracking": task.tracking.value,
        "outcome": task.outcome and task.outcome.value,
        "outcome_basis": task.outcome_basis,
        "attention": Attention(task.attention).words,
        "record_mode": word(task.record_mode_code, RECORD_MODES),
        "record_mode_code": task.record_mode_code,
        "stream_type": word(task.stream_type_code, STREAM_TYPES),
        "stream_type_code": task.stream_type_code,
        "recording_began_at": time_text(task.began_at),
        "recording_ended_at": time_text(task.ended_at),
        "query_deadline": time_text(deadline),
        "query_deadline_basis": basis.value,
        "quit_reason": word(task.told.quit_reason_code, QUIT_REASONS),
        "quit_reason_code": task.told.quit_reason_code,
        "live_playlists": [playlist_json(one) for one in task.told.playlists],
        "notices": [notice_json(one) for one in task.told.notices],
        "last_callback": task.told.last and last_callback_json(task.told.last),
        "file_counts": dict(sorted(task.file_counts.items())),
        "polling": polling_json(task.polling),
        "version": task.version,
        "updated_at": time_text(task.updated_at),
        "registered_at": time_text(task.registered_at),
        "settled_at": time_text(task.settled_at),
    }


def task_with_files_json(task: Task) -> Json:
    """A task with the first of its files by the time they began."""
    files = [file_json(task, file) for file in _by_begin(task)[:FILES_SHOWN]]
    return task_json(task) | {"files": files, "files_truncated": sum(task.file_counts.values()) > len(files)}


def _by_begin(task: Task) -> list[File]:
    return sorted(task.files.values(), key=lambda f: (f.seen.began_at is None, f.seen.began_at, f.seen.file_id))


def polling_json(polling: Polling) -> Json:
    return {
        "last_polled_at": time_text(polling.last_polled_at),
        "next_poll_at": time_text(polling.next_poll_at),
        "poll_count": polling.poll_count,
        "consecutive_failures": polling.consecutive_failures,
        "last_error": polling.last_error and error_json(polling.last_error),
    }


def error_json(error: LastError) -> Json:
    return {
        "code": error.code,
        "message": error.message,
        "request_id": error.request_id,
        "at": time_text(error.at),
    }


def playlist_json(playlist: Playlist) -> Json:
    return {
        "stream_id": playlist.stream_id,
        "file_id": playlist.file_id,
        "url": playlist.url,
        "media_track_type": word(playlist.media_track_type_code, MEDIA_TRACK_TYPES),
    }


def notice_json(notice: Notice) -> Json:
    return {
        "code": notice.code,
        "detail": notice.detail,
        "first_at": time_text(notice.first_at),
        "last_at": time_text(notice.last_at),
        "count": notice.count,
    }


def last_callback_json(last: LastCallback) -> Json:
    received_at = time_text(last.received_at)
    return {"event_type": last.event_type, "event": last.event.value, "received_at": received_at}


def file_json(task: Task | Whose, file: File) -> Json:
    seen = file.seen
    return {
        "task_id": task.task_id,
        "app_id": task.app_id,
        "room_id": task.room_id,
        "file_id": seen.file_id,
        "status": seen.status.value,
        "status_code": seen.status_code,
        "user_id": seen.user_id,
        "user_name": seen.user_name,
        "stream_id": seen.stream_id,
        "video_id": seen.video_id,
        "file_url": seen.file_url,
        "output_file_format": seen.output_file_format,
        "file_size": seen.file_size,
        "duration_ms": seen.duration_ms,
        "resolution_width": seen.resolution_width,
        "resolution_height": seen.resolution_height,
        "media_track_type": word(seen.media_track_type_code, MEDIA_TRACK_TYPES),
        "media_track_type_code": seen.media_track_type_code,
        "began_at": time_text(seen.began_at),
        "custom_begin_timestamp": seen.custom_begin_timestamp,
        "source": file.source,
        "first_seen_at": time_text(file.first_seen_at),
        "updated_at": time_text(file.updated_at),
        "reached_end_at": time_text(file.reached_end_at),
        "backup_expires_at": time_text(file.backup_expires_at),
    }


_SILENT_PARTS = {"polling", "told", "version", "updated_at"}
_LOUD_PARTS = [field.name for field in fields(Task) if field.name not in _SILENT_PARTS]
_shown = attrgetter(*_LOUD_PARTS, "told.quit_reason_code", "told.playlists", "told.notices")
"""All that a change of a task could show in, outside SILENT; more than is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that changed; ``data`` is what consumers get."""

    type: str
    data: Json


class StoredEvent(Protocol):
    """app.store.events.StoredEvent"""

    @property
    def seq(self) -> int: ...
    @property
    def id(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def occurred_at(self) -> datetime: ...
    @property
    def app_id(self) -> int | None: ...
    @property
    def task_id(self) -> str | None: ...
    @property
    def task_version(self) -> int | None: ...
    @property
    def source(self) -> str: ...
    @property
    def data(self) -> Json: ...


def event_json(event: StoredEvent, *, data: bool = True) -> Json:
    """An event as consumers get it, however they read; without its ``data``, which stand last, if they shall not."""
    head = {
        "id": event.id,
        "seq": event.seq,
        "type": event.type,
        "occurred_at": time_text(event.occurred_at),
        "app_id": event.app_id,
        "task_id": event.task_id,
        "task_version": event.task_version,
        "source": event.source,
    }
    return head | {"data": event.data} if data else head


def changes(before: Task, after: Task) -> tuple[Json, list[tuple[File, Json | None]]]:
    """Old values of the task's changed public fields, and each changed file with its own (None for a new file)."""
    if _shown(before) == _shown(after):
        return {}, []
    old, new = task_json(before), task_json(after)
    previous = {name: old[name] for name in new if name not in SILENT and old[name] != new[name]}
    files: list[tuple[File, Json | None]] = []
    for file_id, file in after.files.items():
        known = before.files.get(file_id)
        if known is None:
            files.append((file, None))
        elif known != file:
            was, is_now = file_json(before, known), file_json(after, file)
            told = {name: was[name] for name in was if name != "updated_at" and was[name] != is_now[name]}
            if told:
                files.append((file, told))
    return previous, files


def versioned(before: Task, after: Task, *, now: datetime) -> Task:
    """``after`` with the next version, if anything changed that a reader would see."""
    previous, files = changes(before, after)
    if not previous and not files:
        return after
    return replace(after, version=before.version + 1, updated_at=now)


def events(before: Task | None, after: Task, public_url: str | None = None) -> list[Event]:
    """What a commit from ``before`` to ``after`` reports: at most one ``task.*``, and one event per changed file."""
    if before is None:
        return [Event(type="task.registered", data={"task": task_json(after), "previous": {}})]
    previous, files = changes(before, after)
    told: list[Event] = []
    kind = _task_event(before, after, previous)
    if kind:
        data: Json = {"task": task_json(after), "previous": previous}
        told.append(Event(type=kind, data=with_files(data, after, public_url) if kind == "task.settled" else data))
    told.extend(
        Event(
            type="file.updated",
            data={"task": task_json(after), "previous": was, "file": file_json(after, file)},
        )
        for file, was in files
    )
    return told


def with_files(data: Json, task: Task, public_url: str | None) -> Json:
    """An event's data with as many of the task's files as fit into a webhook's body; where they do not, a link."""
    link = {"files_url": f"{task_url(task.task_id, public_url)}/files"}
    files = [file_json(task, file) for file in _by_begin(task)]
    shown = settled_files(files, used=size(data))
    whole = len(shown) == sum(task.file_counts.values())
    return {**data, "files": shown, "files_truncated": not whole, **({} if whole else link)}


def backup_notice(task: Task, file: File, *, gone: bool) -> Event:
    """What tells that a file's copy in the provider's backup store goes within a day, or is gone."""
    kind = "file.backup_expired" if gone else "file.backup_expiring"
    return Event(type=kind, data={"task": task_json(task), "previous": None, "file": file_json(task, file)})


def callback_received(last: LastCallback) -> Event:
    """What tells, in a task's own history, that a callback came."""
    return Event(type=CALLBACK_RECEIVED, data={"callback": last_callback_json(last)})


def deletion(task: Task) -> Event:
    """What tells that a task was erased; of its contents nothing."""
    return Event(type="task.deleted", data={})


def _task_event(before: Task, after: Task, previous: Json) -> str | None:
    """The most specific name of what happened to the task itself."""
    moved = before.tracking is not after.tracking
    if moved and after.tracking is Tracking.SETTLED:
        return "task.settled"
    if moved and after.tracking is Tracking.ACTIVE:
        return "task.reopened"
    if moved and after.tracking is Tracking.EXPIRED:
        return "task.expired"
    if after.attention & ~before.attention & Attention.EXPIRING:
        return "task.expiring"
    if after.status.ended and not before.status.ended:
        return "task.ended"
    if moved and after.tracking is Tracking.UNTRACKED:
        return "task.untracked"
    return "task.updated" if previous.keys() - {"file_counts"} else None
