"""A recording's life as the API shows it: its tasks, files, events and callbacks, for the API's description."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

TASK_ID = "awXfC80HLNi-b59i"

PENDING: Json = {
    "task_id": TASK_ID,
    "app_id": 1,
    "room_id": None,
    "labels": {"team": "support"},
    "registered_via": "api",
    "status": "pending",
    "status_code": None,
    "tracking": "active",
    "outcome": None,
    "outcome_basis": None,
    "attention": [],
    "record_mode": None,
    "record_mode_code": None,
    "stream_type": None,
    "stream_type_code": None,
    "recording_began_at": None,
    "recording_ended_at": None,
    "query_deadline": "2026-02-03T12:00:00.000Z",
    "query_deadline_basis": "task_id",
    "quit_reason": None,
    "quit_reason_code": None,
    "live_playlists": [],
    "notices": [],
    "last_callback": None,
    "file_counts": {},
    "polling": {
        "last_polled_at": None,
        "next_poll_at": "2026-01-31T12:00:05.356Z",
        "poll_count": 0,
        "consecutive_failures": 0,
        "last_error": None,
    },
    "version": 1,
    "updated_at": "2026-01-31T12:00:05.356Z",
    "registered_at": "2026-01-31T12:00:05.356Z",
    "settled_at": None,
}
_SEEN = {
    "room_id": "room_1",
    "record_mode": "single_stream",
    "record_mode_code": 1,
    "stream_type": "audio_video",
    "stream_type_code": 3,
    "recording_began_at": "2026-01-31T12:00:02.000Z",
    "query_deadline": "2026-02-03T12:00:02.000Z",
    "query_deadline_basis": "provider",
}
ONGOING: Json = {
    **PENDING,
    **_SEEN,
    "status": "ongoing",
    "status_code": 2,
    "file_counts": {"recording": 1},
    "polling": {
        **PENDING["polling"],
        "last_polled_at": "2026-01-31T12:00:05.471Z",
        "next_poll_at": "2026-01-31T12:00:35.471Z",
        "poll_count": 1,
    },
    "version": 2,
    "updated_at": "2026-01-31T12:00:05.471Z",
}
SETTLED: Json = {
    **ONGOING,
    "status": "completed",
    "status_code": 3,
    "tracking": "settled",
    "outcome": "uploaded",
    "outcome_basis": "poll",
    "recording_ended_at": "2026-01-31T12:45:10.000Z",
    "last_callback": {"event_type": 1, "event": "upload_finished", "received_at": "2026-01-31T12:45:58.120Z"},
    "file_counts": {"uploaded": 1},
    "polling": {
        "last_polled_at": "2026-01-31T12:45:58.204Z",
        "next_poll_at": "2026-01-31T12:46:58.204Z",
        "poll_count": 12,
        "consecutive_failures": 0,
        "last_error": None,
    },
    "version": 5,
    "updated_at": "2026-01-31T12:45:58.204Z",
    "settled_at": "2026-01-31T12:45:58.204Z",
}
UNTRACKED: Json = {
    **ONGOING,
    "tracking": "untracked",
    "outcome": "unresolved",
    "outcome_basis": "poll",
    "polling": {**ONGOING["polling"], "next_poll_at": None},
    "version": 3,
}
NAME = f"{TASK_ID}_room_1_user_1_stream_1_VA_20260131120002000.mp4"
FILE: Json = {
    "task_id": TASK_ID,
    "app_id": 1,
    "room_id": "room_1",
    "file_id": NAME,
    "status": "uploaded",
    "status_code": 3,
    "user_id": "user_1",
    "user_name": "User 1",
    "stream_id": "stream_1",
    "video_id": None,
    "file_url": f"https://bucket.example/record/{NAME}",
    "output_file_format": "mp4",
    "file_size": 401_342_118,
    "duration_ms": 2_708_000,
    "resolution_width": 1280,
    "resolution_height": 720,
    "media_track_type": "audio_video",
    "media_track_type_code": 3,
    "began_at": "2026-01-31T12:00:02.000Z",
    "custom_begin_timestamp": None,
    "source": "poll",
    "first_seen_at": "2026-01-31T12:00:05.471Z",
    "updated_at": "2026-01-31T12:45:58.204Z",
    "reached_end_at": "2026-01-31T12:45:58.204Z",
    "backup_expires_at": None,
}
RECORDING_FILE: Json = {
    **FILE,
    "status": "recording",
    "status_code": 1,
    "file_url": None,
    "file_size": None,
    "duration_ms": None,
    "updated_at": "2026-01-31T12:00:05.471Z",
    "reached_end_at": None,
}


def whole(task: Json) -> Json:
    """A task with its files."""
    files = {0: [], 1: [RECORDING_FILE], 2: [FILE]}[
        1 if "recording" in task["file_counts"] else 2 * bool(task["outcome"])
    ]
    return {**task, "files": files, "files_truncated": False}


def event(type_: str, task: Json | None = SETTLED, *, source: str = "poll", seq: int = 1000004, **data: Any) -> Json:
    """An event about the task."""
    return {
        "id": "evt_0d3af4ce8f12ba35",
        "seq": seq,
        "type": type_,
        "occurred_at": (task or SETTLED)["updated_at"],
        "app_id": 1,
        "task_id": TASK_ID,
        "task_version": (task or SETTLED)["version"],
        "source": source,
        "data": {"task": task, **data} if task else data,
    }


def about_none(type_: str, **data: Any) -> Json:
    """An event that is about no task."""
    nothing = {"app_id": None, "task_id": None, "task_version": None}
    return {**event(type_, None, source="timer", **data), **nothing}


SUBSCRIBER = {"subscription_id": "sub_8d2f51c0a7e94b36", "name": "archive"}
UNSEEN = {name: PENDING[name] for name in ("status", "status_code", "file_counts", *_SEEN)}
SETTLING = {"tracking": "active", "outcome": None, "outcome_basis": None, "settled_at": None}
EVENTS: dict[str, Json] = {
    "task.registered": event("task.registered", PENDING, source="api", seq=1000001, previous={}),
    "task.updated": event("task.updated", ONGOING, seq=1000002, previous=UNSEEN),
    "task.ended": event(
        "task.ended",
        {**ONGOING, "status": "completed", "status_code": 3, "version": 3, "file_counts": {"uploading": 1}},
        previous={"status": "ongoing", "status_code": 2, "file_counts": {"recording": 1}},
    ),
    "task.settled": event("task.settled", previous=SETTLING, files=[FILE], files_truncated=False),
    "task.reopened": event(
        "task.reopened",
        {**ONGOING, "version": 6},
        previous={name: SETTLED[name] for name in ("status", "status_code", *SETTLING)},
    ),
    "task.expiring": event(
        "task.expiring",
        {**ONGOING, "attention": ["expiring"], "version": 3},
        source="timer",
        previous={"attention": []},
    ),
    "task.expired": event(
        "task.expired",
        {**UNTRACKED, "tracking": "expired", "outcome": "unresolved", "version": 4},
        source="timer",
        previous={"tracking": "active", "outcome": None, "outcome_basis": None},
    ),
    "task.untracked": event(
        "task.untracked",
        UNTRACKED,
        source="api",
        previous={"tracking": "active", "outcome": None, "outcome_basis": None},
    ),
    "task.deleted": event("task.deleted", None, source="api"),
    "file.updated": event(
        "file.updated", previous={"status": "uploading", "status_code": 2, "file_url": None}, file=FILE
    ),
    "file.backup_expiring": event(
        "file.backup_expiring",
        {**SETTLED, "outcome": "uploaded_to_backup", "attention": ["backup_expiring"], "version": 6},
        source="timer",
        previous={},
        file={
            **FILE,
            "status": "uploaded_to_backup",
            "status_code": 4,
            "backup_expires_at": "2026-02-03T12:45:58.204Z",
        },
    ),
    "file.backup_expired": event(
        "file.backup_expired",
        {**SETTLED, "outcome": "uploaded_to_backup", "version": 7},
        source="timer",
        previous={},
        file={
            **FILE,
            "status": "uploaded_to_backup",
            "status_code": 4,
            "backup_expires_at": "2026-02-03T12:45:58.204Z",
        },
    ),
    "subscription.disabled": about_none(
        "subscription.disabled",
        subscription={**SUBSCRIBER, "disabled_at": "2026-02-05T12:46:13.204Z", "disabled_reason": "failing"},
    ),
    "delivery.failed": about_none(
        "delivery.failed",
        subscription=SUBSCRIBER,
        delivery={
            "delivery_id": "dlv_42",
            "event_id": "evt_0d3af4ce8f12ba35",
            "type": "task.settled",
            "task_id": TASK_ID,
            "last_attempt": {"at": "2026-02-01T16:21:13.204Z", "status_code": 500, "duration_ms": 84, "error": None},
        },
    ),
}
"""One of each type that can be followed."""

CALLBACK_EVENT = event("callback.received", None, source="callback", callback=SETTLED["last_callback"])
CALLBACK: Json = {
    "app_id": 1,
    "task_id": TASK_ID,
    "room_id": "room_1",
    "event_type": 1,
    "message": "",
    "nonce": "100480",
    "timestamp": "1769863558",
    "signature": "df36ef0b656bf1935b31a2da78df448af2a3cee1",
    "sequence": 3,
    "detail": {"upload_status": 1, "file_info": [{"file_id": NAME, "status": 3}]},
}
