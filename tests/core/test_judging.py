"""What becomes of a delivery and of its subscription after each attempt."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.core.deliveries import (
    DEFAULT_TYPES,
    EVENT_TYPES,
    FAILING_FOR,
    LONGEST_RETRY_AFTER,
    SCHEDULE,
    Attempt,
    DeliveryStatus,
    Subscription,
    Verdict,
    Wanted,
    disabling,
    judge,
    task_url,
)

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


def attempt(status_code: int | None, retry_after: float | None = None) -> Attempt:
    return Attempt(NOW, status_code, 1, None if status_code else "timeout", None, retry_after)


def wait(attempt: Attempt, *, tries: int = 1, jitter: float = 0.5) -> timedelta | None:
    verdict = judge(attempt, tries=tries, now=NOW, jitter=jitter)
    assert verdict.status is (DeliveryStatus.PENDING if verdict.next_attempt_at else DeliveryStatus.FAILED)
    return None if verdict.next_attempt_at is None else verdict.next_attempt_at - NOW


@pytest.mark.parametrize(
    ("status_code", "delivered"),
    [(199, False), (200, True), (204, True), (299, True), (300, False), (410, False), (500, False), (None, False)],
)
def test_only_answers_of_the_two_hundreds_mean_delivered(status_code: int | None, delivered: bool) -> None:
    verdict = judge(attempt(status_code), tries=1, now=NOW, jitter=0.5)
    assert (verdict == Verdict(DeliveryStatus.DELIVERED)) is delivered
    assert attempt(status_code).succeeded is delivered


def test_each_failed_attempt_waits_for_its_place_in_the_schedule_and_the_last_ends_it() -> None:
    waits = [wait(attempt(500), tries=tries) for tries in range(1, len(SCHEDULE) + 2)]
    assert waits == [5 * SECOND, 300 * SECOND, 1800 * SECOND, 2 * HOUR, 5 * HOUR, 10 * HOUR, 10 * HOUR, None]


@pytest.mark.parametrize(("jitter", "seconds"), [(0.0, 240), (0.5, 300), (0.75, 330)])
def test_waits_are_spread_by_a_fifth_in_either_direction(jitter: float, seconds: float) -> None:
    assert wait(attempt(500), tries=2, jitter=jitter) == seconds * SECOND


@pytest.mark.parametrize(
    ("status_code", "retry_after", "waited"),
    [
        (429, 600.0, 600 * SECOND),
        (503, 600.0, 600 * SECOND),
        (500, 600.0, 5 * SECOND),
        (429, None, 5 * SECOND),
        (429, 1.0, 5 * SECOND),
        (429, 0.0, 5 * SECOND),
        (429, 1e12, LONGEST_RETRY_AFTER),
        (503, 12 * 3600 - 1.0, LONGEST_RETRY_AFTER - SECOND),
    ],
)
def test_retry_after_makes_a_wait_longer_never_shorter(
    status_code: int, retry_after: float | None, waited: timedelta
) -> None:
    assert wait(attempt(status_code, retry_after)) == waited


@pytest.mark.parametrize(
    ("status_code", "failing_for", "reason"),
    [
        (410, None, "gone"),
        (410, FAILING_FOR, "gone"),
        (500, None, None),
        (500, FAILING_FOR - SECOND, None),
        (500, FAILING_FOR, "failing"),
        (None, FAILING_FOR, "failing"),
        (200, FAILING_FOR, None),
    ],
)
def test_a_subscription_is_disabled_when_it_is_gone_or_fails_for_days(
    status_code: int | None, failing_for: timedelta | None, reason: str | None
) -> None:
    since = None if failing_for is None else NOW - failing_for
    assert disabling(attempt(status_code), failing_since=since, now=NOW) == reason


@pytest.mark.parametrize(
    ("app_id", "labels", "event", "sent"),
    [
        (None, {}, ("task.settled", 7, {}), True),
        (None, {}, ("task.ended", 7, {}), False),
        (None, {}, ("task.settled", None, {}), True),
        (7, {}, ("task.settled", 7, {}), True),
        (7, {}, ("task.settled", 8, {}), False),
        (7, {}, ("task.settled", None, {}), False),
        (None, {"a": "1"}, ("task.settled", 7, {"a": "1", "b": "2"}), True),
        (None, {"a": "1"}, ("task.settled", 7, {"a": "1"}), True),
        (None, {"a": "1", "b": "2"}, ("task.settled", 7, {"a": "1"}), False),
        (None, {"a": "1"}, ("task.settled", 7, {"a": "2"}), False),
    ],
)
def test_an_event_is_sent_where_type_app_and_every_label_are_wanted(
    app_id: int | None, labels: dict[str, str], event: tuple[str, int | None, dict[str, str]], sent: bool
) -> None:
    wanted = Wanted(types=frozenset({"task.settled"}), app_id=app_id, labels=labels)
    assert wanted.matches(*event) is sent


SUBSCRIPTION = Subscription(
    subscription_id="sub_1",
    name="billing",
    url="https://example.com/hooks?token=hidden",
    types=("task.settled",),
    app_id=7,
    labels={"a": "1"},
    max_in_flight=3,
    description=None,
    secrets=(("new", None), ("old", NOW + SECOND), ("older", NOW)),
    created_at=NOW,
    updated_at=NOW,
)


@pytest.mark.parametrize(
    ("at", "secrets"), [(NOW - SECOND, ["new", "old", "older"]), (NOW, ["new", "old"]), (NOW + SECOND, ["new"])]
)
def test_a_secret_signs_until_its_time_is_over(at: datetime, secrets: list[str]) -> None:
    assert SUBSCRIPTION.signing(at) == secrets


def test_a_subscription_wants_what_it_says() -> None:
    assert SUBSCRIPTION.wanted == Wanted(types=frozenset({"task.settled"}), app_id=7, labels={"a": "1"})
    assert replace(SUBSCRIPTION, app_id=None).wanted.app_id is None


def test_neither_address_nor_secrets_stand_in_a_subscriptions_repr() -> None:
    assert "hidden" not in repr(SUBSCRIPTION)
    assert "older" not in repr(SUBSCRIPTION)


def test_who_chooses_nothing_is_told_of_all_that_happens_to_tasks_but_their_registration() -> None:
    assert set(EVENT_TYPES) - set(DEFAULT_TYPES) == {
        *("task.registered", "file.updated", "file.backup_expired"),
        *("subscription.disabled", "delivery.failed"),
    }


@pytest.mark.parametrize(
    ("public_url", "url"), [("https://us.example", "https://us.example/v1/tasks/T"), (None, "/v1/tasks/T")]
)
def test_a_tasks_address_begins_with_ours_if_that_is_known(public_url: str | None, url: str) -> None:
    assert task_url("T", public_url) == url
