"""tasks that need a person are found by an index of their own

Revision ID: 0005_since_0004
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005_since_0004"
down_revision = "0004"
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
