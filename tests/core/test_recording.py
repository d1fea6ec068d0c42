import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from app.core.merging import (
    FAILING_AFTER,
    NOT_FOUND_PATIENCE,
    answered,
    apply,
    expired,
    failed,
    mark,
    tracked,
    untracked,
)
from app.core.recording import (
    BACKUP_KEPT,
    QUERY_WINDOW,
    Attention,
    Basis,
    Failure,
    FileStatus,
    LastError,
    Observation,
    Outcome,
    SeenFile,
    Status,
    Task,
    Tracking,
    creation_time,
)

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
RECORDING, UPLOADING, UPLOADED = FileStatus.RECORDING, FileStatus.UPLOADING, FileStatus.UPLOADED
BACKUP, LOST, UNKNOWN = FileStatus.UPLOADED_TO_BACKUP, FileStatus.LOST, FileStatus.UNKNOWN


def a_task(task_id: str = "0000000000000000", **facts: object) -> Task:
    return replace(Task(task_id=task_id, app_id=1, registered_at=NOW, updated_at=NOW), **facts)  # type: ignore[arg-type]


def seen(
    claim_no: int,
    status: Status = Status.ONGOING,
    *files: FileStatus | tuple[str, FileStatus],
    at: float = 0,
    **facts: object,
) -> Observation:
    """What claim ``claim_no`` was told, asked ``at`` seconds after NOW; files are named f0, f1, … unless named."""
    named = [file if isinstance(file, tuple) else (f"f{i}", file) for i, file in enumerate(files)]
    return replace(
        Observation(
            claim_no=claim_no,
            asked_at=NOW + at * SECOND,
            status=status,
            files=tuple(SeenFile(file_id=name, status=status) for name, status in named),
        ),
        **facts,  # type: ignore[arg-type]
    )


def after(*observations: Observation, task: Task | None = None) -> Task:
    """The task after the observations, each applied a second after it was asked for."""
    task = task or a_task()
    for observation in observations:
        task = apply(task, observation, now=observation.asked_at + SECOND)
    return task


def file_status(task: Task, name: str = "f0") -> FileStatus:
    return task.files[name].seen.status


def an_error(code: str = "not_found") -> LastError:
    return LastError(code=code, message="told so", request_id="r1", at=NOW)


# -- the task's own facts


def test_the_highest_claim_wins_the_status_whatever_the_order() -> None:
    told = [seen(1, Status.INITIALIZED), seen(2, Status.ONGOING), seen(3, Status.PAUSED)]
    assert {after(*order).status for order in permutations(told)} == {Status.PAUSED}
    assert {after(*order).claim_no for order in permutations(told)} == {3}


def test_the_wait_for_an_empty_list_starts_anew_after_a_resumption() -> None:
    again = seen(3, Status.COMPLETED, at=3600, ended_at=NOW + timedelta(seconds=3599))
    task = after(seen(1, Status.ENDED_ABNORMALLY, at=0), seen(2, Status.ONGOING, at=10), again)
    assert task.tracking is Tracking.ACTIVE


def test_an_ended_task_goes_back_only_on_a_later_claim() -> None:
    ended = after(seen(5, Status.COMPLETED, UPLOADED))
    assert after(seen(4, Status.ONGOING), task=ended).status is Status.COMPLETED
    assert after(seen(6, Status.ONGOING), task=ended).status is Status.ONGOING


def test_the_same_claim_told_twice_changes_nothing_the_second_time() -> None:
    once = after(seen(2, Status.ONGOING, UPLOADING))
    assert apply(once, seen(2, Status.ONGOING, UPLOADING), now=NOW + timedelta(hours=1)) == once


@pytest.mark.parametrize(
    ("field", "value"), [("room_id", "r1"), ("record_mode_code", 2), ("stream_type_code", 3), ("began_at", NOW)]
)
def test_what_was_told_once_is_not_forgotten_when_a_later_answer_lacks_it(field: str, value: object) -> None:
    told, silent = replace(seen(1), **{field: value}), seen(2)  # type: ignore[arg-type]
    assert getattr(after(told, silent), field) == value
    assert getattr(after(silent, told), field) == value


def test_the_end_is_told_by_the_latest_claim_alone() -> None:
    ended = after(seen(1, Status.COMPLETED, ended_at=NOW))
    assert ended.ended_at == NOW
    assert after(seen(2, Status.ONGOING), task=ended).ended_at is None


def test_a_status_number_nobody_documented_is_carried() -> None:
    task = after(seen(1, Status.UNKNOWN, status_code=9))
    assert (task.status, task.status_code, task.tracking) == (Status.UNKNOWN, 9, Tracking.ACTIVE)


# -- files


@pytest.mark.parametrize(
    ("first", "second", "known"),
    [
        (RECORDING, UPLOADING, UPLOADING),
        (UPLOADING, RECORDING, UPLOADING),
        (UPLOADED, RECORDING, UPLOADED),
        (UPLOADED, UPLOADING, UPLOADED),
        (LOST, UPLOADING, LOST),
        (UPLOADED, UNKNOWN, UPLOADED),
        (RECORDING, UNKNOWN, UNKNOWN),
        (UNKNOWN, RECORDING, UNKNOWN),
        (UPLOADING, UNKNOWN, UNKNOWN),
        (UNKNOWN, UPLOADING, UPLOADING),
        (BACKUP, UPLOADED, UPLOADED),
        (BACKUP, LOST, LOST),
        (UPLOADED, BACKUP, BACKUP),
        (LOST, UPLOADED, UPLOADED),
    ],
)
def test_a_files_rank_only_rises_and_within_a_rank_the_highest_claim_wins(
    first: FileStatus, second: FileStatus, known: FileStatus
) -> None:
    told = (seen(1, Status.COMPLETED, first), seen(2, Status.COMPLETED, second))
    assert file_status(after(*told)) is known
    assert file_status(after(*reversed(told))) is known


def test_a_file_never_goes_back_to_uploading() -> None:
    task = after(seen(1, Status.COMPLETED, UPLOADED), seen(9, Status.COMPLETED, UPLOADING))
    assert file_status(task) is UPLOADED


def test_files_never_vanish() -> None:
    task = after(seen(1, Status.ONGOING, RECORDING, UPLOADING), seen(2, Status.COMPLETED))
    assert sorted(task.files) == ["f0", "f1"]
    assert task.tracking is Tracking.ACTIVE


def test_a_file_is_described_by_the_answer_that_won_its_status() -> None:
    early = seen(1, Status.ONGOING)
    late = seen(2, Status.COMPLETED)
    task = after(
        replace(early, files=(SeenFile(file_id="f", status=UPLOADED, file_size=10, file_url="u"),)),
        replace(late, files=(SeenFile(file_id="f", status=UPLOADING, file_size=5),)),
    )
    assert (task.files["f"].seen.file_size, task.files["f"].claim_no) == (10, 1)


def test_an_unknown_file_status_is_carried_and_keeps_the_task_from_settling() -> None:
    odd = SeenFile(file_id="f", status=UNKNOWN, status_code=9)
    task = after(replace(seen(1, Status.COMPLETED), files=(odd,)))
    assert (task.files["f"].seen.status_code, task.tracking) == (9, Tracking.ACTIVE)


def test_the_first_sighting_and_the_end_are_the_earliest_ones_asked() -> None:
    told = [seen(1, Status.ONGOING, RECORDING, at=1), *(seen(n, Status.COMPLETED, UPLOADED, at=n) for n in (2, 3))]
    for order in permutations(told):
        file = after(*order).files["f0"]
        assert (file.first_seen_at, file.reached_end_at) == (NOW + 1 * SECOND, NOW + 2 * SECOND)


def test_a_file_that_is_told_again_unchanged_keeps_its_date_of_change() -> None:
    first = after(seen(1, Status.ONGOING, UPLOADING, at=0))
    again = after(seen(2, Status.ONGOING, UPLOADING, at=50), task=first)
    assert again.files["f0"].updated_at == first.files["f0"].updated_at
    changed = after(seen(3, Status.ONGOING, UPLOADED, at=99), task=again)
    assert changed.files["f0"].updated_at == NOW + 100 * SECOND


def test_a_backup_copy_expires_three_days_after_it_was_first_seen_there() -> None:
    task = after(seen(1, Status.COMPLETED, BACKUP, at=0), seen(2, Status.COMPLETED, BACKUP, at=90))
    assert task.files["f0"].backup_expires_at == NOW + BACKUP_KEPT
    delivered = after(seen(3, Status.COMPLETED, UPLOADED, at=99), task=task)
    assert delivered.files["f0"].backup_expires_at is None


def test_the_files_are_counted_by_status() -> None:
    task = after(seen(1, Status.COMPLETED, UPLOADED, UPLOADED, LOST, UPLOADING))
    assert task.file_counts == {"uploaded": 2, "lost": 1, "uploading": 1}


# -- settling


@pytest.mark.parametrize(
    ("status", "files", "settled"),
    [
        (Status.ONGOING, [UPLOADED], False),
        (Status.PAUSED, [UPLOADED], False),
        (Status.UNKNOWN, [UPLOADED], False),
        (Status.COMPLETED, [UPLOADED], True),
        (Status.ENDED_ABNORMALLY, [UPLOADED], True),
        (Status.COMPLETED, [BACKUP], True),
        (Status.COMPLETED, [LOST], True),
        (Status.COMPLETED, [UPLOADED, BACKUP, LOST], True),
        (Status.COMPLETED, [UPLOADED, UPLOADING], False),
        (Status.COMPLETED, [RECORDING, UPLOADED], False),
        (Status.COMPLETED, [UNKNOWN], False),
        (Status.COMPLETED, [], False),
    ],
)
def test_a_task_settles_when_it_has_ended_and_every_file_is_at_its_end(
    status: Status, files: list[FileStatus], settled: bool
) -> None:
    task = after(seen(1, status, *files, at=10))
    assert task.tracking is (Tracking.SETTLED if settled else Tracking.ACTIVE)
    assert task.settled_at == task.closed_at == (NOW + 11 * SECOND if settled else None)
    assert (task.outcome is None, task.outcome_basis) == (not settled, "poll" if settled else None)


@pytest.mark.parametrize(("status", "grace"), [(Status.COMPLETED, 60), (Status.ENDED_ABNORMALLY, 180)])
def test_an_empty_list_is_believed_only_when_asked_some_time_after_the_end(status: Status, grace: int) -> None:
    ended = {"ended_at": NOW}
    waiting = after(seen(1, status, at=1, **ended), seen(2, status, at=grace - 0.001, **ended))
    assert waiting.tracking is Tracking.ACTIVE
    done = after(seen(3, status, at=grace, **ended), task=waiting)
    assert (done.tracking, done.outcome) == (Tracking.SETTLED, Outcome.NO_FILES)


def test_without_a_known_end_the_wait_counts_from_the_first_answer_that_told_of_it() -> None:
    first = after(seen(1, Status.COMPLETED, at=30))
    assert after(seen(2, Status.COMPLETED, at=89), task=first).tracking is Tracking.ACTIVE
    assert after(seen(2, Status.COMPLETED, at=90), task=first).tracking is Tracking.SETTLED


def test_an_end_in_the_providers_future_does_not_prolong_the_wait() -> None:
    ahead = {"ended_at": NOW + timedelta(hours=8)}
    task = after(seen(1, Status.COMPLETED, at=0, **ahead), seen(2, Status.COMPLETED, at=60, **ahead))
    assert task.tracking is Tracking.SETTLED


@pytest.mark.parametrize("ended_at", [datetime(1970, 1, 21, tzinfo=UTC), NOW - timedelta(days=5)])
def test_an_end_that_cannot_be_does_not_shorten_the_wait(ended_at: datetime) -> None:
    first = after(seen(1, Status.COMPLETED, at=1, ended_at=ended_at))
    assert first.tracking is Tracking.ACTIVE
    assert first.ended_at == ended_at
    assert after(seen(2, Status.COMPLETED, at=61, ended_at=ended_at), task=first).tracking is Tracking.SETTLED


def test_it_is_the_asking_that_must_be_late_not_the_recording_of_the_answer() -> None:
    early = seen(1, Status.COMPLETED, at=1, ended_at=NOW)
    task = apply(a_task(), early, now=NOW + timedelta(hours=1))
    assert task.tracking is Tracking.ACTIVE


# -- outcomes


@pytest.mark.parametrize(
    ("files", "outcome"),
    [
        ([LOST], Outcome.LOST),
        ([LOST, LOST], Outcome.LOST),
        ([LOST, UPLOADED], Outcome.PARTIALLY_LOST),
        ([LOST, BACKUP], Outcome.PARTIALLY_LOST),
        ([LOST, BACKUP, UPLOADED], Outcome.PARTIALLY_LOST),
        ([BACKUP], Outcome.UPLOADED_TO_BACKUP),
        ([BACKUP, UPLOADED], Outcome.UPLOADED_TO_BACKUP),
        ([UPLOADED], Outcome.UPLOADED),
        ([UPLOADED, UPLOADED], Outcome.UPLOADED),
        ([], Outcome.NO_FILES),
    ],
)
def test_the_outcome_of_a_settled_task_is_the_first_that_holds(files: list[FileStatus], outcome: Outcome) -> None:
    task = after(seen(1, Status.COMPLETED, *files), seen(2, Status.COMPLETED, *files, at=200))
    assert (task.tracking, task.outcome, task.outcome_basis) == (Tracking.SETTLED, outcome, "poll")


@pytest.mark.parametrize(
    ("status", "files", "outcome"),
    [
        (Status.PENDING, [], Outcome.UNRESOLVED),
        (Status.ONGOING, [], Outcome.UNRESOLVED),
        (Status.ONGOING, [RECORDING], Outcome.UNRESOLVED),
        (Status.COMPLETED, [], Outcome.UNRESOLVED),
        (Status.COMPLETED, [UPLOADED, UPLOADING], Outcome.UNRESOLVED),
        (Status.COMPLETED, [LOST, UPLOADING], Outcome.PARTIALLY_LOST),
    ],
)
def test_the_outcome_of_an_unfinished_task_is_unresolved_unless_files_are_known_to_be_lost(
    status: Status, files: list[FileStatus], outcome: Outcome
) -> None:
    task = after(seen(1, status, *files))
    assert expired(task, now=NOW).outcome is outcome
    assert untracked(task, now=NOW).outcome is outcome


def test_a_backup_copy_that_was_delivered_late_changes_the_outcome() -> None:
    task = after(seen(1, Status.COMPLETED, BACKUP))
    task = after(seen(2, Status.COMPLETED, UPLOADED, at=600), task=task)
    assert (task.tracking, task.outcome) == (Tracking.SETTLED, Outcome.UPLOADED)
    assert task.settled_at == NOW + SECOND


# -- reopening, untracking, expiring


@pytest.mark.parametrize(
    "later",
    [
        seen(2, Status.ONGOING, UPLOADED, at=90),
        seen(2, Status.COMPLETED, UPLOADED, UPLOADING, at=90),
        seen(2, Status.UNKNOWN, UPLOADED, at=90),
    ],
    ids=["running again", "a new unfinished file", "a status nobody knows"],
)
def test_a_settled_task_is_reopened(later: Observation) -> None:
    task = after(seen(1, Status.COMPLETED, UPLOADED), later)
    assert task.tracking is Tracking.ACTIVE
    assert (task.outcome, task.outcome_basis, task.settled_at, task.closed_at) == (None, None, None, None)


def test_a_reopened_task_settles_anew() -> None:
    task = after(
        seen(1, Status.COMPLETED, UPLOADED),
        seen(2, Status.COMPLETED, UPLOADED, UPLOADING, at=90),
        seen(3, Status.COMPLETED, UPLOADED, UPLOADED, at=99),
    )
    assert (task.tracking, task.settled_at) == (Tracking.SETTLED, NOW + 100 * SECOND)


def test_a_running_status_asked_earlier_does_not_reopen() -> None:
    task = after(seen(2, Status.COMPLETED, UPLOADED), seen(1, Status.ONGOING, RECORDING))
    assert task.tracking is Tracking.SETTLED


@pytest.mark.parametrize("status", [Status.ONGOING, Status.COMPLETED])
def test_an_untracked_task_stays_untracked_whatever_is_told(status: Status) -> None:
    task = untracked(after(seen(1)), now=NOW)
    told = after(seen(2, status, UPLOADED, at=60), task=task)
    assert told.tracking is Tracking.UNTRACKED
    assert (told.status, told.closed_at) == (status, task.closed_at)


def test_tracking_resumes_where_the_task_stands() -> None:
    running = tracked(untracked(after(seen(1)), now=NOW), now=NOW)
    assert (running.tracking, running.outcome, running.closed_at) == (Tracking.ACTIVE, None, None)
    over = tracked(untracked(after(seen(1, Status.COMPLETED, UPLOADED)), now=NOW), now=NOW)
    assert (over.tracking, over.outcome) == (Tracking.SETTLED, Outcome.UPLOADED)


@pytest.mark.parametrize(
    ("failure", "after_deadline", "tracking"),
    [
        (Failure.NOT_FOUND, -SECOND, Tracking.ACTIVE),
        (Failure.NOT_FOUND, timedelta(0), Tracking.EXPIRED),
        (Failure.REFUSED, -SECOND, Tracking.ACTIVE),
        (Failure.REFUSED, timedelta(0), Tracking.EXPIRED),
        (Failure.UNKNOWN, timedelta(hours=23), Tracking.ACTIVE),
        (Failure.UNKNOWN, timedelta(days=1), Tracking.EXPIRED),
        (Failure.TROUBLE, timedelta(days=9), Tracking.ACTIVE),
    ],
)
def test_a_task_expires_when_its_window_has_closed_and_the_provider_has_nothing_to_tell(
    failure: Failure, after_deadline: timedelta, tracking: Tracking
) -> None:
    now = NOW + QUERY_WINDOW + after_deadline
    task = failed(after(seen(1)), an_error(), failure, now=now)
    assert task.tracking is tracking
    assert task.status is Status.ONGOING
    if tracking is Tracking.EXPIRED:
        assert (task.closed_at, task.settled_at, task.outcome) == (now, None, Outcome.UNRESOLVED)
        assert not task.attention


def test_a_settled_task_does_not_expire() -> None:
    task = after(seen(1, Status.COMPLETED, UPLOADED))
    late = failed(task, an_error(), Failure.NOT_FOUND, now=NOW + timedelta(days=9))
    assert (late.tracking, late.outcome, late.attention) == (Tracking.SETTLED, Outcome.UPLOADED, Attention(0))


def test_an_expired_task_settles_if_an_answer_still_tells_that_it_is_over() -> None:
    task = expired(after(seen(1)), now=NOW)
    assert after(seen(2, Status.ONGOING), task=task).tracking is Tracking.EXPIRED
    assert after(seen(2, Status.COMPLETED, UPLOADED), task=task).tracking is Tracking.SETTLED


# -- failures and attention


def test_the_apps_trouble_counts_nothing_against_the_task() -> None:
    before = after(seen(1))
    task = failed(before, an_error("timeout"), Failure.TROUBLE, now=NOW + timedelta(days=1))
    assert task == replace(before, polling=replace(before.polling, last_error=an_error("timeout")))


@pytest.mark.parametrize("failure", [Failure.NOT_FOUND, Failure.REFUSED, Failure.UNKNOWN])
def test_a_poll_that_told_nothing_is_counted_with_its_reason(failure: Failure) -> None:
    task = failed(a_task(), an_error(), failure, now=NOW)
    polling = task.polling
    assert (polling.poll_count, polling.consecutive_failures, polling.last_polled_at) == (1, 1, NOW)
    assert polling.last_error == an_error()


@pytest.mark.parametrize("failure", [Failure.REFUSED, Failure.UNKNOWN])
def test_five_failures_in_a_row_need_attention(failure: Failure) -> None:
    task, told = a_task(), []
    for _ in range(FAILING_AFTER + 1):
        task = failed(task, an_error(), failure, now=NOW)
        told.append(task.attention.words)
    assert told == [[]] * (FAILING_AFTER - 1) + [["failing"]] * 2


def test_not_found_needs_attention_after_ten_minutes_not_before() -> None:
    task = failed(a_task(), an_error(), Failure.NOT_FOUND, now=NOW)
    for early in (1, 5, 9, 9.9, 9.99):
        task = failed(task, an_error(), Failure.NOT_FOUND, now=NOW + timedelta(minutes=early))
        assert not task.attention
    task = failed(task, an_error(), Failure.NOT_FOUND, now=NOW + NOT_FOUND_PATIENCE)
    assert task.attention.words == ["not_found"]


@pytest.mark.parametrize("flag", [Attention.FAILING, Attention.NOT_FOUND])
def test_an_answer_ends_the_failures_and_calms_the_attention(flag: Attention) -> None:
    task = failed(a_task(), an_error(), Failure.NOT_FOUND, now=NOW)
    task = answered(replace(task, attention=flag | Attention.LOST), at=NOW + SECOND)
    assert (task.attention, task.not_found_since) == (Attention.LOST, None)
    polling = task.polling
    assert (polling.consecutive_failures, polling.last_error, polling.poll_count) == (0, None, 2)


def test_a_lost_file_needs_attention_until_it_is_found_after_all() -> None:
    task = after(seen(1, Status.ONGOING, LOST, UPLOADED))
    assert task.attention.words == ["lost"]
    assert after(seen(2, Status.ONGOING, UPLOADED, UPLOADED), task=task).attention.words == []


def test_an_expired_task_keeps_only_what_still_matters_of_its_attention() -> None:
    every = Attention.FAILING | Attention.NOT_FOUND | Attention.EXPIRING | Attention.LOST
    task = replace(after(seen(1, Status.ONGOING, LOST)), attention=every)
    assert expired(task, now=NOW).attention.words == ["lost"]


def test_a_mark_touches_nothing_but_the_last_error() -> None:
    task = after(seen(1))
    marked = mark(task, an_error("app_not_configured"))
    assert marked.polling.last_error == an_error("app_not_configured")
    assert replace(marked, polling=task.polling) == task


# -- the query window


@pytest.mark.parametrize(
    ("task_id", "began"),
    [
        ("YZ4joOE4IwmFAAAT", 1637753760),
        ("YRHu6-E4IyvEAAAD", 1628565227),
        ("X3CgNeE4I1qAAABN", 1601216565),
    ],
)
def test_the_documented_task_ids_carry_a_time(task_id: str, began: int) -> None:
    assert creation_time(task_id) == datetime.fromtimestamp(began, UTC)


def test_an_id_that_cannot_be_decoded_carries_no_time() -> None:
    assert creation_time("ABCDE") is None


@pytest.mark.parametrize("task_id", ["-" * 16, "_" * 16, "A" * 16, "z" * 16, "0123456789-_abcX"])
def test_every_well_formed_id_can_be_asked_for_its_time(task_id: str) -> None:
    assert creation_time(task_id) is not None


@pytest.mark.parametrize("first", [b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"\xff\xff\xff\xff"])
def test_ids_carry_times_beyond_2038(first: bytes) -> None:
    told = creation_time(base64.urlsafe_b64encode(first + bytes(8)).decode())
    assert told == datetime.fromtimestamp(int.from_bytes(first), UTC)


HINT = datetime(2021, 11, 24, 11, 36, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("facts", "start", "basis"),
    [
        ({"began_at": NOW, "started_at": HINT}, NOW, Basis.PROVIDER),
        ({"started_at": NOW}, NOW, Basis.CALLER),
        ({"registered_at": HINT}, HINT, Basis.TASK_ID),
        ({"registered_at": HINT + timedelta(days=3)}, HINT, Basis.TASK_ID),
        ({"registered_at": HINT - timedelta(minutes=5)}, HINT, Basis.TASK_ID),
        ({"registered_at": HINT + timedelta(days=3, seconds=1)}, None, Basis.REGISTRATION),
        ({"registered_at": HINT - timedelta(minutes=5, seconds=1)}, None, Basis.REGISTRATION),
        ({"registered_at": NOW}, None, Basis.REGISTRATION),
        ({"began_at": NOW - 4 * DAY}, NOW - 4 * DAY, Basis.PROVIDER),
        ({"began_at": NOW + 4 * DAY}, NOW + 4 * DAY, Basis.PROVIDER),
        ({"began_at": NOW - 4 * DAY - SECOND, "started_at": NOW}, None, Basis.REGISTRATION),
        ({"began_at": NOW + 4 * DAY + SECOND, "started_at": NOW}, None, Basis.REGISTRATION),
        ({"began_at": datetime(1970, 1, 21, tzinfo=UTC)}, None, Basis.REGISTRATION),
        ({"began_at": datetime(2999, 1, 1, tzinfo=UTC)}, None, Basis.REGISTRATION),
    ],
)
def test_the_window_counts_from_the_best_known_start(
    facts: dict[str, datetime], start: datetime | None, basis: Basis
) -> None:
    task = a_task("YZ4joOE4IwmFAAAT", **facts)
    assert task.window == ((start or task.registered_at) + timedelta(days=3), basis)
