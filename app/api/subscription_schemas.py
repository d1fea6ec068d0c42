"""The shapes of requests and answers about subscriptions and deliveries."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, StringConstraints, WithJsonSchema

from app.api.schemas import In, Labels, Moment, NextCursor, Out, StorableText, Time, Whole
from app.api.words import DeliveryStatus, DisabledReason, EventName, FeedType, ReplayOnly
from app.core.deliveries import DEFAULT_TYPES, EVENT_TYPES


def _known(type_: str) -> str:
    if type_ not in EVENT_TYPES:
        raise ValueError(f"is none of {', '.join(EVENT_TYPES)}")
    return type_


WHSEC = (
    "^whsec_(([A-Za-z0-9+/]{4}){8,21}([A-Za-z0-9+/]{2}==)?|([A-Za-z0-9+/]{4}){8,20}[A-Za-z0-9+/]{3}=)$"
)  # fmt: skip
"""As `core.signing` reads it, for the description alone: a refusal must not repeat a secret."""

DEFAULTS = "By default all `task.*` but `task.registered`, and `file.backup_expiring`."
EventType = Annotated[str, AfterValidator(_known), WithJsonSchema({"$ref": "#/components/schemas/FeedType"})]
Types = Annotated[list[EventType], Field(min_length=1, max_length=50)]
NAME = r"^[^\s/]([^/]*[^\s/])?$"
Name = Annotated[
    StorableText,
    StringConstraints(min_length=1, max_length=100, pattern=NAME),
    # Behind a check of ours the pattern would not be described by itself.
    Field(
        description="Unique. Creating it again with the same settings is harmless.", json_schema_extra={"pattern": NAME}
    ),
]
Note = Annotated[StorableText | None, Field(description="Yours.")]
Url = Annotated[StorableText, Field(max_length=1024, repr=False, description="https, and nowhere that is not public.")]
AppId = Annotated[int | None, Field(strict=True, ge=0, le=2**63 - 1, description="Only tasks of this app."), Whole]
Wanted = Annotated[Labels, Field(default_factory=dict, description="Only tasks carrying all of them.")]
InFlight = Annotated[int, Field(strict=True, ge=1, le=100, description="Deliveries under way at once, at most."), Whole]
Secret = Annotated[
    Annotated[SecretStr, Field(json_schema_extra={"pattern": WHSEC})] | None,
    Field(description="`whsec_` and base64 of 24 to 64 bytes; made if left out."),
]


class SubscriptionIn(In):
    """Whom to tell what."""

    name: Name
    url: Url
    types: Annotated[Types, Field(default_factory=lambda: list(DEFAULT_TYPES), description=DEFAULTS)]
    app_id: AppId = None
    labels: Wanted
    secret: Secret = None
    max_in_flight: InFlight = 10
    description: Note = None


class SubscriptionPatch(In):
    """What to change; what is left out stays."""

    url: Url = ""
    types: Annotated[Types, Field(default_factory=list, description="Which events are sent.")]
    app_id: AppId = None
    labels: Wanted
    max_in_flight: InFlight = 10
    description: Note = None
    enabled: Annotated[bool | None, Field(strict=True, description="Whether anything is sent.")] = None


class SecretIn(In):
    """The secret to come."""

    secret: Secret = None


class ReplayIn(In):
    """Which events to send again."""

    since: Annotated[Moment, Field(description="Events from then on.")]
    until: Annotated[Moment | None, Field(description="Up to then; now, if left out.")] = None
    types: Annotated[Types | None, Field(description="Of those the subscription wants, only these.")] = None
    only: Annotated[ReplayOnly, Field(description="Which of them.")] = "undelivered"
    dry_run: Annotated[bool, Field(strict=True, description="Only count them.")] = False


class SubscriptionOut(Out):
    """Who is told what, where."""

    subscription_id: Annotated[str, Field(description="Ours.")]
    name: Annotated[str, Field(description="Yours; unique.")]
    url: Annotated[str, Field(repr=False, description="Where it is sent.")]
    types: Annotated[list[FeedType], Field(description="Which events are sent.")]
    app_id: Annotated[int | None, Field(description="Only of tasks of this app; null: of all.")]
    labels: Annotated[dict[str, str], Field(description="Only of tasks carrying all of them.")]
    max_in_flight: Annotated[int, Field(description="Deliveries under way at once, at most.")]
    description: Annotated[str | None, Field(description="Yours.")]
    enabled: Annotated[bool, Field(description="While it is not, nothing is queued for it.")]
    disabled_at: Annotated[Time | None, Field(description="Since when nothing is sent; null: it is enabled.")]
    disabled_reason: Annotated[
        DisabledReason | None,
        Field(description="Who or what disabled it."),
    ]
    failing_since: Annotated[Time | None, Field(description="Since when nothing has succeeded; null: all is well.")]
    created_at: Annotated[Time, Field(description="Events from then on are sent.")]
    updated_at: Annotated[Time, Field(description="When it last changed.")]


class NewSubscriptionOut(SubscriptionOut):
    """With its secret, which is shown this once."""

    secret: Annotated[
        str | None, Field(repr=False, description="Shown this once; left out where it was shown before.")
    ] = None


class SubscriptionPage(Out):
    """A page of subscriptions, by name."""

    items: Annotated[list[SubscriptionOut], Field(description="At most `limit`, by name.")]
    next_cursor: NextCursor


class AttemptOut(Out):
    """One try, and what came of it."""

    at: Annotated[Time, Field(description="When it was made.")]
    status_code: Annotated[int | None, Field(description="The HTTP status of the answer; null: none came.")]
    duration_ms: Annotated[int, Field(description="Milliseconds until the answer, or until it was given up.")]
    error: Annotated[str | None, Field(description="What kept an answer away.")]
    response_excerpt: Annotated[str | None, Field(description="The first 2 KiB of the answer.")]


class DeliveryOut(Out):
    """One event to one subscription."""

    delivery_id: Annotated[str, Field(description="Ours.")]
    subscription_id: Annotated[str, Field(description="To whom.")]
    event_id: Annotated[str, Field(description="The `webhook-id` of every attempt.")]
    type: Annotated[EventName, Field(description="The event's.")]
    task_id: Annotated[str | None, Field(description="The task the event is about; null: about none.")]
    status: Annotated[DeliveryStatus, Field(description="Where it stands.")]
    created_at: Annotated[Time, Field(description="When it was queued.")]
    next_attempt_at: Annotated[Time | None, Field(description="When it is tried next; null: not again.")]
    attempts: Annotated[list[AttemptOut], Field(description="Each try, oldest first.")]


class DeliveryPage(Out):
    """A page of deliveries, newest first."""

    items: Annotated[list[DeliveryOut], Field(description="At most `limit`, newest first.")]
    next_cursor: NextCursor


class CountOut(Out):
    """How many deliveries were queued, or would be."""

    count: Annotated[int, Field(description="How many.")]
