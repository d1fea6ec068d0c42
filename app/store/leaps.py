"""Dates that lie farther ahead than any rule puts them: the clock they were written by has stepped back since.

Each is a question of rows alone, so it makes no difference how many processes ask it, or whether one was started anew.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import update

from app.core.deliveries import LEASE, LONGEST_WAIT
from app.core.schedule import Urgency
from app.store import bell
from app.store.connection import Connection
from app.store.tables import POLLS
from app.store.tables_calls import SWEEPS
from app.store.tables_webhooks import DELIVERIES

_FOLLOWED = [urgency for urgency in Urgency if urgency not in (Urgency.DEADLINE, Urgency.LOOK)]


async def cut_polls(connection: Connection, app_id: int, *, beyond: datetime, now: datetime) -> int:
    """Make polls due that lie beyond that date; how many. Looks at settled tasks may be late."""
    astray = (POLLS.c.app_id == app_id, POLLS.c.urgency.in_(_FOLLOWED), POLLS.c.next_poll_at > beyond)
    done = await connection.execute(
        update(POLLS).where(*astray).values(next_poll_at=now, early_at=None).returning(POLLS.c.task_id)
    )
    if number := len(done.all()):
        bell.ring(connection, bell.POLLS)
    return number


async def cut_sweep(connection: Connection, app_id: int, *, beyond: datetime, now: datetime) -> None:
    """Make an app's sweep due that lies beyond that date."""
    astray = (SWEEPS.c.app_id == app_id, SWEEPS.c.next_at > beyond)
    await connection.execute(update(SWEEPS).where(*astray).values(next_at=now))


async def cut_deliveries(connection: Connection, *, now: datetime) -> None:
    """Make deliveries due that were never tried, and let leases and waits for the next attempt last no longer than
    they do by rule."""
    ahead = (DELIVERIES.c.next_attempt_at.is_not(None), DELIVERIES.c.next_attempt_at > now)
    fresh = update(DELIVERIES).where(*ahead, DELIVERIES.c.fresh, ~DELIVERIES.c.claimed)
    claimed = update(DELIVERIES).where(DELIVERIES.c.claimed, DELIVERIES.c.next_attempt_at > now + LEASE)
    others = update(DELIVERIES).where(*ahead, DELIVERIES.c.next_attempt_at > now + LONGEST_WAIT)
    await connection.execute(fresh.values(next_attempt_at=now))
    await connection.execute(claimed.values(next_attempt_at=now + LEASE))
    await connection.execute(others.values(next_attempt_at=now + LONGEST_WAIT))
    bell.ring(connection, bell.DELIVERIES)
