import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.recording import QUERY_WINDOW, File, FileStatus, Outcome, Polling, SeenFile, Status, Task, Tracking
from app.core.schedule import (
    CLOSING_EDGES,
    EARLY,
    Closing,
    Pace,
    Plan,
    Policy,
    Urgency,
    backoff,
    claim_order,
    closing,
    longest_wait,
    next_poll,
)

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
DEADLINE = NOW + QUERY_WINDOW
POLICY = Policy()
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
CALM = Pace()
MIDDLE = 0.5
"""The jitter that leaves an interval as it is."""

RUNNING = [status for status in Status if not status.ended]
ENDED = [Status.COMPLETED, Status.ENDED_ABNORMALLY]
ROTATION = 12
CODES = {Status.INITIALIZED: 1, Status.ONGOING: 2, Status.COMPLETED: 3, Status.ENDED_ABNORMALLY: 4, Status.PAUSED: 5}
FOLLOWED = (Tracking.ACTIVE, Tracking.SETTLED)
JITTER = st.floats(0, 1, exclude_max=True)


def a_task(status: Status = Status.ONGOING, **facts: object) -> Task:
    """A task that began at NOW."""
    task = Task(task_id="0" * 16, app_id=1, registered_at=NOW, updated_at=NOW, began_at=NOW, status=status, claim_no=1)
    return replace(task, **({"status_code": CODES.get(status)} | facts))  # type: ignore[arg-type]


def a_file(status: FileStatus = FileStatus.UPLOADING, source: str = "poll") -> File:
    seen = SeenFile(file_id="f0", status=status)
    return File(seen=seen, claim_no=1, first_seen_at=NOW, updated_at=NOW, source=source)


def an_ended_task(status: Status = Status.COMPLETED, *files: File, **facts: object) -> Task:
    """A task whose end was first told by an answer asked for at NOW; its window is not near its end."""
    listed = {f"f{number}": file for number, file in enumerate(files)}
    return a_task(status, **({"end_first_asked_at": NOW, "files": listed} | facts))


def an_uploading_task(**facts: object) -> Task:
    return an_ended_task(Status.COMPLETED, a_file(), **facts)


def a_settled_task(outcome: Outcome = Outcome.UPLOADED, **facts: object) -> Task:
    """A task that settled at NOW."""
    settled = {"tracking": Tracking.SETTLED, "outcome": outcome, "settled_at": NOW, "end_first_asked_at": NOW}
    return a_task(Status.COMPLETED, **(settled | facts))


def a_pace(crowding: float = 0, *, vouched: bool = False, horizon: timedelta = 10 * MINUTE) -> Pace:
    """``crowding`` in seconds."""
    return Pace(crowding=crowding * SECOND, vouched=vouched, closing=Closing(horizon=horizon))


def planned(
    task: Task, now: datetime = NOW, jitter: float = MIDDLE, policy: Policy = POLICY, pace: Pace = CALM
) -> Plan | None:
    return next_poll(task, now=now, jitter=jitter, policy=policy, pace=pace)


def a_plan(task: Task, now: datetime = NOW, jitter: float = MIDDLE, pace: Pace = CALM) -> Plan:
    """The plan for a task that must have one."""
    plan = planned(task, now, jitter, pace=pace)
    assert plan is not None
    return plan


def wait(task: Task, now: datetime = NOW, jitter: float = MIDDLE, pace: Pace = CALM) -> timedelta:
    return a_plan(task, now, jitter, pace).at - now


def early(task: Task, now: datetime = NOW, pace: Pace = CALM) -> timedelta:
    """How long it takes until spare budget may poll it."""
    at = a_plan(task, now, pace=pace).early_at
    assert at is not None
    return at - now


def looks(task: Task, now: datetime = NOW) -> list[timedelta]:
    """All looks at a settled task, each made when it was planned, as times after NOW."""
    found: list[timedelta] = []
    while (plan := planned(task, now)) is not None:
        assert plan == Plan(urgency=Urgency.LOOK, at=plan.at)
        now = plan.at
        found.append(now - NOW)
    return found


# -- who is claimed


def taken(waiting: set[Urgency], turns: int = ROTATION) -> list[Urgency]:
    """What claims take while these classes never run out of due tasks."""
    return [next(urgency for urgency in claim_order(turn) if urgency in waiting) for turn in range(turns)]


def test_every_order_of_claiming_holds_every_class_once() -> None:
    assert all(sorted(claim_order(turn)) == list(Urgency) for turn in range(3 * ROTATION))


def test_deadlines_and_hurried_tasks_share_most_claims_evenly() -> None:
    first = Counter(taken(set(Urgency)))
    assert first[Urgency.DEADLINE] >= 4
    assert first[Urgency.HURRIED] >= 4


@pytest.mark.parametrize(("one", "other"), [(Urgency.DEADLINE, Urgency.HURRIED), (Urgency.HURRIED, Urgency.DEADLINE)])
def test_a_flood_of_either_delays_the_other_by_three_claims_at_most(one: Urgency, other: Urgency) -> None:
    claims = "".join("x" if urgency is other else "." for urgency in taken({one, other}, 100))
    assert "...." not in claims


@pytest.mark.parametrize("urgency", [one for one in Urgency if one is not Urgency.LOOK])
def test_what_is_due_by_date_alone_is_served_however_many_others_wait(urgency: Urgency) -> None:
    assert urgency in taken(set(Urgency))


@pytest.mark.parametrize("urgency", Urgency)
def test_a_class_gets_every_claim_while_no_other_waits(urgency: Urgency) -> None:
    assert taken({urgency}) == [urgency] * ROTATION


@pytest.mark.parametrize("other", [Urgency.PROMPT, Urgency.ROUTINE])
def test_refreshes_get_at_most_every_second_claim_while_others_wait(other: Urgency) -> None:
    claims = taken({Urgency.REFRESH, other}, 1000)
    assert not any(a is b is Urgency.REFRESH for a, b in pairwise(claims))
    assert Counter(claims)[Urgency.REFRESH] >= 300


def test_deadlines_are_never_polled_early_and_neither_is_what_somebody_asked_for() -> None:
    assert set(EARLY) == {Urgency.PROMPT, Urgency.ROUTINE}


# -- while it records


@pytest.mark.parametrize("status", RUNNING)
@pytest.mark.parametrize("age", [0, 1, 600, 86_400])
def test_a_task_that_has_not_ended_is_asked_about_steadily_whatever_its_age(status: Status, age: int) -> None:
    now = NOW + age * SECOND
    assert planned(a_task(status), now) == Plan(
        urgency=Urgency.ROUTINE, at=now + 30 * SECOND, early_at=now + 15 * SECOND, closes_at=DEADLINE
    )


@settings(max_examples=100, deadline=None)
@given(jitter=JITTER)
def test_jitter_spreads_an_interval_by_a_tenth_to_either_side(jitter: float) -> None:
    plan = a_plan(a_task(), jitter=jitter)
    assert 27 * SECOND <= plan.at - NOW <= 33 * SECOND
    assert plan.early_at is not None
    assert 13.5 * SECOND <= plan.early_at - NOW <= 16.5 * SECOND


@pytest.mark.parametrize(("crowding", "interval"), [(0, 30), (29, 30), (31, 31), (100, 100), (1500, 1500)])
def test_many_recordings_stretch_the_round(crowding: float, interval: float) -> None:
    old = NOW + 24 * HOUR
    assert wait(a_task(), old, pace=a_pace(crowding)) == interval * SECOND


@pytest.mark.parametrize("crowding", [0, 100, 1500])
def test_spare_budget_polls_a_recording_15_seconds_after_the_last_poll_however_many_there_are(crowding: float) -> None:
    assert early(a_task(), pace=a_pace(crowding)) == 15 * SECOND


@pytest.mark.parametrize(
    ("crowding", "age", "interval"),
    [
        (100, 0, 519.615),  # sqrt(2700 x 100)
        (100, 400, 119.615),
        (100, 419.615, 100),
        (100, 500, 100),
        (12, 0, 180),
        (12, 150, 30),
        (2700, 0, 2700),  # one round takes as long as a recording: nothing to gain by waiting
        (5000, 0, 5000),
    ],
)
def test_a_young_recording_waits_until_it_is_worth_its_share_of_the_polls(
    crowding: float, age: float, interval: float
) -> None:
    told = wait(a_task(), NOW + age * SECOND, pace=a_pace(crowding))
    assert told.total_seconds() == pytest.approx(interval, abs=0.01)


def test_a_recording_whose_start_is_not_told_counts_from_its_registration() -> None:
    task = a_task(Status.PENDING, began_at=None, registered_at=NOW - 400 * SECOND)
    assert wait(task, pace=a_pace(100)).total_seconds() == pytest.approx(math.sqrt(2700 * 100) - 400, abs=0.01)


@settings(max_examples=200, deadline=None)
@given(crowding=st.floats(0, 10_000), age=st.floats(0, 86_400))
def test_no_recording_waits_less_than_a_round_nor_longer_than_a_young_one(crowding: float, age: float) -> None:
    interval = wait(a_task(), NOW + age * SECOND, pace=a_pace(crowding)).total_seconds()
    least = max(30, crowding)
    assert least - 0.01 <= interval <= max(least, math.sqrt(2700 * crowding)) + 0.01


@pytest.mark.parametrize("status", [Status.INITIALIZED, Status.ONGOING, Status.PAUSED])
@pytest.mark.parametrize("crowding", [0, 100, 1500])
def test_a_recording_that_the_list_vouches_for_is_polled_every_5_minutes_and_never_early(
    status: Status, crowding: float
) -> None:
    task = a_task(status, polling=Polling(listed=CODES[status]))
    plan = a_plan(task, pace=a_pace(crowding, vouched=True))
    assert (plan.urgency, plan.at, plan.early_at) == (Urgency.ROUTINE, NOW + 5 * MINUTE, None)


@pytest.mark.parametrize("listed", [None, 0, 3, 5])
@pytest.mark.parametrize("crowding", [0, 100])
def test_the_list_vouches_for_nothing_that_it_does_not_show_as_we_know_it(listed: int | None, crowding: float) -> None:
    task = a_task(polling=Polling(listed=listed))
    assert a_plan(task, pace=a_pace(crowding, vouched=True)) == a_plan(task, pace=a_pace(crowding))


def test_a_list_that_was_not_swept_lately_vouches_for_nothing() -> None:
    listed, unlisted = a_task(polling=Polling(listed=2)), a_task()
    assert a_plan(listed, pace=a_pace(100)) == a_plan(unlisted, pace=a_pace(100))


def test_the_list_vouches_for_nothing_that_has_ended_or_fails() -> None:
    vouched = a_pace(vouched=True)
    for task in (an_uploading_task(), a_task(polling=Polling(consecutive_failures=3))):
        listed = replace(task, polling=replace(task.polling, listed=2))
        assert a_plan(listed, pace=vouched) == a_plan(task)


# -- while its files upload


@pytest.mark.parametrize("status", ENDED)
def test_an_ended_task_whose_files_upload_is_asked_about_often(status: Status) -> None:
    assert planned(an_ended_task(status, a_file())) == Plan(
        urgency=Urgency.PROMPT, at=NOW + 15 * SECOND, early_at=NOW + 5 * SECOND, closes_at=DEADLINE
    )


@pytest.mark.parametrize(
    ("crowding", "interval"), [(0, 15), (240, 15), (320, 20), (1600, 100), (2880, 180), (10_000, 180)]
)
def test_many_recordings_stretch_the_uploads_a_little(crowding: float, interval: float) -> None:
    assert wait(an_uploading_task(), pace=a_pace(crowding)) == interval * SECOND
    assert early(an_uploading_task(), pace=a_pace(crowding)) == 5 * SECOND


@pytest.mark.parametrize(
    ("since_end", "interval", "soonest"),
    [
        (0, 15, 5),
        (299, 15, 5),
        (300, 15, 5),
        (600, 30, 10),
        (3600, 180, 60),
        (12_000, 600, 200),
        (36_000, 600, 600),
        (86_400, 600, 600),
    ],
)
def test_an_upload_that_took_long_already_is_asked_about_less_often(
    since_end: float, interval: float, soonest: float
) -> None:
    now = NOW + since_end * SECOND
    assert wait(an_uploading_task(), now) == interval * SECOND
    assert early(an_uploading_task(), now) == soonest * SECOND


def test_tasks_waiting_for_their_first_poll_stretch_the_round_and_leave_uploads_alone() -> None:
    pace = Pace(crowding=10 * SECOND, waiting=500 * SECOND)
    assert wait(a_task(), pace=pace) == 510 * SECOND
    assert wait(an_uploading_task(), pace=pace) == 15 * SECOND


def test_where_closing_windows_press_first_polls_of_batches_wait() -> None:
    orders = [claim_order(turn, pressing=True) for turn in range(ROTATION)]
    assert not any(order[0] is Urgency.BATCH for order in orders)
    assert [order for turn, order in enumerate(orders) if order != claim_order(turn)] == [claim_order(1)]
    could = [int(10 * edge.total_seconds()) for edge in CLOSING_EDGES]
    assert not fit([0] * len(could)).pressing
    assert fit([int(0.8 * could[0])] * len(could)).pressing


def test_looks_at_settled_tasks_come_after_everything_else() -> None:
    assert all(claim_order(turn)[-1] is Urgency.LOOK for turn in range(ROTATION))


def test_a_crowd_and_a_long_upload_do_not_add_up() -> None:
    now = NOW + HOUR
    assert wait(an_uploading_task(), now, pace=a_pace(1600)) == 180 * SECOND
    assert wait(an_uploading_task(), now, pace=a_pace(10_000)) == 180 * SECOND


@pytest.mark.parametrize(("status", "grace"), [(Status.COMPLETED, 60), (Status.ENDED_ABNORMALLY, 180)])
@pytest.mark.parametrize("before", [12, 5, 0])
def test_an_ended_task_without_files_is_asked_just_after_its_empty_list_is_believed(
    status: Status, grace: int, before: float
) -> None:
    now = NOW + (grace - before) * SECOND
    for jitter in (0.0, 0.5, 0.999):
        assert wait(an_ended_task(status), now, jitter=jitter) == (before + 0.5) * SECOND


@pytest.mark.parametrize(("files", "early", "wait"), [(900, 5, 15), (2_000, 10, 15), (10_000, 50, 50)])
def test_a_task_of_thousands_of_files_is_polled_less_often(files: int, early: float, wait: float) -> None:
    task = replace(an_uploading_task(), file_counts={"uploading": files - 1, "uploaded": 1})
    plan = a_plan(task)
    assert (plan.early_at, plan.at) == (NOW + early * SECOND, NOW + wait * SECOND)
    assert a_plan(replace(task, status=Status.ONGOING)).at >= NOW + wait * SECOND


@pytest.mark.parametrize("began_at", [NOW + 10 * MINUTE, NOW + HOUR, NOW + 60 * 24 * HOUR])
def test_a_beginning_told_by_a_clock_ahead_of_ours_stops_no_polls(began_at: datetime) -> None:
    assert wait(a_task(began_at=began_at)) == 30 * SECOND


@pytest.mark.parametrize(("status", "grace"), [(Status.COMPLETED, 60), (Status.ENDED_ABNORMALLY, 180)])
def test_not_even_a_crowd_makes_it_wait_longer(status: Status, grace: int) -> None:
    crowded = a_pace(10_000)
    assert wait(an_ended_task(status), pace=crowded) == min(grace + 0.5, 180) * SECOND
    assert wait(an_ended_task(status), NOW + 30 * SECOND, pace=crowded) == (grace - 29.5) * SECOND


def test_a_file_that_only_callbacks_told_of_is_none_to_wait_for() -> None:
    told = a_file(FileStatus.UPLOADED, source="callback")
    now = NOW + 55 * SECOND
    assert wait(an_ended_task(Status.COMPLETED, told), now) == wait(an_ended_task(), now) == 5.5 * SECOND


@pytest.mark.parametrize("since_end", [61, 65, 120])
def test_after_that_it_is_asked_about_as_any_other(since_end: float) -> None:
    now = NOW + since_end * SECOND
    assert a_plan(an_ended_task(), now) == a_plan(an_uploading_task(), now)


def test_an_end_of_which_no_answer_is_known_counts_as_now() -> None:
    assert wait(an_ended_task(end_first_asked_at=None)) == 15 * SECOND


# -- failures


@pytest.mark.parametrize(
    ("failures", "longest"), [(1, 5), (2, 10), (3, 20), (7, 320), (8, 600), (9, 600), (100, 600), (10**9, 600)]
)
def test_the_wait_after_a_failure_doubles_up_to_ten_minutes(failures: int, longest: int) -> None:
    assert backoff(failures, jitter=1.0, policy=POLICY) == longest * SECOND
    assert backoff(failures, jitter=0.0, policy=POLICY) == longest * SECOND / 2


@settings(max_examples=200, deadline=None)
@given(failures=st.integers(1, 10**6), jitter=JITTER)
def test_the_wait_after_a_failure_stays_within_its_bounds(failures: int, jitter: float) -> None:
    after = backoff(failures, jitter=jitter, policy=POLICY)
    assert POLICY.retry_first / 2 <= after <= POLICY.retry_most
    assert backoff(failures + 1, jitter=jitter, policy=POLICY) >= after


@pytest.mark.parametrize("task", [a_task(), an_uploading_task(), an_ended_task()], ids=["records", "uploads", "empty"])
@pytest.mark.parametrize("pace", [CALM, a_pace(1500, vouched=True)], ids=["calm", "crowded"])
def test_a_failing_task_waits_for_its_backoff_and_is_never_polled_early(task: Task, pace: Pace) -> None:
    failing = replace(task, polling=Polling(consecutive_failures=3))
    at = NOW + backoff(3, jitter=MIDDLE, policy=POLICY)
    assert a_plan(failing, pace=pace) == Plan(urgency=Urgency.ROUTINE, at=at, early_at=None, closes_at=DEADLINE)


# -- before the window closes


@pytest.mark.parametrize(
    ("before_deadline", "point"),
    [
        (10 * MINUTE + 20 * SECOND, 10 * MINUTE),
        (10 * MINUTE + SECOND, 10 * MINUTE),
        (MINUTE + 20 * SECOND, MINUTE),
    ],
)
def test_an_active_task_is_asked_at_fixed_points_before_its_window_closes(
    before_deadline: timedelta, point: timedelta
) -> None:
    plan = a_plan(a_task(), DEADLINE - before_deadline)
    assert (plan.urgency, plan.at) == (Urgency.PROMPT, DEADLINE - point)


@pytest.mark.parametrize(
    ("task", "pace"),
    [
        (a_task(polling=Polling(consecutive_failures=20)), CALM),
        (a_task(), a_pace(1500)),
        (an_uploading_task(), CALM),
    ],
    ids=["failing", "crowded", "uploading for days"],
)
def test_a_long_wait_stops_at_the_first_of_the_points(task: Task, pace: Pace) -> None:
    for now, point in ((DEADLINE - 12 * MINUTE, 10 * MINUTE), (DEADLINE - 5 * MINUTE, MINUTE)):
        plan = a_plan(task, now, pace=pace)
        assert (plan.urgency, plan.at) == (Urgency.PROMPT, DEADLINE - point)


def test_what_the_list_vouches_for_is_asked_about_before_its_window_closes_too() -> None:
    task, pace = a_task(polling=Polling(listed=2)), a_pace(vouched=True)
    plan = a_plan(task, DEADLINE - 12 * MINUTE, pace=pace)
    assert (plan.urgency, plan.at) == (Urgency.PROMPT, DEADLINE - 10 * MINUTE)


def test_after_the_last_point_the_task_goes_on_until_the_provider_has_nothing_to_tell() -> None:
    for now in (DEADLINE - MINUTE, DEADLINE, DEADLINE + HOUR):
        plan = a_plan(a_task(), now)
        assert (plan.urgency, plan.at, plan.closes_at) == (Urgency.ROUTINE, now + 30 * SECOND, None)


@pytest.mark.parametrize("horizon", [10 * MINUTE, HOUR, 6 * HOUR])
def test_the_window_closes_a_plan_until_the_last_look_has_begun(horizon: timedelta) -> None:
    pace = a_pace(horizon=horizon)
    millisecond = timedelta(milliseconds=1)
    assert a_plan(a_task(), DEADLINE - horizon - millisecond, pace=pace).closes_at == DEADLINE
    assert a_plan(a_task(), DEADLINE - horizon, pace=pace).closes_at is None
    assert a_plan(a_task(), DEADLINE - horizon + millisecond, pace=pace).closes_at is None


@settings(max_examples=200, deadline=None)
@given(left=st.floats(0, 3 * 86_400), failures=st.integers(0, 20), jitter=JITTER, status=st.sampled_from(Status))
def test_an_active_tasks_next_poll_is_to_come_and_never_past_a_point_before_the_deadline(
    left: float, failures: int, jitter: float, status: Status
) -> None:
    now = DEADLINE - left * SECOND
    task = a_task(status, end_first_asked_at=NOW, polling=Polling(consecutive_failures=failures))
    plan = a_plan(task, now, jitter)
    assert plan.at > now
    assert all(plan.at <= point or point <= now for point in (DEADLINE - 10 * MINUTE, DEADLINE - MINUTE))


# -- how closing windows fit into the budget


def counted(*minutes: float, each: int = 1) -> list[int]:
    """The counts of tasks whose windows close in so many minutes."""
    return [sum(each for minute in minutes if minute * MINUTE <= edge) for edge in CLOSING_EDGES]


def fit(counts: Sequence[int], rate: float = 10.0) -> Closing:
    return closing(counts, rate=rate, policy=POLICY)


def test_without_tasks_there_is_a_horizon_of_ten_minutes() -> None:
    assert fit(counted()) == Closing(tasks=0, horizon=10 * MINUTE, unservable=0, short_in=None)


def test_all_tasks_that_close_within_the_last_span_are_counted() -> None:
    assert fit(counted(3, 300)).tasks == 2


def test_a_few_tasks_do_not_widen_the_horizon() -> None:
    assert fit(counted(3, 50, 200, each=100)) == Closing(tasks=300, load=100 / (5 * 60 * 10))


@pytest.mark.parametrize(("each", "horizon"), [(4199, 10), (4200, 10), (12_599, 10), (12_600, 30), (18_000, 30)])
def test_tasks_that_need_most_of_the_time_there_is_until_their_windows_close_widen_the_horizon(
    each: int, horizon: int
) -> None:
    """Half an hour serves 18,000 at 10 a second; 70 % of it is counted on."""
    told = fit(counted(25, each=each))
    assert told == Closing(tasks=each, horizon=horizon * MINUTE, pressing=horizon > 10, load=each / 18_000)


def test_what_cannot_be_served_in_time_is_counted_and_dated() -> None:
    told = fit(counted(25, each=18_500))
    assert (told.unservable, told.short_in, told.horizon) == (500, 30 * MINUTE, 30 * MINUTE)


def test_the_first_of_several_shortages_is_dated_and_the_worst_counted() -> None:
    told = fit(counted(1, 2, 5, 5, each=700))
    assert (told.tasks, told.unservable, told.short_in) == (2800, 200, MINUTE)


def test_a_task_that_closes_within_a_minute_is_served_even_at_a_slow_pace() -> None:
    assert fit(counted(1), rate=1 / 60).unservable == 0
    assert fit(counted(1, 1), rate=1 / 60) == replace(fit(counted(1, 1), rate=1 / 60), unservable=1, short_in=MINUTE)


def test_every_span_is_counted() -> None:
    with pytest.raises(ValueError, match="shorter"):
        fit([0])


RATES = st.floats(0.01, 100)
COUNTS = st.lists(st.integers(0, 20_000), min_size=len(CLOSING_EDGES), max_size=len(CLOSING_EDGES)).map(
    lambda gains: [sum(gains[: i + 1]) for i in range(len(gains))]
)


@settings(max_examples=200, deadline=None)
@given(counts=COUNTS, rate=RATES)
def test_a_closing_is_never_negative_and_agrees_with_itself(counts: list[int], rate: float) -> None:
    told = fit(counts, rate)
    assert 0 <= told.unservable <= told.tasks == counts[-1]
    assert (told.short_in is None) is (told.unservable == 0)
    assert told.horizon in {10 * MINUTE, *CLOSING_EDGES}
    assert told.horizon >= 10 * MINUTE
    assert told.short_in is None or told.short_in <= told.horizon


@settings(max_examples=200, deadline=None)
@given(counts=COUNTS, more=COUNTS, rate=RATES, faster=RATES)
def test_more_tasks_never_fit_better_and_a_faster_pace_never_worse(
    counts: list[int], more: list[int], rate: float, faster: float
) -> None:
    less = fit(counts, rate)
    for worse, better in (
        (fit([a + b for a, b in zip(counts, more, strict=True)], rate), less),
        (less, fit(counts, max(rate, faster))),
    ):
        assert worse.horizon >= better.horizon
        assert worse.unservable >= better.unservable
        assert (worse.short_in or timedelta.max) <= (better.short_in or timedelta.max)


# -- after settling


def test_a_settled_task_is_looked_at_again_three_times() -> None:
    assert looks(a_settled_task()) == [MINUTE, 10 * MINUTE, HOUR]


@pytest.mark.parametrize(
    "outcome", [Outcome.LOST, Outcome.PARTIALLY_LOST, Outcome.UPLOADED_TO_BACKUP, Outcome.NO_FILES]
)
def test_what_may_still_change_is_looked_at_every_six_hours_and_at_the_windows_end(outcome: Outcome) -> None:
    again = [HOUR + 6 * HOUR * turn for turn in range(1, 12)]
    last = QUERY_WINDOW - 10 * MINUTE
    assert looks(a_settled_task(outcome)) == [MINUTE, 10 * MINUTE, HOUR, *again, last]


def test_a_settled_task_is_not_looked_at_after_its_window() -> None:
    task = a_settled_task(began_at=NOW - QUERY_WINDOW + 5 * MINUTE)
    assert looks(task) == [MINUTE]
    assert looks(replace(task, outcome=Outcome.LOST)) == [MINUTE]
    assert looks(task, NOW + HOUR) == []


@pytest.mark.parametrize("facts", [{"settled_at": None}, {"status": Status.PENDING}])
def test_what_never_settled_or_was_never_seen_is_not_looked_at_again(facts: dict[str, Any]) -> None:
    assert planned(replace(a_settled_task(), **facts)) is None


def test_the_looks_depend_neither_on_failures_nor_on_the_pace() -> None:
    task = a_settled_task(polling=Polling(consecutive_failures=9, listed=2))
    assert planned(task, pace=a_pace(1500, vouched=True)) == Plan(urgency=Urgency.LOOK, at=NOW + MINUTE)


# -- whatever the task


@pytest.mark.parametrize("tracking", [Tracking.UNTRACKED, Tracking.EXPIRED])
def test_a_task_that_is_no_longer_tracked_is_never_asked_about(tracking: Tracking) -> None:
    assert planned(a_task(tracking=tracking)) is None


def test_the_policy_sets_the_intervals() -> None:
    policy = Policy(recording=HOUR, uploading=2 * MINUTE, retry_first=MINUTE, vouched=3 * HOUR)
    for task, urgency, interval in (
        (a_task(), Urgency.ROUTINE, HOUR),
        (an_uploading_task(), Urgency.PROMPT, 2 * MINUTE),
        (a_task(polling=Polling(consecutive_failures=1)), Urgency.ROUTINE, 45 * SECOND),
        (a_task(polling=Polling(listed=2)), Urgency.ROUTINE, 3 * HOUR),
    ):
        plan = planned(task, policy=policy, pace=a_pace(vouched=True))
        assert plan is not None
        assert (plan.urgency, plan.at) == (urgency, NOW + interval)


MOMENTS = st.floats(0, 3 * 86_400 + 7200).map(lambda seconds: NOW + seconds * SECOND)
PACES = st.builds(
    a_pace,
    st.floats(0, 20_000),
    vouched=st.booleans(),
    horizon=st.sampled_from([10 * MINUTE, HOUR, 6 * HOUR]),
)


@st.composite
def tasks(draw: st.DrawFn) -> Task:
    """Any task that a moment from NOW on may meet."""
    tracking, status = draw(st.sampled_from(Tracking)), draw(st.sampled_from(Status))
    states = draw(st.lists(st.sampled_from(FileStatus), max_size=2))
    settled = tracking is Tracking.SETTLED
    return a_task(
        status,
        began_at=draw(st.sampled_from([NOW, None])),
        tracking=tracking,
        outcome=draw(st.sampled_from(Outcome)) if settled else None,
        settled_at=draw(MOMENTS) if settled else None,
        end_first_asked_at=draw(st.none() | MOMENTS) if status.ended else None,
        files={f"f{number}": a_file(state) for number, state in enumerate(states)},
        polling=Polling(
            listed=draw(st.sampled_from([None, 0, 2, 5])), consecutive_failures=draw(st.sampled_from([0, 0, 1, 9, 99]))
        ),
    )


@settings(max_examples=300, deadline=None)
@given(task=tasks(), now=MOMENTS, jitter=JITTER, pace=PACES)
def test_a_plan_lies_ahead_and_a_followed_task_has_one(task: Task, now: datetime, jitter: float, pace: Pace) -> None:
    plan = planned(task, now, jitter, pace=pace)
    if task.tracking is Tracking.ACTIVE:
        assert plan is not None
    if plan is None:
        return
    assert task.tracking in FOLLOWED
    assert plan.at > now
    assert plan.early_at is None or (plan.early_at > now and plan.urgency in EARLY)
    assert plan.closes_at is None or plan.closes_at > now + pace.closing.horizon


@settings(max_examples=200, deadline=None)
@given(age=st.floats(0, 2.9 * 86_400), ended=st.booleans(), jitter=JITTER, pace=PACES)
def test_a_plan_is_early_before_it_is_due(age: float, ended: bool, jitter: float, pace: Pace) -> None:
    plan = a_plan(an_uploading_task() if ended else a_task(), NOW + age * SECOND, jitter, pace)
    assert plan.early_at is not None
    assert plan.early_at <= plan.at


@settings(max_examples=300, deadline=None)
@given(now=MOMENTS, jitter=JITTER, pace=PACES, status=st.sampled_from(Status), failures=st.sampled_from([0, 1, 99]))
def test_no_active_task_waits_longer_than_a_round_ten_minutes_or_a_young_recording(
    now: datetime, jitter: float, pace: Pace, status: Status, failures: int
) -> None:
    task = a_task(status, end_first_asked_at=NOW, polling=Polling(consecutive_failures=failures))
    crowding = pace.crowding.total_seconds()
    longest = max(600, crowding, math.sqrt(2700 * crowding)) * 1.1
    assert wait(task, now, jitter, pace).total_seconds() <= longest + 0.01


# -- how far ahead


@pytest.mark.parametrize(
    ("pace", "longest"),
    [
        (CALM, 12 * MINUTE),  # the longest pause between retries
        (Pace(crowding=20 * MINUTE), 36 * MINUTE),  # a young recording waits for the root of 45 and 20 minutes
        (Pace(crowding=80 * MINUTE), 96 * MINUTE),  # a round over all
        (Pace(crowding=20 * MINUTE, waiting=40 * MINUTE), 72 * MINUTE),  # and the first polls of batches between
    ],
)
def test_the_longest_wait_is_a_fifth_more_than_the_longest_there_is(pace: Pace, longest: timedelta) -> None:
    assert longest_wait(POLICY, pace) == longest


@given(crowding=st.integers(0, 20_000), waiting=st.integers(0, 20_000), age=st.integers(0, 20_000), jitter=JITTER)
def test_nothing_is_planned_later_than_the_longest_wait(crowding: int, waiting: int, age: int, jitter: float) -> None:
    pace = Pace(crowding=crowding * SECOND, waiting=waiting * SECOND)
    plan = next_poll(a_task(), now=NOW + age * SECOND, jitter=jitter, policy=POLICY, pace=pace)
    assert plan is not None
    assert plan.at - (NOW + age * SECOND) <= longest_wait(POLICY, pace)
