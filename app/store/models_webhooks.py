"""The tables of subscriptions and what is sent to them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.store.models import Base, Serial, TaskId

Names = Text().with_variant(Text(collation="C"), "postgresql")
JsonList = JSON().with_variant(JSONB(), "postgresql")


class SubscriptionRow(Base):
    """Who is told what, where: app.core.deliveries.Subscription.

    ``secrets``: newest first, each ``[sealed, until]``; ``until`` is null for the one that counts from now on.
    """

    __tablename__ = "subscriptions"
    __table_args__ = (Index(None, "name", unique=True),)

    subscription_id: Mapped[str] = mapped_column(Names, primary_key=True)
    name: Mapped[str] = mapped_column(Names)
    url: Mapped[str]
    types: Mapped[list[Any]] = mapped_column(JsonList)
    app_id: Mapped[int | None]
    labels: Mapped[dict[str, Any]]
    max_in_flight: Mapped[int] = mapped_column(SmallInteger)
    description: Mapped[str | None]
    secrets: Mapped[list[Any]] = mapped_column(JsonList)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    failing_since: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]
    disabled_reason: Mapped[str | None]


class DeliveryRow(Base):
    """One event to one subscription; the queue of what is to be sent.

    ``next_attempt_at`` stands while it is pending; a claim moves it one lease ahead and takes the next ``claim_no``.
    ``fresh``: pending and never attempted since it was queued, so later events of its task wait behind it. ``behind``:
    queued by a replay, so live events go first. No foreign key to the subscription: what was sent outlives it.
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        Index(None, "subscription_id", "event_seq", unique=True),
        Index(
            "ix_deliveries_due",
            "subscription_id",
            "behind",
            "next_attempt_at",
            "event_seq",
            sqlite_where=text("next_attempt_at IS NOT NULL"),
            postgresql_where=text("next_attempt_at IS NOT NULL"),
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
        Index(
            "ix_deliveries_given_up",
            "id",
            sqlite_where=text("status IN ('failed', 'cancelled')"),
            postgresql_where=text("status IN ('failed', 'cancelled')"),
        ),
        Index(None, "subscription_id", "id"),
        Index(None, "created_at"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    subscription_id: Mapped[str] = mapped_column(Names)
    event_seq: Mapped[int]
    event_id: Mapped[str]
    type: Mapped[str]
    task_id: Mapped[str | None] = mapped_column(TaskId)
    status: Mapped[str]
    created_at: Mapped[datetime]
    next_attempt_at: Mapped[datetime | None]
    fresh: Mapped[bool]
    behind: Mapped[bool]
    claimed: Mapped[bool]
    claim_no: Mapped[int]
    tries: Mapped[int] = mapped_column(SmallInteger)


class AttemptRow(Base):
    """One try at a delivery, and what came of it."""

    __tablename__ = "attempts"
    __table_args__ = (Index(None, "delivery_id", "id"),)

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    delivery_id: Mapped[int] = mapped_column(ForeignKey("deliveries.id", ondelete="CASCADE"))
    at: Mapped[datetime]
    status_code: Mapped[int | None]
    duration_ms: Mapped[int]
    error: Mapped[str | None]
    response_excerpt: Mapped[str | None]
