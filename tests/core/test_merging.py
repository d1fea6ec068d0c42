"""Single facts of a task and a file, merged: what a later claim tells, what an earlier one does, and when."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from app.core.merging import apply, conclude, expired, known_end, merge_files, tracked, untracked
from app.core.recording import (
    Attention,
    File,
    FileStatus,
    Observation,
    Outcome,
    SeenFile,
    Status,
    Task,
    Tracking,
)

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
UPLOADING, UPLOADED, LOST = FileStatus.UPLOADING, FileStatus.UPLOADED, FileStatus.LOST


def at(second: float) -> datetime:
    return NOW + second * SECOND


def a_task(**facts: object) -> Task:
    return replace(Task(task_id="0" * 16, app_id=1, registered_at=NOW, updated_at=NOW), **facts)  # type: ignore[arg-type]


def seen(claim_no: int, status: Status = Status.ONGOING, second: float = 0, **facts: object) -> Observation:
    return replace(Observation(claim_no=claim_no, asked_at=at(second), status=status), **facts)  # type: ignore[arg-type]


def after(*told: Observation) -> Task:
    task = a_task()
    for observation in told:
        task = apply(task, observation, now=NOW)
    return task


@pytest.mark.parametrize(
    ("field", "one", "other"),
    [("room_id", "r1", "r2"), ("record_mode_code", 1, 2), ("stream_type_code", 3, 4), ("began_at", NOW, at(1))],
)
def test_the_highest_claim_wins_what_identifies_a_task(field: str, one: object, other: object) -> None:
    first, second, again = (
        replace(seen(claim_no), **{field: value})  # type: ignore[arg-type]
        for claim_no, value in ((1, one), (2, other), (1, other))
    )
    told = first, second
    assert {getattr(after(*order), field) for order in permutations(told)} == {other}
    assert getattr(after(first, again), field) == one


def test_a_task_takes_status_number_and_end_from_its_highest_claim() -> None:
    told = [
        seen(1, Status.COMPLETED, status_code=3, ended_at=at(1)),
        seen(2, Status.ENDED_ABNORMALLY, status_code=4, ended_at=at(2)),
    ]
    for order in permutations(told):
        task = after(*order)
        assert (task.status, task.status_code, task.ended_at) == (Status.ENDED_ABNORMALLY, 4, at(2))
        assert task.claim_no == 2


COMPLETED, ONGOING = Status.COMPLETED, Status.ONGOING


@pytest.mark.parametrize(
    ("told", "first", "last"),
    [
        ([], None, None),
        ([(1, ONGOING, 5)], None, None),
        ([(1, COMPLETED, 5)], 5, 5),
        ([(1, COMPLETED, 5), (2, COMPLETED, 9)], 5, 9),
        ([(1, COMPLETED, 9), (2, COMPLETED, 5)], 5, 9),
        ([(2, COMPLETED, 5), (1, COMPLETED, 9)], 5, 9),
        ([(2, COMPLETED, 9), (1, ONGOING, 5)], 9, 9),
        ([(1, COMPLETED, 5), (2, ONGOING, 9)], None, 5),
        ([(1, COMPLETED, 5), (2, ONGOING, 9), (3, COMPLETED, 12)], 12, 12),
    ],
)
def test_the_first_and_last_asking_that_told_of_an_end(
    told: list[tuple[int, Status, float]], first: float | None, last: float | None
) -> None:
    task = after(*(seen(*one) for one in told))
    expected = [None if second is None else at(second) for second in (first, last)]
    assert [task.end_first_asked_at, task.end_last_asked_at] == expected


@pytest.mark.parametrize(
    ("ended_at", "first", "last", "end"),
    [
        (3, 5, 9, 3),
        (9, 5, 9, 9),
        (10, 5, 9, 5),
        (None, 5, 9, 5),
        (3, 5, None, 5),
        (None, None, None, None),
    ],
)
def test_an_end_is_believed_unless_it_lies_after_the_asking(
    ended_at: float | None, first: float | None, last: float | None, end: float | None
) -> None:
    told, asked_first, asked_last, expected = (
        None if second is None else at(second) for second in (ended_at, first, last, end)
    )
    task = a_task(ended_at=told, end_first_asked_at=asked_first, end_last_asked_at=asked_last)
    assert known_end(task) == expected


# -- files


def a_file(status: FileStatus = UPLOADING, **facts: object) -> File:
    file = File(seen=SeenFile(file_id="f", status=status), claim_no=5, first_seen_at=at(5), updated_at=at(5))
    return replace(file, **facts)  # type: ignore[arg-type]


def merged(known: File | None, claim_no: int, second: float, **facts: object) -> File:
    """The file after an answer, taken in at second 100."""
    told = replace(SeenFile(file_id="f", status=UPLOADING), **facts)  # type: ignore[arg-type]
    files = merge_files({"f": known} if known else {}, seen(claim_no, second=second, files=(told,)), now=at(100))
    return files["f"]


@pytest.mark.parametrize(("status", "ends"), [(UPLOADING, None), (UPLOADED, at(7)), (LOST, at(7))])
def test_a_new_file_is_taken_as_told(status: FileStatus, ends: datetime | None) -> None:
    assert merged(None, 3, 7, status=status, file_size=9) == File(
        seen=SeenFile(file_id="f", status=status, file_size=9),
        claim_no=3,
        first_seen_at=at(7),
        updated_at=at(100),
        reached_end_at=ends,
    )


@pytest.mark.parametrize(("second", "first"), [(4, 4), (6, 5)])
@pytest.mark.parametrize("claim_no", [1, 9])
def test_a_file_that_only_callbacks_told_of_gives_way_to_an_answer(second: int, first: int, claim_no: int) -> None:
    heard = a_file(UPLOADED, source="callback", claim_no=0, reached_end_at=at(5))
    file = merged(heard, claim_no, second, file_size=9)
    assert (file.source, file.seen.status, file.seen.file_size) == ("poll", UPLOADING, 9)
    assert (file.claim_no, file.first_seen_at, file.reached_end_at) == (claim_no, at(first), None)
    assert file.updated_at == at(100)


@pytest.mark.parametrize(
    ("claim_no", "second", "facts", "changes"),
    [
        (6, 6, {}, {"claim_no": 6}),
        (5, 6, {"file_size": 9}, {}),
        (4, 6, {"file_size": 9}, {}),
        (4, 4, {}, {"first_seen_at": at(4)}),
        (6, 6, {"file_size": 9}, {"claim_no": 6, "updated_at": at(100), "file_size": 9}),
        (4, 6, {"status": UPLOADED},
         {"claim_no": 4, "updated_at": at(100), "status": UPLOADED, "reached_end_at": at(6)}),
    ],
)  # fmt: skip
def test_an_answer_changes_of_a_file_what_it_tells_anew(
    claim_no: int, second: int, facts: dict[str, object], changes: dict[str, object]
) -> None:
    told = {name: value for name, value in changes.items() if name in ("file_size", "status")}
    known = a_file()
    own = {name: value for name, value in changes.items() if name not in told}
    expected = replace(known, seen=replace(known.seen, **told), **own)  # type: ignore[arg-type]
    assert merged(known, claim_no, second, **facts) == expected


def test_an_earlier_end_counts_though_another_answer_describes_the_file() -> None:
    known = a_file(UPLOADED, reached_end_at=at(5))
    assert merged(known, 4, 3, status=LOST) == replace(
        known, first_seen_at=at(3), reached_end_at=at(3), updated_at=at(100)
    )
    assert merged(known, 4, 6, status=LOST) == known


# -- conclusions


@pytest.mark.parametrize(
    ("before", "closed_at", "becomes"),
    [
        (Tracking.ACTIVE, None, (Tracking.SETTLED, at(9), at(9))),
        (Tracking.ACTIVE, at(1), (Tracking.SETTLED, at(9), at(9))),
        (Tracking.EXPIRED, at(1), (Tracking.SETTLED, at(9), at(1))),
        (Tracking.UNTRACKED, at(1), (Tracking.UNTRACKED, None, at(1))),
        (Tracking.UNTRACKED, None, (Tracking.UNTRACKED, None, at(9))),
    ],
)
def test_when_a_task_settles_and_closes(
    before: Tracking, closed_at: datetime | None, becomes: tuple[Tracking, datetime | None, datetime]
) -> None:
    over = a_task(tracking=before, status=COMPLETED, closed_at=closed_at, files={"f": a_file(UPLOADED)})
    task = conclude(over, now=at(9))
    assert (task.tracking, task.settled_at, task.closed_at) == becomes
    assert conclude(task, now=at(99)) == task


@pytest.mark.parametrize(
    ("tracking", "basis", "kept"),
    [
        (Tracking.EXPIRED, "callback", True),
        (Tracking.EXPIRED, "poll", False),
        (Tracking.UNTRACKED, "callback", False),
    ],
)
def test_what_callbacks_told_of_an_expired_task_stands_while_polls_tell_nothing(
    tracking: Tracking, basis: str, kept: bool
) -> None:
    task = a_task(tracking=tracking, outcome=Outcome.UPLOADED, outcome_basis=basis, status=ONGOING, closed_at=NOW)
    told = conclude(task, now=at(9))
    assert (told.outcome, told.outcome_basis) == (
        (Outcome.UPLOADED, "callback") if kept else (Outcome.UNRESOLVED, "poll")
    )
    lost = conclude(replace(task, files={"f": a_file(LOST)}), now=at(9))
    assert (lost.outcome, lost.outcome_basis) == (Outcome.LOST, "poll")


@pytest.mark.parametrize("close", [expired, untracked])
def test_closing_a_task_says_when_and_calms_what_is_about_asking(close: object) -> None:
    every = Attention(31) & ~Attention.LOST & ~Attention.BACKUP_EXPIRING
    task = a_task(attention=every, closed_at=at(1), settled_at=at(1))
    closed = close(task, now=at(9))  # type: ignore[operator]
    assert (closed.attention, closed.closed_at, closed.settled_at) == (Attention(0), at(9), None)
    assert tracked(closed, now=at(10)).tracking is Tracking.ACTIVE
