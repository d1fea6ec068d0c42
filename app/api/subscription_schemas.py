"""The shapes of requests and answers about subscriptions and deliveries."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, StringConstraints

from app.api.schemas import In, Labels, Moment, Out, StorableText, Time
from app.core.deliveries import DEFAULT_TYPES, EVENT_TYPES


def _known(type_: str) -> str:
    if type_ not in EVENT_TYPES:
        raise ValueError(f"is none of {', '.join(EVENT_TYPES)}")
    return type_


DEFAULTS = "By default all `task.*` but `task.registered`, and `file.backup_expiring`."
EventType = Annotated[str, AfterValidator(_known)]
Types = Annotated[list[EventType], Field(min_length=1, max_length=50)]
Name = Annotated[StorableText, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\s/]([^/]*[^\s/])?$")]
Url = Annotated[StorableText, Field(max_length=1024, description="https, and nowhere that is not public.")]
AppId = Annotated[int | None, Field(strict=True, ge=0, le=2**63 - 1, description="Only tasks of this app.")]
Wanted = Annotated[Labels, Field(default_factory=dict, description="Only tasks carrying all of them.")]
InFlight = Annotated[int, Field(strict=True, ge=1, le=100, description="Deliveries under way at once, at most.")]
Secret = Annotated[SecretStr | None, Field(description="`whsec_` and base64 of 24 to 64 bytes; made if left out.")]


class SubscriptionIn(In):
    """Whom to tell what."""

    name: Name
    url: Url
    types: Annotated[Types, Field(default_factory=lambda: list(DEFAULT_TYPES), description=DEFAULTS)]
    app_id: AppId = None
    labels: Wanted
    secret: Secret = None
    max_in_flight: InFlight = 10
    description: StorableText | None = None


class SubscriptionPatch(In):
    """What to change; what is left out stays."""

    url: Url = ""
    types: Annotated[Types, Field(default_factory=list)]
    app_id: AppId = None
    labels: Wanted
    max_in_flight: InFlight = 10
    description: StorableText | None = None
    enabled: bool | None = None


class SecretIn(In):
    """The secret to come."""

    secret: Secret = None


class ReplayIn(In):
    """Which events to send again."""

    since: Moment
    until: Moment | None = None
    types: Annotated[Types | None, Field(description="Of those the subscription wants, only these.")] = None
    only: Literal["undelivered", "all"] = "undelivered"
    dry_run: Annotated[bool, Field(description="Only count them.")] = False


class SubscriptionOut(Out):
    """Who is told what, where."""

    subscription_id: str
    name: str
    url: str
    types: list[str]
    app_id: int | None
    labels: dict[str, str]
    max_in_flight: int
    description: str | None
    enabled: bool
    disabled_at: Time | None
    disabled_reason: Annotated[
        Literal["caller", "gone", "failing"] | None,
        Field(description="`gone`: answered by 410. `failing`: without success for 5 days."),
    ]
    failing_since: Annotated[Time | None, Field(description="Since when nothing has succeeded; null: all is well.")]
    created_at: Time
    updated_at: Time


class NewSubscriptionOut(SubscriptionOut):
    """With its secret, which is shown this once."""

    secret: Annotated[str | None, Field(description="Shown this once; left out where it was shown before.")] = None


class SubscriptionPage(Out):
    """A page of subscriptions, by name."""

    items: list[SubscriptionOut]
    next_cursor: str | None


class AttemptOut(Out):
    """One try, and what came of it."""

    at: Time
    status_code: int | None
    duration_ms: int
    error: Annotated[str | None, Field(description="What kept an answer away.")]
    response_excerpt: Annotated[str | None, Field(description="The first 2 KiB of the answer.")]


class DeliveryOut(Out):
    """One event to one subscription."""

    delivery_id: str
    subscription_id: str
    event_id: Annotated[str, Field(description="The `webhook-id` of every attempt.")]
    type: str
    task_id: str | None
    status: Literal["pending", "delivered", "failed", "cancelled"]
    created_at: Time
    next_attempt_at: Time | None
    attempts: list[AttemptOut]


class DeliveryPage(Out):
    """A page of deliveries, newest first."""

    items: list[DeliveryOut]
    next_cursor: str | None


class CountOut(Out):
    """How many deliveries were queued, or would be."""

    count: int
