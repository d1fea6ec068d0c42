"""What is shown of subscriptions and deliveries, word for word, and what is not."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from app.core.deliveries import Attempt, Subscription
from app.core.subscribers import delivery_failed, delivery_id, delivery_json, subscription_disabled, subscription_json

NOW = datetime(2026, 3, 1, 12, 0, 0, 123_000, tzinfo=UTC)
SECOND = timedelta(seconds=1)

SUBSCRIPTION = Subscription(
    subscription_id="sub_1",
    name="billing",
    url="https://example.com/hooks?token=hidden",
    types=("task.settled", "task.expired"),
    app_id=7,
    labels={"team": "a"},
    max_in_flight=3,
    description="for invoices",
    secrets=(("sealed-secret", None),),
    created_at=NOW,
    updated_at=NOW + SECOND,
)
DISABLED = replace(
    SUBSCRIPTION, failing_since=NOW + 2 * SECOND, disabled_at=NOW + 3 * SECOND, disabled_reason="failing"
)
ATTEMPT = Attempt(
    at=NOW + 4 * SECOND, status_code=500, duration_ms=12, error="timeout", response_excerpt="oh no", retry_after=1.0
)


def at(seconds: int) -> str:
    return f"2026-03-01T12:00:0{seconds}.123Z"


@dataclass(frozen=True)
class Delivery:
    id: int = 42
    subscription_id: str = "sub_1"
    event_id: str = "evt_1"
    type: str = "task.settled"
    task_id: str | None = "t" * 16
    status: str = "pending"
    created_at: datetime = NOW
    next_attempt_at: datetime | None = NOW + SECOND
    attempts: tuple[Attempt, ...] = (ATTEMPT,)


def test_a_subscription_is_shown_without_its_secrets() -> None:
    assert subscription_json(SUBSCRIPTION) == {
        "subscription_id": "sub_1",
        "name": "billing",
        "url": "https://example.com/hooks?token=hidden",
        "types": ["task.settled", "task.expired"],
        "app_id": 7,
        "labels": {"team": "a"},
        "max_in_flight": 3,
        "description": "for invoices",
        "enabled": True,
        "disabled_at": None,
        "disabled_reason": None,
        "failing_since": None,
        "created_at": at(0),
        "updated_at": at(1),
    }


def test_a_disabled_subscription_says_since_when_and_why() -> None:
    shown = subscription_json(DISABLED)
    told = {"enabled": False, "disabled_at": at(3), "disabled_reason": "failing", "failing_since": at(2)}
    assert shown == subscription_json(SUBSCRIPTION) | told


def test_a_delivery_is_shown_with_its_attempts() -> None:
    assert delivery_json(Delivery()) == {
        "delivery_id": "dlv_42",
        "subscription_id": "sub_1",
        "event_id": "evt_1",
        "type": "task.settled",
        "task_id": "t" * 16,
        "status": "pending",
        "created_at": at(0),
        "next_attempt_at": at(1),
        "attempts": [
            {"at": at(4), "status_code": 500, "duration_ms": 12, "error": "timeout", "response_excerpt": "oh no"}
        ],
    }


def test_the_event_of_a_disabled_subscription_keeps_its_address_to_itself() -> None:
    event = subscription_disabled(DISABLED)
    assert event.type == "subscription.disabled"
    about = {"subscription_id": "sub_1", "name": "billing", "disabled_at": at(3), "disabled_reason": "failing"}
    assert event.data == {"subscription": about}


def test_the_event_of_a_given_up_delivery_keeps_the_answer_to_itself() -> None:
    event = delivery_failed(SUBSCRIPTION, 42, "evt_1", "task.settled", "t" * 16, ATTEMPT)
    assert event.type == "delivery.failed"
    assert event.data == {
        "subscription": {"subscription_id": "sub_1", "name": "billing"},
        "delivery": {
            "delivery_id": delivery_id(42),
            "event_id": "evt_1",
            "type": "task.settled",
            "task_id": "t" * 16,
            "last_attempt": {"at": at(4), "status_code": 500, "duration_ms": 12, "error": "timeout"},
        },
    }
