"""tasks that need a person are found by an index of their own

Revision ID: 0008_since_0006
Revises: 0007_since_0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008_since_0006"
down_revision = "0007_since_0006"
branch_labels = None
depends_on = None

FEW = sa.text("attention <> 0")


def upgrade() -> None:
    op.create_index(
        "ix_tasks_needing_a_person",
        "tasks",
        ["registered_at", "task_id"],
        sqlite_where=FEW,
        postgresql_where=FEW,
        if_not_exists=True,  # on a large PostgreSQL it is built beforehand: docs/migrations.md
    )


def downgrade() -> None:
    op.drop_index("ix_tasks_needing_a_person", table_name="tasks")
