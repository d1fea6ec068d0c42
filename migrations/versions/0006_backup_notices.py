"""notices of backup copies

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

IN_BACKUP = sa.text("backup_expires_at IS NOT NULL")


def upgrade() -> None:
    with op.batch_alter_table("files", schema=None) as batch_op:
        batch_op.add_column(sa.Column("backup_told", sa.SmallInteger(), server_default="0", nullable=False))
        batch_op.create_index(
            batch_op.f("ix_files_backup_told_backup_expires_at"),
            ["backup_told", "backup_expires_at"],
            sqlite_where=IN_BACKUP,
            postgresql_where=IN_BACKUP,
        )


def downgrade() -> None:
    with op.batch_alter_table("files", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_files_backup_told_backup_expires_at"))
        batch_op.drop_column("backup_told")
