from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from app.core.merging import apply, expired, tracked, untracked
from app.core.public import (
    FILES_SHOWN,
    Json,
    changes,
    deletion,
    events,
    file_json,
    task_json,
    task_with_files_json,
    time_text,
    versioned,
)
from app.core.recording import (
    Attention,
    File,
    FileStatus,
    LastError,
    Observation,
    Outcome,
    Polling,
    SeenFile,
    Status,
    Task,
    Tracking,
)

NOW = datetime(2026, 3, 1, 12, 0, 0, 123_000, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)

TASK_FIELDS = {
    *("task_id", "app_id", "room_id", "labels", "registered_via", "status", "status_code", "tracking"),
    *("outcome", "outcome_basis", "attention", "record_mode", "record_mode_code", "stream_type"),
    *("stream_type_code", "recording_began_at", "recording_ended_at", "query_deadline"),
    *("query_deadline_basis", "quit_reason", "quit_reason_code", "live_playlists", "notices"),
    *("last_callback", "file_counts", "polling", "version", "updated_at", "registered_at", "settled_at"),
}
"""The fields of the public contract's Task table, but for those that only a task with files has."""

FILE_FIELDS = {
    *("task_id", "app_id", "room_id", "file_id", "status", "status_code", "user_id", "user_name", "stream_id"),
    *("video_id", "file_url", "output_file_format", "file_size", "duration_ms", "resolution_width"),
    *("resolution_height", "media_track_type", "media_track_type_code", "began_at"),
    *("custom_begin_timestamp", "source", "first_seen_at", "updated_at", "reached_end_at", "backup_expires_at"),
}


def a_task(**facts: object) -> Task:
    return replace(Task(task_id="0" * 16, app_id=1, registered_at=NOW, updated_at=NOW), **facts)  # type: ignore[arg-type]


def seen(claim_no: int, status: Status, *files: FileStatus, **facts: object) -> Observation:
    told = tuple(SeenFile(file_id=f"f{i}", status=status) for i, status in enumerate(files))
    observation = Observation(claim_no=claim_no, asked_at=NOW, status=status, files=told)
    return replace(observation, **facts)  # type: ignore[arg-type]


def after(*observations: Observation, task: Task | None = None, now: datetime = NOW) -> Task:
    task = task or a_task()
    for observation in observations:
        task = apply(task, observation, now=now)
    return task


def types(before: Task | None, after: Task) -> list[str]:
    return [event.type for event in events(before, after)]


RUNNING = after(seen(1, Status.ONGOING))
UPLOADING = after(seen(1, Status.COMPLETED, FileStatus.UPLOADING))
IN_BACKUP = after(seen(1, Status.COMPLETED, FileStatus.UPLOADED_TO_BACKUP))
SETTLED = after(seen(1, Status.COMPLETED, FileStatus.UPLOADED))


# -- how a task is shown


def test_a_task_is_shown_with_exactly_the_documented_fields() -> None:
    assert task_json(a_task()).keys() == TASK_FIELDS
    assert task_with_files_json(a_task()).keys() == TASK_FIELDS | {"files", "files_truncated"}


def test_a_file_is_shown_with_exactly_the_documented_fields() -> None:
    assert file_json(SETTLED, SETTLED.files["f0"]).keys() == FILE_FIELDS


def test_polling_is_shown_with_exactly_the_documented_fields() -> None:
    error = LastError(code="timeout", message="no whole answer", request_id=None, at=NOW)
    shown = task_json(a_task(polling=Polling(last_polled_at=NOW, poll_count=3, last_error=error)))["polling"]
    assert shown == {
        "last_polled_at": "2026-03-01T12:00:00.123Z",
        "next_poll_at": None,
        "poll_count": 3,
        "consecutive_failures": 0,
        "last_error": {
            "code": "timeout",
            "message": "no whole answer",
            "request_id": None,
            "at": "2026-03-01T12:00:00.123Z",
        },
    }


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (None, None),
        (NOW, "2026-03-01T12:00:00.123Z"),
        (NOW.replace(microsecond=0), "2026-03-01T12:00:00.000Z"),
        (NOW.replace(microsecond=999_999), "2026-03-01T12:00:00.999Z"),
        (NOW.astimezone(timezone(timedelta(hours=8))), "2026-03-01T12:00:00.123Z"),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00.000Z"),
    ],
)
def test_times_are_shown_in_utc_with_three_decimals(moment: datetime | None, text: str | None) -> None:
    assert time_text(moment) == text


def test_every_time_of_a_task_and_its_file_is_shown_in_that_form() -> None:
    task = after(seen(1, Status.COMPLETED, FileStatus.UPLOADED_TO_BACKUP, began_at=NOW, ended_at=NOW))
    shown = task_with_files_json(task)
    times = [shown[name] for name in ("recording_began_at", "recording_ended_at", "query_deadline")]
    times += [shown[name] for name in ("updated_at", "registered_at", "settled_at")]
    (file,) = shown["files"]
    times += [file[name] for name in ("first_seen_at", "updated_at", "reached_end_at", "backup_expires_at")]
    assert all(time[-1] == "Z" and time[-5] == "." for time in times)


def test_the_providers_numbers_stand_beside_their_words() -> None:
    shown = task_json(a_task(record_mode_code=2, stream_type_code=4))
    assert (shown["record_mode"], shown["stream_type"]) == ("mixed_stream", "audio_video_separate")


def test_numbers_nobody_documented_are_shown_as_unknown_with_the_number() -> None:
    odd = SeenFile(file_id="f", status=FileStatus.UNKNOWN, status_code=8, media_track_type_code=9)
    task = after(seen(1, Status.UNKNOWN, status_code=7, record_mode_code=6, stream_type_code=5, files=(odd,)))
    shown = task_with_files_json(task)
    names = ("status", "record_mode", "stream_type")
    assert [(shown[name], shown[f"{name}_code"]) for name in names] == [("unknown", n) for n in (7, 6, 5)]
    (file,) = shown["files"]
    assert (file["status"], file["status_code"]) == ("unknown", 8)
    assert (file["media_track_type"], file["media_track_type_code"]) == ("unknown", 9)


def test_what_is_not_known_is_null() -> None:
    shown = task_json(a_task())
    names = ("room_id", "status_code", "outcome", "outcome_basis", "record_mode", "stream_type", "settled_at")
    assert [shown[name] for name in names] == [None] * len(names)
    assert (shown["status"], shown["tracking"], shown["attention"]) == ("pending", "active", [])


def test_a_task_shows_its_first_files_by_the_time_they_began() -> None:
    began = {"a": NOW + timedelta(seconds=2), "b": NOW, "c": None, "d": NOW}
    files = tuple(SeenFile(file_id=n, status=FileStatus.UPLOADED, began_at=at) for n, at in began.items())
    shown = task_with_files_json(after(seen(1, Status.COMPLETED, files=files)))
    assert [file["file_id"] for file in shown["files"]] == ["b", "d", "a", "c"]
    assert not shown["files_truncated"]


@pytest.mark.parametrize(("count", "truncated"), [(FILES_SHOWN, False), (FILES_SHOWN + 1, True)])
def test_a_task_with_many_files_says_that_there_are_more(count: int, truncated: bool) -> None:
    shown = task_with_files_json(after(seen(1, Status.COMPLETED, *[FileStatus.UPLOADED] * count)))
    assert (len(shown["files"]), shown["files_truncated"]) == (FILES_SHOWN, truncated)
    assert shown["file_counts"] == {"uploaded": count}


# -- what a change is called

MOVES: list[tuple[str, Task, Task, list[str]]] = [
    ("ended and settled at once", RUNNING, SETTLED, ["task.settled", "file.updated"]),
    (
        "settled",
        UPLOADING,
        after(seen(2, Status.COMPLETED, FileStatus.UPLOADED), task=UPLOADING),
        ["task.settled", "file.updated"],
    ),
    (
        "settled after its window closed",
        expired(RUNNING, now=NOW),
        after(seen(2, Status.COMPLETED, FileStatus.UPLOADED), task=expired(RUNNING, now=NOW)),
        ["task.settled", "file.updated"],
    ),
    (
        "reopened by a running status",
        SETTLED,
        after(seen(2, Status.ONGOING, FileStatus.UPLOADED), task=SETTLED),
        ["task.reopened"],
    ),
    (
        "reopened by a new file",
        SETTLED,
        after(seen(2, Status.COMPLETED, FileStatus.UPLOADED, FileStatus.UPLOADING), task=SETTLED),
        ["task.reopened", "file.updated"],
    ),
    ("tracked again", untracked(RUNNING, now=NOW), RUNNING, ["task.reopened"]),
    ("tracked again when over", untracked(SETTLED, now=NOW), SETTLED, ["task.settled"]),
    ("expired", RUNNING, expired(RUNNING, now=NOW), ["task.expired"]),
    ("expiring", RUNNING, replace(RUNNING, attention=Attention.EXPIRING), ["task.expiring"]),
    (
        "expiring and ended",
        RUNNING,
        replace(UPLOADING, attention=Attention.EXPIRING),
        ["task.expiring", "file.updated"],
    ),
    ("no longer expiring", replace(RUNNING, attention=Attention.EXPIRING), RUNNING, ["task.updated"]),
    ("ended", RUNNING, UPLOADING, ["task.ended", "file.updated"]),
    ("ended unseen before", a_task(), after(seen(1, Status.ENDED_ABNORMALLY)), ["task.ended"]),
    (
        "ended otherwise",
        after(seen(1, Status.COMPLETED)),
        after(seen(1, Status.COMPLETED), seen(2, Status.ENDED_ABNORMALLY)),
        ["task.updated"],
    ),
    ("untracked", RUNNING, untracked(RUNNING, now=NOW), ["task.untracked"]),
    ("untracked when settled", SETTLED, untracked(SETTLED, now=NOW), ["task.untracked"]),
    ("seen for the first time", a_task(), RUNNING, ["task.updated"]),
    ("paused", RUNNING, after(seen(2, Status.PAUSED), task=RUNNING), ["task.updated"]),
    ("labelled", RUNNING, replace(RUNNING, labels={"a": "b"}), ["task.updated"]),
    ("needs attention", RUNNING, replace(RUNNING, attention=Attention.FAILING), ["task.updated"]),
    (
        "another outcome",
        IN_BACKUP,
        after(seen(2, Status.COMPLETED, FileStatus.UPLOADED), task=IN_BACKUP),
        ["task.updated", "file.updated"],
    ),
    (
        "a file on its way",
        after(seen(1, Status.ONGOING, FileStatus.RECORDING)),
        after(seen(1, Status.ONGOING, FileStatus.RECORDING), seen(2, Status.ONGOING, FileStatus.UPLOADING)),
        ["file.updated"],
    ),
    (
        "several files",
        RUNNING,
        after(seen(2, Status.ONGOING, *[FileStatus.RECORDING] * 3), task=RUNNING),
        ["file.updated"] * 3,
    ),
    ("polled", RUNNING, replace(RUNNING, polling=Polling(poll_count=9)), []),
    ("told the same", RUNNING, after(seen(2, Status.ONGOING), task=RUNNING), []),
    ("told the same of a file", SETTLED, after(seen(2, Status.COMPLETED, FileStatus.UPLOADED), task=SETTLED), []),
]


@pytest.mark.parametrize(("before", "now_is", "told"), [pytest.param(*move[1:], id=move[0]) for move in MOVES])
def test_a_change_raises_at_most_one_event_of_the_task_and_one_of_each_file(
    before: Task, now_is: Task, told: list[str]
) -> None:
    assert types(before, now_is) == told


@pytest.mark.parametrize(("before", "now_is", "told"), [pytest.param(*move[1:], id=move[0]) for move in MOVES])
def test_a_new_version_and_an_event_come_together(before: Task, now_is: Task, told: list[str]) -> None:
    new = versioned(before, now_is, now=LATER)
    assert (new.version, new.updated_at) == (
        (before.version + 1, LATER) if told else (before.version, now_is.updated_at)
    )


def test_a_new_task_is_registered_and_nothing_else() -> None:
    (event,) = events(None, a_task())
    assert (event.type, event.data) == ("task.registered", {"task": task_json(a_task()), "previous": {}})


def test_an_event_tells_the_task_as_it_is_and_the_old_values_of_what_changed() -> None:
    paused = after(seen(2, Status.PAUSED, status_code=5, room_id="r1"), task=RUNNING)
    (event,) = events(RUNNING, paused)
    assert event.data == {
        "task": task_json(paused),
        "previous": {"status": "ongoing", "status_code": None, "room_id": None},
    }


def test_the_task_event_tells_of_changed_counts_too() -> None:
    event, _ = events(RUNNING, UPLOADING)
    assert event.data["previous"] == {"status": "ongoing", "file_counts": {}}


def test_a_new_file_has_no_previous_values() -> None:
    _, event = events(RUNNING, SETTLED)
    assert (event.data["previous"], event.data["file"]["status"]) == (None, "uploaded")
    assert event.data["task"] == task_json(SETTLED)


def test_a_changed_file_tells_its_old_values() -> None:
    done = after(seen(2, Status.COMPLETED, FileStatus.UPLOADED), task=UPLOADING, now=LATER)
    _, event = events(UPLOADING, done)
    assert event.data["previous"] == {"status": "uploading", "reached_end_at": None}


@pytest.mark.parametrize(
    "touch",
    [
        lambda file: replace(file, claim_no=99),
        lambda file: replace(file, updated_at=LATER),
    ],
    ids=["another claim", "another date of change"],
)
def test_what_no_reader_would_see_of_a_file_is_not_told(touch: Callable[[File], File]) -> None:
    touched = replace(SETTLED, files={"f0": touch(SETTLED.files["f0"])})
    assert changes(SETTLED, touched) == ({}, [])
    assert versioned(SETTLED, touched, now=LATER) == touched


@pytest.mark.parametrize("field", ["polling", "version", "updated_at"])
def test_silent_fields_make_no_change(field: str) -> None:
    value: Json = {"polling": Polling(poll_count=1), "version": 7, "updated_at": LATER}
    assert changes(RUNNING, replace(RUNNING, **{field: value[field]})) == ({}, [])


def test_a_deletion_tells_nothing_of_the_contents() -> None:
    event = deletion(SETTLED)
    assert (event.type, event.data) == ("task.deleted", {})


def test_every_change_of_outcome_raises_an_event_of_the_task() -> None:
    for outcome in Outcome:
        moved = replace(SETTLED, outcome=outcome)
        assert types(SETTLED, moved) == ([] if outcome is SETTLED.outcome else ["task.updated"])


def test_tracking_a_task_that_never_stopped_is_no_change() -> None:
    assert events(RUNNING, tracked(RUNNING, now=LATER)) == []
    assert RUNNING.tracking is Tracking.ACTIVE


@pytest.mark.parametrize("tracking", list(Tracking))
def test_what_changes_while_the_tracking_does_not_is_an_update(tracking: Tracking) -> None:
    before = a_task(tracking=tracking)
    assert types(before, replace(before, labels={"team": "support"})) == ["task.updated"]
