"""an index to find the tasks that were kept long enough

Revision ID: 0007_since_0006
Revises: 0006
"""

from __future__ import annotations

from alembic import op

revision = "0007_since_0006"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # On a large table it may be built beforehand, by hand, with CREATE INDEX CONCURRENTLY.
    op.create_index(op.f("ix_tasks_closed_at"), "tasks", ["closed_at"], if_not_exists=True)


def downgrade() -> None:
    op.drop_index(op.f("ix_tasks_closed_at"), table_name="tasks")
