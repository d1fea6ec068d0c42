"""the feed of events

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# A transaction that is about to take places in the order of events announces, before it takes the first, the place
# taken last: a shared advisory lock on that number, which goes after its commit can be seen. Whoever reads the feed
# looks up the last place taken, then the lowest announcement: up to there nothing can appear any more. The high 16
# bits of the lock's key, 21075, are ours. It fires before a row's defaults are evaluated; once a transaction is
# enough, also where each of a thousand rows is a statement (a savepoint rolled back takes lock and setting with it).
POSTGRESQL = """
    CREATE FUNCTION feed_announce() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    DECLARE
        taken bigint;
    BEGIN
        IF coalesce(current_setting('recording_status.feed_announced', true), '') = '' THEN
            SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END INTO taken FROM events_seq_seq;
            PERFORM pg_advisory_xact_lock_shared((21075::bigint << 48) | taken);
            PERFORM set_config('recording_status.feed_announced', 'yes', true);
        END IF;
        RETURN NULL;
    END $$;

    CREATE TRIGGER feed_announce BEFORE INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION feed_announce();

    CREATE FUNCTION feed_mark() RETURNS bigint LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    DECLARE
        taken bigint;
        announced bigint;
    BEGIN
        SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END INTO taken FROM events_seq_seq;
        SELECT min(((classid::bigint & 65535) << 32) | objid::bigint) INTO announced
        FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 1 AND classid::bigint >> 16 = 21075
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database());
        RETURN least(taken, announced);
    END $$
"""


def upgrade() -> None:
    op.create_table(
        "lost_positions",
        sa.Column("after", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("before", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("after", name=op.f("pk_lost_positions")),
    )
    if op.get_bind().dialect.name == "postgresql":
        for statement in POSTGRESQL.split("\n\n"):
            op.execute(statement)


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP TRIGGER feed_announce ON events")
        op.execute("DROP FUNCTION feed_announce()")
        op.execute("DROP FUNCTION feed_mark()")
    op.drop_table("lost_positions")
