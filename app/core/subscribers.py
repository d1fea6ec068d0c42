"""How subscriptions and deliveries are shown to the outside, and what is told of them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

from app.core.deliveries import Attempt, Subscription
from app.core.public import Event, Json, time_text


class Delivery(Protocol):
    """app.store.delivery_lists.Delivery"""

    @property
    def id(self) -> int: ...
    @property
    def subscription_id(self) -> str: ...
    @property
    def event_id(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def task_id(self) -> str | None: ...
    @property
    def status(self) -> str: ...
    @property
    def created_at(self) -> datetime: ...
    @property
    def next_attempt_at(self) -> datetime | None: ...
    @property
    def attempts(self) -> Iterable[Attempt]: ...


def subscription_json(one: Subscription) -> Json:
    """Without its secrets."""
    return {
        "subscription_id": one.subscription_id,
        "name": one.name,
        "url": one.url,
        "types": list(one.types),
        "app_id": one.app_id,
        "labels": dict(one.labels),
        "max_in_flight": one.max_in_flight,
        "description": one.description,
        "enabled": one.disabled_at is None,
        "disabled_at": time_text(one.disabled_at),
        "disabled_reason": one.disabled_reason,
        "failing_since": time_text(one.failing_since),
        "created_at": time_text(one.created_at),
        "updated_at": time_text(one.updated_at),
    }


def attempt_json(one: Attempt) -> Json:
    return {
        "at": time_text(one.at),
        "status_code": one.status_code,
        "duration_ms": one.duration_ms,
        "error": one.error,
        "response_excerpt": one.response_excerpt,
    }


def delivery_json(one: Delivery) -> Json:
    return {
        "delivery_id": delivery_id(one.id),
        "subscription_id": one.subscription_id,
        "event_id": one.event_id,
        "type": one.type,
        "task_id": one.task_id,
        "status": one.status,
        "created_at": time_text(one.created_at),
        "next_attempt_at": time_text(one.next_attempt_at),
        "attempts": [attempt_json(attempt) for attempt in one.attempts],
    }


def delivery_id(number: int) -> str:
    return f"dlv_{number}"


# The address stays out of events: they go to other subscribers, and an address may hold a secret.


def subscription_disabled(one: Subscription) -> Event:
    """What tells that nothing is sent to a subscription any more; about no task."""
    about = {"subscription_id": one.subscription_id, "name": one.name}
    disabled = {"disabled_at": time_text(one.disabled_at), "disabled_reason": one.disabled_reason}
    return Event(type="subscription.disabled", data={"subscription": about | disabled})


def delivery_failed(
    to: Subscription, number: int, event_id: str, type_: str, task_id: str | None, last: Attempt
) -> Event:
    """What tells that a delivery was given up after its last attempt; about no task."""
    delivery = {
        "delivery_id": delivery_id(number),
        "event_id": event_id,
        "type": type_,
        "task_id": task_id,
        "last_attempt": {name: value for name, value in attempt_json(last).items() if name != "response_excerpt"},
    }
    about = {"subscription_id": to.subscription_id, "name": to.name}
    return Event(type="delivery.failed", data={"subscription": about, "delivery": delivery})
