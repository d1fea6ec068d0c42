"""files of a status in the whole order of their list

Indexes alone, so old programs go on working. On a large PostgreSQL the new one is built beforehand: docs/migrations.md.

Revision ID: 0012_since_0006
Revises: 0011_since_0006
"""

from __future__ import annotations

from alembic import op

revision = "0012_since_0006"
down_revision = "0011_since_0006"
branch_labels = None
depends_on = None

NEW = "ix_files_status_updated_at_task_id_file_id"
OLD = "ix_files_status_updated_at"


def upgrade() -> None:
    op.create_index(NEW, "files", ["status", "updated_at", "task_id", "file_id"], if_not_exists=True)
    op.drop_index(OLD, table_name="files")


def downgrade() -> None:
    op.create_index(OLD, "files", ["status", "updated_at"])
    op.drop_index(NEW, table_name="files")
