"""The tables of subscriptions and what is sent to them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, ForeignKey, Index, SmallInteger, Table, Text, text

from app.store.tables import METADATA, Bytewise, Json, Serial, TaskId, UtcDateTime, always, key, maybe, some

SUBSCRIPTIONS = Table(
    "subscriptions",
    METADATA,
    key("subscription_id", Bytewise),
    always("name", Bytewise),
    always("url", Text),
    always("types", Json),
    maybe("app_id", BigInteger),
    always("labels", Json),
    always("max_in_flight", SmallInteger),
    maybe("description", Text),
    always("secrets", Json),
    always("created_at", UtcDateTime),
    always("updated_at", UtcDateTime),
    maybe("failing_since", UtcDateTime),
    maybe("disabled_at", UtcDateTime),
    maybe("disabled_reason", Text),
    Index(None, "name", unique=True),
)
"""Who is told what, where: app.core.deliveries.Subscription.

``secrets``: newest first, each ``[sealed, until]``; ``until`` is null for the one that counts from now on.
"""

DELIVERIES = Table(
    "deliveries",
    METADATA,
    key("id", Serial),
    always("subscription_id", Bytewise),
    always("event_seq", BigInteger),
    always("event_id", Text),
    always("type", Text),
    maybe("task_id", TaskId),
    always("status", Text),
    always("created_at", UtcDateTime),
    maybe("next_attempt_at", UtcDateTime),
    always("fresh", Boolean),
    always("behind", Boolean),
    always("claimed", Boolean),
    always("claim_no", BigInteger),
    always("tries", SmallInteger),
    Index(None, "subscription_id", "event_seq", unique=True),
    some(
        "ix_deliveries_due",
        "subscription_id",
        "behind",
        "next_attempt_at",
        "event_seq",
        where="next_attempt_at IS NOT NULL",
    ),
    Index(
        "ix_deliveries_fresh",
        "subscription_id",
        "task_id",
        "event_seq",
        sqlite_where=text("fresh = 1"),
        postgresql_where=text("fresh"),
    ),
    Index(
        "ix_deliveries_claimed",
        "subscription_id",
        sqlite_where=text("claimed = 1"),
        postgresql_where=text("claimed"),
    ),
    some("ix_deliveries_given_up", "id", where="status IN ('failed', 'cancelled')"),
    Index(None, "subscription_id", "id"),
    Index(None, "created_at"),
    sqlite_autoincrement=True,
)
"""One event to one subscription; the queue of what is to be sent.

``next_attempt_at`` stands while it is pending; a claim moves it one lease ahead and takes the next ``claim_no``.
``fresh``: pending and never attempted since it was queued, so later events of its task wait behind it. ``behind``:
queued by a replay, so live events go first. No foreign key to the subscription: what was sent outlives it.
"""

ATTEMPTS = Table(
    "attempts",
    METADATA,
    key("id", Serial),
    always("delivery_id", Serial, ForeignKey("deliveries.id", ondelete="CASCADE")),
    always("at", UtcDateTime),
    maybe("status_code", BigInteger),
    always("duration_ms", BigInteger),
    maybe("error", Text),
    maybe("response_excerpt", Text),
    Index(None, "delivery_id", "id"),
)
"""One try at a delivery, and what came of it."""
