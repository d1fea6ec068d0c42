"""subscriptions, deliveries, attempts; events about no task

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAMES = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TASK_ID = sa.String(length=16).with_variant(sa.String(length=16, collation="C"), "postgresql")
JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "subscriptions",
        sa.Column("subscription_id", NAMES, nullable=False),
        sa.Column("name", NAMES, nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("types", JSON, nullable=False),
        sa.Column("app_id", sa.BigInteger(), nullable=True),
        sa.Column("labels", JSON, nullable=False),
        sa.Column("max_in_flight", sa.SmallInteger(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("secrets", JSON, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("failing_since", TIME, nullable=True),
        sa.Column("disabled_at", TIME, nullable=True),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("subscription_id", name=op.f("pk_subscriptions")),
    )
    op.create_index(op.f("ix_subscriptions_name"), "subscriptions", ["name"], unique=True)

    op.create_table(
        "deliveries",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("subscription_id", NAMES, nullable=False),
        sa.Column("event_seq", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("task_id", TASK_ID, nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("next_attempt_at", TIME, nullable=True),
        sa.Column("fresh", sa.Boolean(), nullable=False),
        sa.Column("behind", sa.Boolean(), nullable=False),
        sa.Column("claimed", sa.Boolean(), nullable=False),
        sa.Column("claim_no", sa.BigInteger(), nullable=False),
        sa.Column("tries", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        op.f("ix_deliveries_subscription_id_event_seq"), "deliveries", ["subscription_id", "event_seq"], unique=True
    )
    op.create_index(op.f("ix_deliveries_subscription_id_id"), "deliveries", ["subscription_id", "id"])
    op.create_index(op.f("ix_deliveries_created_at"), "deliveries", ["created_at"])
    _partial(
        "ix_deliveries_due",
        ["subscription_id", "behind", "next_attempt_at", "event_seq"],
        "next_attempt_at IS NOT NULL",
    )
    _partial("ix_deliveries_fresh", ["subscription_id", "task_id", "event_seq"], "fresh")
    _partial("ix_deliveries_claimed", ["subscription_id"], "claimed")

    op.create_table(
        "attempts",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("delivery_id", SERIAL, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("status_code", sa.BigInteger(), nullable=True),
        sa.Column("duration_ms", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("response_excerpt", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.id"], name=op.f("fk_attempts_delivery_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
    )
    op.create_index(op.f("ix_attempts_delivery_id_id"), "attempts", ["delivery_id", "id"])

    with op.batch_alter_table("events", schema=None, table_kwargs={"sqlite_autoincrement": True}) as batch_op:
        for name, kind in ABOUT_A_TASK.items():
            batch_op.alter_column(name, existing_type=kind, nullable=True)
        batch_op.create_index(batch_op.f("ix_events_occurred_at"), ["occurred_at"], unique=False)


ABOUT_A_TASK: dict[str, Any] = {"app_id": sa.BigInteger(), "task_id": TASK_ID, "task_version": sa.BigInteger()}


def _partial(name: str, columns: list[str], where: str) -> None:
    on_sqlite = where if " " in where else f"{where} = 1"  # as SQLAlchemy asks there for a flag
    op.create_index(name, "deliveries", columns, sqlite_where=sa.text(on_sqlite), postgresql_where=sa.text(where))


def downgrade() -> None:
    op.execute("DELETE FROM events WHERE task_id IS NULL")
    with op.batch_alter_table("events", schema=None, table_kwargs={"sqlite_autoincrement": True}) as batch_op:
        batch_op.drop_index(batch_op.f("ix_events_occurred_at"))
        for name, kind in ABOUT_A_TASK.items():
            batch_op.alter_column(name, existing_type=kind, nullable=False)
    op.drop_table("attempts")
    op.drop_table("deliveries")
    op.drop_table("subscriptions")
