"""tasks are counted as they change, and calls by what made them due

``task_counts`` holds differences, written by triggers, so that programs of earlier versions keep it right too; their
sum is the number of tasks. Rows are only added (and now and then drawn together), so no two transactions wait for each
other's row.

Revision ID: 0009_since_0006
Revises: 0008_since_0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009_since_0006"
down_revision = "0008_since_0006"
branch_labels = None
depends_on = None

SQLITE = """
    CREATE TRIGGER task_counts_came AFTER INSERT ON tasks BEGIN
        INSERT INTO task_counts (tracking, status, outcome, number) VALUES (NEW.tracking, NEW.status, NEW.outcome, 1);
    END

    CREATE TRIGGER task_counts_moved AFTER UPDATE OF tracking, status, outcome ON tasks
    WHEN (OLD.tracking, OLD.status, OLD.outcome) IS NOT (NEW.tracking, NEW.status, NEW.outcome) BEGIN
        INSERT INTO task_counts (tracking, status, outcome, number)
        VALUES (OLD.tracking, OLD.status, OLD.outcome, -1), (NEW.tracking, NEW.status, NEW.outcome, 1);
    END

    CREATE TRIGGER task_counts_went AFTER DELETE ON tasks BEGIN
        INSERT INTO task_counts (tracking, status, outcome, number) VALUES (OLD.tracking, OLD.status, OLD.outcome, -1);
    END
"""

POSTGRESQL = """
    CREATE FUNCTION task_counts_came() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    BEGIN
        INSERT INTO task_counts (tracking, status, outcome, number)
        SELECT tracking, status, outcome, count(*) FROM came GROUP BY tracking, status, outcome;
        RETURN NULL;
    END $$

    CREATE FUNCTION task_counts_moved() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    BEGIN
        INSERT INTO task_counts (tracking, status, outcome, number)
        VALUES (OLD.tracking, OLD.status, OLD.outcome, -1), (NEW.tracking, NEW.status, NEW.outcome, 1);
        RETURN NULL;
    END $$

    CREATE FUNCTION task_counts_went() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    BEGIN
        INSERT INTO task_counts (tracking, status, outcome, number)
        SELECT tracking, status, outcome, -count(*) FROM went GROUP BY tracking, status, outcome;
        RETURN NULL;
    END $$

    CREATE TRIGGER task_counts_came AFTER INSERT ON tasks REFERENCING NEW TABLE AS came
    FOR EACH STATEMENT EXECUTE FUNCTION task_counts_came()

    CREATE TRIGGER task_counts_moved AFTER UPDATE ON tasks FOR EACH ROW
    WHEN ((OLD.tracking, OLD.status, OLD.outcome) IS DISTINCT FROM (NEW.tracking, NEW.status, NEW.outcome))
    EXECUTE FUNCTION task_counts_moved()

    CREATE TRIGGER task_counts_went AFTER DELETE ON tasks REFERENCING OLD TABLE AS went
    FOR EACH STATEMENT EXECUTE FUNCTION task_counts_went()
"""

# After the triggers: on PostgreSQL these keep other writers of `tasks` waiting until all is committed, some tenths of a
# second for a million tasks, so that none is counted twice or not at all.
PRESENT = """
    INSERT INTO task_counts (tracking, status, outcome, number)
    SELECT tracking, status, outcome, count(*) FROM tasks GROUP BY tracking, status, outcome
"""


def upgrade() -> None:
    op.create_table(
        "task_counts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("tracking", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task_counts")),
    )
    op.create_table(
        "call_counts",
        sa.Column("app_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("urgency", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_id", "at", "urgency", name=op.f("pk_call_counts")),
    )
    op.add_column("polls", sa.Column("claimed_as", sa.SmallInteger(), nullable=True))
    statements = POSTGRESQL if op.get_bind().dialect.name == "postgresql" else SQLITE
    for statement in statements.split("\n\n"):
        op.execute(statement)
    op.execute(PRESENT)


def downgrade() -> None:
    for what in ("came", "moved", "went"):
        if op.get_bind().dialect.name == "postgresql":
            op.execute(f"DROP TRIGGER task_counts_{what} ON tasks")
            op.execute(f"DROP FUNCTION task_counts_{what}()")
        else:
            op.execute(f"DROP TRIGGER task_counts_{what}")
    with op.batch_alter_table("polls") as polls:
        polls.drop_column("claimed_as")
    op.drop_table("call_counts")
    op.drop_table("task_counts")
