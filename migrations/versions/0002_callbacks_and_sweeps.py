"""callbacks and sweeps

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "callbacks",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("app_id", sa.BigInteger(), nullable=False),
        sa.Column("task_id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("event_type", sa.BigInteger(), nullable=True),
        sa.Column("sequence", sa.BigInteger(), nullable=True),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("forget_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("signed", sa.String(length=64), nullable=False),
        sa.Column("said", sa.String(length=64), nullable=False),
        sa.Column("body", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_callbacks")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("callbacks", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_callbacks_forget_at"), ["forget_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_callbacks_received_at"), ["received_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_callbacks_signed"), ["signed"], unique=False)
        batch_op.create_index(batch_op.f("ix_callbacks_task_id_id"), ["task_id", "id"], unique=False)

    op.create_table(
        "sweeps",
        sa.Column("app_id", sa.BigInteger(), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("listed", sa.BigInteger(), nullable=False),
        sa.Column(
            "error", sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"), nullable=True
        ),
        sa.PrimaryKeyConstraint("app_id", name=op.f("pk_sweeps")),
    )
    with op.batch_alter_table("polls", schema=None) as batch_op:
        batch_op.add_column(sa.Column("early_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("closes_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("listed", sa.BigInteger(), nullable=True))
        batch_op.create_index(batch_op.f("ix_polls_app_id_closes_at"), ["app_id", "closes_at"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_polls_app_id_urgency_early_at"), ["app_id", "urgency", "early_at"], unique=False
        )

    with op.batch_alter_table("tasks", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "told", sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"), nullable=True
            )
        )

    # The classes of polls: deadline and hurried are one now, and uploading files come before what is routine.
    op.execute("UPDATE polls SET urgency = CASE urgency WHEN 0 THEN 1 WHEN 3 THEN 4 ELSE urgency END")
    op.execute(
        "UPDATE polls SET closes_at = (SELECT query_deadline FROM tasks"
        " WHERE tasks.task_id = polls.task_id AND tasks.tracking = 'active')"
    )


def downgrade() -> None:
    op.execute("UPDATE polls SET urgency = 3 WHERE urgency > 3")
    with op.batch_alter_table("tasks", schema=None) as batch_op:
        batch_op.drop_column("told")

    with op.batch_alter_table("polls", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_polls_app_id_urgency_early_at"))
        batch_op.drop_index(batch_op.f("ix_polls_app_id_closes_at"))
        batch_op.drop_column("listed")
        batch_op.drop_column("closes_at")
        batch_op.drop_column("early_at")

    op.drop_table("sweeps")
    with op.batch_alter_table("callbacks", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_callbacks_task_id_id"))
        batch_op.drop_index(batch_op.f("ix_callbacks_signed"))
        batch_op.drop_index(batch_op.f("ix_callbacks_received_at"))
        batch_op.drop_index(batch_op.f("ix_callbacks_forget_at"))

    op.drop_table("callbacks")
