"""switches of operators

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("budgets", schema=None) as batch_op:
        batch_op.add_column(sa.Column("switched_off", sa.Boolean(), server_default=sa.false(), nullable=False))
        batch_op.add_column(sa.Column("cap", sa.SmallInteger(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("budgets", schema=None) as batch_op:
        batch_op.drop_column("cap")
        batch_op.drop_column("switched_off")
