"""When a task needs a person: its window closes, its backup copies go."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.core.merging import (
    answered,
    conclude,
    expiring,
    failed,
    is_expiring,
    with_backups_watched,
)
from app.core.recording import (
    BACKUP_KEPT,
    BACKUP_WARNING,
    QUERY_WINDOW,
    Attention,
    Failure,
    File,
    FileStatus,
    LastError,
    Polling,
    SeenFile,
    Status,
    Task,
    Tracking,
)

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
CLOSES = NOW + QUERY_WINDOW
SIX_HOURS = timedelta(hours=6)
EVERY = Attention.FAILING | Attention.NOT_FOUND | Attention.EXPIRING | Attention.LOST | Attention.BACKUP_EXPIRING
BACKUP = FileStatus.UPLOADED_TO_BACKUP


def a_task(**facts: object) -> Task:
    return replace(Task(task_id="0" * 16, app_id=1, registered_at=NOW, updated_at=NOW), **facts)  # type: ignore[arg-type]


def a_file(status: FileStatus = BACKUP, source: str = "poll") -> File:
    seen = SeenFile(file_id="f", status=status)
    return File(seen=seen, claim_no=1, first_seen_at=NOW, updated_at=NOW, reached_end_at=NOW, source=source)


GOES = NOW + BACKUP_KEPT


@pytest.mark.parametrize(
    ("file", "now", "goes"),
    [
        (a_file(), GOES - BACKUP_WARNING - SECOND, False),
        (a_file(), GOES - BACKUP_WARNING, True),
        (a_file(), GOES - SECOND, True),
        (a_file(), GOES, False),
        (a_file(FileStatus.UPLOADED), GOES - SECOND, False),
        (a_file(source="callback"), GOES - SECOND, False),
        (replace(a_file(), reached_end_at=None), GOES - SECOND, False),
    ],
)
@pytest.mark.parametrize("marked", [Attention(0), Attention.BACKUP_EXPIRING | Attention.FAILING])
def test_a_backup_copy_is_warned_of_on_its_last_day(file: File, now: datetime, goes: bool, marked: Attention) -> None:
    task = a_task(files={"f": file}, attention=marked)
    watched = with_backups_watched(task, now=now)
    rest = marked & ~Attention.BACKUP_EXPIRING
    assert watched == replace(task, attention=rest | (Attention.BACKUP_EXPIRING if goes else rest))


@pytest.mark.parametrize(("tracking", "kept"), [(Tracking.ACTIVE, True), (Tracking.SETTLED, False)])
def test_only_a_followed_task_keeps_the_mark_that_its_window_closes(tracking: Tracking, kept: bool) -> None:
    task = a_task(tracking=tracking, attention=Attention.EXPIRING)
    assert bool(with_backups_watched(task, now=CLOSES).attention) is kept
    assert not with_backups_watched(task, now=CLOSES - SIX_HOURS - SECOND).attention


@pytest.mark.parametrize(
    ("now", "soon"),
    [
        (CLOSES - SIX_HOURS - SECOND, False),
        (CLOSES - SIX_HOURS, True),
        (CLOSES, True),
        (CLOSES + QUERY_WINDOW, True),
    ],
)
def test_a_task_expires_soon_from_six_hours_before_its_window_closes(now: datetime, soon: bool) -> None:
    assert is_expiring(a_task(), now=now) is soon


@pytest.mark.parametrize("flags", [Attention(0), Attention.LOST, EVERY])
def test_the_mark_that_a_window_closes_is_added_to_the_others(flags: Attention) -> None:
    task = a_task(attention=flags)
    assert expiring(task) == replace(task, attention=flags | Attention.EXPIRING)


def test_a_window_that_closes_stays_marked_while_the_task_is_active() -> None:
    marked = a_task(attention=Attention.EXPIRING)
    assert conclude(marked, now=CLOSES - SECOND).attention is Attention.EXPIRING
    over = replace(marked, status=Status.COMPLETED, files={"f": a_file(FileStatus.UPLOADED)})
    assert conclude(over, now=CLOSES - SECOND).attention is Attention(0)


def test_every_flag_has_its_word() -> None:
    assert EVERY.words == ["failing", "not_found", "expiring", "lost", "backup_expiring"]


@pytest.mark.parametrize("status", list(FileStatus))
def test_only_a_lost_file_that_polls_told_of_is_marked(status: FileStatus) -> None:
    for source in ("poll", "callback"):
        marks = conclude(a_task(files={"f": a_file(status, source)}), now=NOW).attention
        assert (Attention.LOST in marks) is (status is FileStatus.LOST and source == "poll")


def test_an_answer_notes_when_it_came() -> None:
    task = answered(a_task(), at=NOW + SECOND)
    assert task == a_task(polling=replace(a_task().polling, last_polled_at=NOW + SECOND, poll_count=1))


@pytest.mark.parametrize("failure", [Failure.REFUSED, Failure.UNKNOWN])
def test_another_failure_ends_the_time_for_which_a_task_was_not_found(failure: Failure) -> None:
    error = LastError(code="odd", message="told so", request_id=None, at=NOW)
    missing = a_task(not_found_since=NOW, attention=Attention.NOT_FOUND | Attention.LOST)
    task = failed(missing, error, failure, now=NOW + SECOND)
    assert (task.not_found_since, task.attention) == (None, Attention.LOST)
    again = failed(missing, error, Failure.NOT_FOUND, now=NOW + SECOND)
    assert again.not_found_since == NOW


@pytest.mark.parametrize(
    ("failure", "failures", "missing_for", "flag"),
    [
        (Failure.UNKNOWN, 4, None, Attention.FAILING),
        (Failure.REFUSED, 3, None, Attention(0)),
        (Failure.NOT_FOUND, 9, timedelta(minutes=10), Attention.NOT_FOUND),
        (Failure.NOT_FOUND, 9, timedelta(minutes=9), Attention(0)),
    ],
)
def test_a_failure_leaves_the_flags_that_are_not_about_asking(
    failure: Failure, failures: int, missing_for: timedelta | None, flag: Attention
) -> None:
    error = LastError(code="odd", message="told so", request_id=None, at=NOW)
    since = None if missing_for is None else NOW - missing_for
    task = a_task(attention=EVERY, not_found_since=since, polling=Polling(consecutive_failures=failures))
    left = Attention.EXPIRING | Attention.LOST | Attention.BACKUP_EXPIRING
    assert failed(task, error, failure, now=NOW).attention == left | flag


@pytest.mark.parametrize(
    ("status", "tracking", "closes", "becomes"),
    [
        (Status.ONGOING, Tracking.SETTLED, CLOSES - SECOND, Tracking.ACTIVE),
        (Status.ONGOING, Tracking.SETTLED, CLOSES, Tracking.EXPIRED),
        (Status.ONGOING, Tracking.EXPIRED, CLOSES, Tracking.EXPIRED),
        (Status.ONGOING, Tracking.ACTIVE, CLOSES, Tracking.ACTIVE),
        (Status.COMPLETED, Tracking.UNTRACKED, NOW, Tracking.UNTRACKED),
        (Status.COMPLETED, Tracking.EXPIRED, NOW, Tracking.SETTLED),
    ],
)
def test_a_reopened_task_is_followed_only_while_its_window_is_open(
    status: Status, tracking: Tracking, closes: datetime, becomes: Tracking
) -> None:
    """Facts alone decide where a task stands; ``closes``: the moment it is looked at."""
    before = a_task(status=status, tracking=tracking, files={"f": a_file(FileStatus.UPLOADED)}, closed_at=NOW)
    assert conclude(before, now=closes).tracking is becomes
