from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.recording import QUERY_WINDOW, Outcome, Polling, Status, Task, Tracking
from app.core.schedule import Policy, Urgency, backoff, claim_order, next_poll_at

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
DEADLINE = NOW + QUERY_WINDOW
POLICY = Policy()
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
MIDDLE = 0.5
"""The jitter that leaves an interval as it is."""


def a_task(status: Status = Status.ONGOING, **facts: object) -> Task:
    """A task that began at NOW."""
    task = Task(task_id="0" * 16, app_id=1, registered_at=NOW, updated_at=NOW, began_at=NOW, status=status, claim_no=1)
    return replace(task, **facts)  # type: ignore[arg-type]


def a_settled_task(outcome: Outcome = Outcome.UPLOADED, **facts: object) -> Task:
    """A task that settled at NOW."""
    settled = {"tracking": Tracking.SETTLED, "outcome": outcome, "settled_at": NOW, "end_first_asked_at": NOW}
    return a_task(Status.COMPLETED, **(settled | facts))


def planned(
    task: Task, now: datetime = NOW, jitter: float = MIDDLE, policy: Policy = POLICY
) -> tuple[Urgency, datetime] | None:
    return next_poll_at(task, now=now, jitter=jitter, policy=policy)


def looks(task: Task, now: datetime = NOW) -> list[timedelta]:
    """All looks at a settled task, each made when it was planned, as times after NOW."""
    found: list[timedelta] = []
    while (step := planned(task, now)) is not None:
        urgency, now = step
        assert urgency is Urgency.ROUTINE
        found.append(now - NOW)
    return found


# -- who is claimed


def test_every_order_of_claiming_holds_every_class_once() -> None:
    assert all(sorted(claim_order(turn)) == list(Urgency) for turn in range(20))


def test_every_fifth_claim_takes_the_oldest_routine_task() -> None:
    assert [turn for turn in range(20) if claim_order(turn)[0] is Urgency.ROUTINE] == [4, 9, 14, 19]


def test_the_other_claims_take_deadlines_then_hurried_tasks_first() -> None:
    others = [claim_order(turn)[:2] for turn in range(20) if turn % 5 != 4]
    assert set(others) == {(Urgency.DEADLINE, Urgency.HURRIED)}


def test_refreshes_get_at_most_every_second_claim_while_routine_tasks_wait() -> None:
    waiting = (Urgency.REFRESH, Urgency.ROUTINE)
    taken = [next(urgency for urgency in claim_order(turn) if urgency in waiting) for turn in range(1000)]
    assert all(a is Urgency.ROUTINE or b is Urgency.ROUTINE for a, b in pairwise(taken))
    assert Counter(taken)[Urgency.REFRESH] >= 300


# -- while a task is active


@pytest.mark.parametrize("status", [Status.PENDING, Status.INITIALIZED, Status.ONGOING, Status.PAUSED, Status.UNKNOWN])
@pytest.mark.parametrize("age", [0, 1, 600, 86_400])
def test_a_task_that_has_not_ended_is_asked_about_steadily_whatever_its_age(status: Status, age: int) -> None:
    now = NOW + age * SECOND
    assert planned(a_task(status), now) == (Urgency.ROUTINE, now + POLICY.ongoing)


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.ENDED_ABNORMALLY])
@pytest.mark.parametrize(("since_end", "interval"), [(0, 5), (1, 5), (119, 5), (119.999, 5), (120, 30), (3600, 30)])
def test_after_the_end_a_task_is_asked_about_quickly_then_slower(
    status: Status, since_end: float, interval: int
) -> None:
    now = NOW + since_end * SECOND
    assert planned(a_task(status, end_first_asked_at=NOW), now) == (Urgency.ROUTINE, now + interval * SECOND)


@settings(max_examples=100, deadline=None)
@given(jitter=st.floats(0, 1, exclude_max=True))
def test_jitter_spreads_an_interval_by_a_tenth_to_either_side(jitter: float) -> None:
    step = planned(a_task(), jitter=jitter)
    assert step is not None
    assert timedelta(seconds=27) <= step[1] - NOW <= timedelta(seconds=33)


@pytest.mark.parametrize("tracking", [Tracking.UNTRACKED, Tracking.EXPIRED])
def test_a_task_that_is_no_longer_tracked_is_never_asked_about(tracking: Tracking) -> None:
    assert planned(a_task(tracking=tracking)) is None


# -- failures


@pytest.mark.parametrize(
    ("failures", "longest"), [(1, 5), (2, 10), (3, 20), (7, 320), (8, 600), (9, 600), (100, 600), (10**9, 600)]
)
def test_the_wait_after_a_failure_doubles_up_to_ten_minutes(failures: int, longest: int) -> None:
    assert backoff(failures, jitter=1.0, policy=POLICY) == longest * SECOND
    assert backoff(failures, jitter=0.0, policy=POLICY) == longest * SECOND / 2


@settings(max_examples=200, deadline=None)
@given(failures=st.integers(1, 10**6), jitter=st.floats(0, 1, exclude_max=True))
def test_the_wait_after_a_failure_stays_within_its_bounds(failures: int, jitter: float) -> None:
    wait = backoff(failures, jitter=jitter, policy=POLICY)
    assert POLICY.retry_first / 2 <= wait <= POLICY.retry_most
    assert backoff(failures + 1, jitter=jitter, policy=POLICY) >= wait


def test_a_failing_task_waits_for_its_backoff() -> None:
    task = a_task(polling=Polling(consecutive_failures=3))
    assert planned(task) == (Urgency.ROUTINE, NOW + backoff(3, jitter=MIDDLE, policy=POLICY))


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
    assert planned(a_task(), DEADLINE - before_deadline) == (Urgency.DEADLINE, DEADLINE - point)


def test_a_long_wait_stops_at_the_first_of_the_points() -> None:
    task = a_task(polling=Polling(consecutive_failures=20))
    assert planned(task, DEADLINE - 12 * MINUTE) == (Urgency.DEADLINE, DEADLINE - 10 * MINUTE)
    assert planned(task, DEADLINE - 5 * MINUTE) == (Urgency.DEADLINE, DEADLINE - MINUTE)


def test_after_the_last_point_the_task_goes_on_until_the_provider_has_nothing_to_tell() -> None:
    for now in (DEADLINE - MINUTE, DEADLINE, DEADLINE + HOUR):
        assert planned(a_task(), now) == (Urgency.ROUTINE, now + POLICY.ongoing)


@settings(max_examples=200, deadline=None)
@given(
    left=st.floats(0, 3 * 86_400),
    failures=st.integers(0, 20),
    jitter=st.floats(0, 1, exclude_max=True),
    status=st.sampled_from(Status),
)
def test_an_active_tasks_next_poll_is_to_come_and_never_past_a_point_before_the_deadline(
    left: float, failures: int, jitter: float, status: Status
) -> None:
    now = DEADLINE - left * SECOND
    task = a_task(status, end_first_asked_at=NOW, polling=Polling(consecutive_failures=failures))
    step = planned(task, now, jitter)
    assert step is not None
    assert step[1] > now
    assert all(step[1] <= point or point <= now for point in (DEADLINE - 10 * MINUTE, DEADLINE - MINUTE))


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


def test_the_looks_do_not_depend_on_failures() -> None:
    task = a_settled_task(polling=Polling(consecutive_failures=9))
    assert planned(task) == (Urgency.ROUTINE, NOW + MINUTE)


# -- the policy


def test_the_policy_sets_the_intervals() -> None:
    policy = Policy(ongoing=HOUR, uploading_quick=SECOND, retry_first=MINUTE)
    assert planned(a_task(), policy=policy) == (Urgency.ROUTINE, NOW + HOUR)
    ended = a_task(Status.COMPLETED, end_first_asked_at=NOW)
    assert planned(ended, policy=policy) == (Urgency.ROUTINE, NOW + SECOND)
