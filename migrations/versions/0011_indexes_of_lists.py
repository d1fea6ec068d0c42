"""pages of lists by every filter, and fewer indexes to write at a claim

Indexes alone, so old programs go on working, if not as fast. On a large PostgreSQL they are built beforehand:
docs/migrations.md.

Revision ID: 0011_since_0006
Revises: 0010_since_0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011_since_0006"
down_revision = "0010_since_0006"
branch_labels = None
depends_on = None

NEW = (
    ("ix_tasks_tracking_registered_at_task_id", "tasks", ["tracking", "registered_at", "task_id"], None),
    ("ix_tasks_outcome", "tasks", ["outcome", "registered_at", "task_id"], "outcome IS NOT NULL"),
    ("ix_tasks_status", "tasks", ["status", "registered_at", "task_id"], "status <> 'completed'"),
    ("ix_tasks_closing", "tasks", ["tracking", "query_deadline"], "tracking = 'active'"),
    ("ix_polls_early", "polls", ["app_id", "urgency", "early_at"], "early_at IS NOT NULL"),
    ("ix_polls_closing", "polls", ["app_id", "closes_at"], "closes_at IS NOT NULL"),
    ("ix_callbacks_unknown", "callbacks", ["forget_at"], "forget_at IS NOT NULL"),
    ("ix_callbacks_not_accepted", "callbacks", ["id"], "verdict <> 'accepted'"),
    ("ix_deliveries_given_up", "deliveries", ["id"], "status IN ('failed', 'cancelled')"),
)
OLD = (
    ("ix_tasks_tracking_query_deadline", "tasks", ["tracking", "query_deadline"]),
    ("ix_polls_app_id_urgency_early_at", "polls", ["app_id", "urgency", "early_at"]),
    ("ix_polls_app_id_closes_at", "polls", ["app_id", "closes_at"]),
    ("ix_callbacks_forget_at", "callbacks", ["forget_at"]),
)


def upgrade() -> None:
    for name, table, columns, condition in NEW:
        where = None if condition is None else sa.text(condition)
        op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where, if_not_exists=True)
    for name, table, _ in OLD:
        op.drop_index(name, table_name=table)


def downgrade() -> None:
    for name, table, columns in OLD:
        op.create_index(name, table, columns)
    for name, table, _, _ in NEW:
        op.drop_index(name, table_name=table)
