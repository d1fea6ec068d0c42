"""A task, a file and an event with every fact there is, word for word as consumers get them."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from app.core.deliveries import BODY_LIMIT, RESERVED
from app.core.public import Json, backup_notice, callback_received, event_json, events, file_json, task_json, with_files
from app.core.recording import (
    Attention,
    File,
    FileStatus,
    LastError,
    Outcome,
    Polling,
    SeenFile,
    Status,
    Task,
    Tracking,
)
from app.core.told import CallbackEvent, LastCallback, Notice, Playlist, Told

DAY = datetime(2026, 3, 1, 12, 0, 0, 123_000, tzinfo=UTC)


def moment(minute: int) -> datetime:
    return DAY + timedelta(minutes=minute)


def text(minute: int) -> str:
    return f"2026-03-01T12:{minute:02}:00.123Z"


FILE = File(
    seen=SeenFile(
        file_id="f1",
        status=FileStatus.UPLOADED_TO_BACKUP,
        status_code=4,
        user_id="u1",
        user_name="Ann",
        stream_id="s1",
        video_id="v1",
        file_url="https://example.com/f1.mp4",
        output_file_format="mp4",
        file_size=1234,
        duration_ms=5678,
        resolution_width=1280,
        resolution_height=720,
        media_track_type_code=3,
        began_at=moment(1),
        custom_begin_timestamp=99,
    ),
    claim_no=5,
    first_seen_at=moment(20),
    updated_at=moment(21),
    reached_end_at=moment(22),
    source="callback",
)
LAST = LastCallback(event_type=15, event=CallbackEvent.STOPPED, received_at=moment(30))
TASK = Task(
    task_id="t" * 16,
    app_id=7,
    registered_at=moment(0),
    updated_at=moment(40),
    registered_via="callback",
    version=6,
    labels={"team": "a"},
    tracking=Tracking.SETTLED,
    status=Status.ENDED_ABNORMALLY,
    status_code=6,
    claim_no=5,
    room_id="room",
    record_mode_code=1,
    stream_type_code=3,
    began_at=moment(2),
    ended_at=moment(3),
    settled_at=moment(41),
    outcome=Outcome.UPLOADED_TO_BACKUP,
    outcome_basis="callback",
    attention=Attention.LOST | Attention.BACKUP_EXPIRING,
    file_counts={"uploaded": 1, "lost": 2},
    files={"f1": FILE},
    told=Told(
        quit_reason_code=1004,
        playlists=(Playlist(url="https://example.com/live", stream_id="s1", file_id="f1", media_track_type_code=2),),
        notices=(Notice(code="idle", detail="empty", first_at=moment(4), last_at=moment(5), count=3),),
        last=LAST,
    ),
    polling=Polling(
        last_polled_at=moment(50),
        next_poll_at=moment(51),
        poll_count=12,
        consecutive_failures=2,
        last_error=LastError(code="timeout", message="no answer", request_id="r1", at=moment(52)),
    ),
)

TASK_SHOWN: Json = {
    "task_id": "t" * 16,
    "app_id": 7,
    "room_id": "room",
    "labels": {"team": "a"},
    "registered_via": "callback",
    "status": "ended_abnormally",
    "status_code": 6,
    "tracking": "settled",
    "outcome": "uploaded_to_backup",
    "outcome_basis": "callback",
    "attention": ["lost", "backup_expiring"],
    "record_mode": "single_stream",
    "record_mode_code": 1,
    "stream_type": "audio_video",
    "stream_type_code": 3,
    "recording_began_at": text(2),
    "recording_ended_at": text(3),
    "query_deadline": text(2).replace("03-01", "03-04"),
    "query_deadline_basis": "provider",
    "quit_reason": "disk_full",
    "quit_reason_code": 1004,
    "live_playlists": [
        {"stream_id": "s1", "file_id": "f1", "url": "https://example.com/live", "media_track_type": "video"}
    ],
    "notices": [{"code": "idle", "detail": "empty", "first_at": text(4), "last_at": text(5), "count": 3}],
    "last_callback": {"event_type": 15, "event": "stopped", "received_at": text(30)},
    "file_counts": {"lost": 2, "uploaded": 1},
    "polling": {
        "last_polled_at": text(50),
        "next_poll_at": text(51),
        "poll_count": 12,
        "consecutive_failures": 2,
        "last_error": {"code": "timeout", "message": "no answer", "request_id": "r1", "at": text(52)},
    },
    "version": 6,
    "updated_at": text(40),
    "registered_at": text(0),
    "settled_at": text(41),
}
FILE_SHOWN: Json = {
    "task_id": "t" * 16,
    "app_id": 7,
    "room_id": "room",
    "file_id": "f1",
    "status": "uploaded_to_backup",
    "status_code": 4,
    "user_id": "u1",
    "user_name": "Ann",
    "stream_id": "s1",
    "video_id": "v1",
    "file_url": "https://example.com/f1.mp4",
    "output_file_format": "mp4",
    "file_size": 1234,
    "duration_ms": 5678,
    "resolution_width": 1280,
    "resolution_height": 720,
    "media_track_type": "audio_video",
    "media_track_type_code": 3,
    "began_at": text(1),
    "custom_begin_timestamp": 99,
    "source": "callback",
    "first_seen_at": text(20),
    "updated_at": text(21),
    "reached_end_at": text(22),
    "backup_expires_at": text(22).replace("03-01", "03-04"),
}


def test_a_task_with_every_fact() -> None:
    assert task_json(TASK) == TASK_SHOWN
    assert list(task_json(TASK)["file_counts"]) == ["lost", "uploaded"]


def test_a_file_with_every_fact() -> None:
    assert file_json(TASK, FILE) == FILE_SHOWN


@dataclass(frozen=True)
class Stored:
    seq: int = 8
    id: str = "evt_8"
    type: str = "task.updated"
    occurred_at: datetime = DAY + timedelta(minutes=9)
    app_id: int | None = 7
    task_id: str | None = "t" * 16
    task_version: int | None = 6
    source: str = "poll"
    data: Json = None  # type: ignore[assignment]


def test_an_event_with_every_fact() -> None:
    assert event_json(Stored(data={"task": TASK_SHOWN})) == {
        "id": "evt_8",
        "seq": 8,
        "type": "task.updated",
        "occurred_at": text(9),
        "app_id": 7,
        "task_id": "t" * 16,
        "task_version": 6,
        "source": "poll",
        "data": {"task": TASK_SHOWN},
    }


@pytest.mark.parametrize(
    ("gone", "type_"), [(False, "file.backup_expiring"), (True, "file.backup_expired")], ids=["going", "gone"]
)
def test_what_tells_of_a_backup_copy(gone: bool, type_: str) -> None:
    event = backup_notice(TASK, FILE, gone=gone)
    assert (event.type, event.data) == (type_, {"task": TASK_SHOWN, "previous": None, "file": FILE_SHOWN})


def test_what_tells_of_a_callback() -> None:
    event = callback_received(LAST)
    assert (event.type, event.data) == ("callback.received", {"callback": TASK_SHOWN["last_callback"]})


# -- the files of a settled task, in its event


def with_many_files(count: int, *, counted: int | None = None) -> Task:
    """With ``counted`` files, of which ``count`` are at hand."""
    files = {f"{n:03}": replace(FILE, seen=replace(FILE.seen, file_id=f"{n:03}")) for n in range(count)}
    return replace(TASK, files=files, file_counts={"uploaded": count if counted is None else counted})


URL = f"https://us.example/v1/tasks/{'t' * 16}/files"


def test_the_event_of_settling_carries_the_files_and_the_address_of_more() -> None:
    before = replace(TASK, tracking=Tracking.ACTIVE)
    (event,) = events(before, TASK, "https://us.example")
    assert event.type == "task.settled"
    assert event.data == {
        "task": TASK_SHOWN,
        "previous": {"tracking": "active"},
        "files": [FILE_SHOWN],
        "files_truncated": True,  # three are counted
        "files_url": URL,
    }


def test_an_event_with_all_the_files_needs_no_address() -> None:
    shown = with_files({"a": 1}, with_many_files(2), "https://us.example")
    assert (shown.pop("a"), [file["file_id"] for file in shown.pop("files")]) == (1, ["000", "001"])
    assert shown == {"files_truncated": False}


def test_an_event_carries_as_many_files_as_a_body_holds() -> None:
    data: Json = {"filling": "x" * 10_000}
    shown = with_files(data, with_many_files(40), None)
    one_more = len(str(shown["files"][0]))
    used = len(str(shown)) + RESERVED
    assert 0 < len(shown["files"]) < 40
    assert used - one_more < BODY_LIMIT < used + one_more
    assert shown["files_url"] == URL.removeprefix("https://us.example")
