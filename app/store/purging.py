"""What is no longer kept: closed tasks, receipts, deliveries, audit lines, tombstones. Events: app.store.feed.purge."""

from __future__ import annotations

from datetime import datetime
from itertools import accumulate

from sqlalchemy import delete, select

from app.core.recording import Tracking
from app.store import feed
from app.store.checks import holds
from app.store.connection import Connection
from app.store.many import upsert
from app.store.tables import CALLBACKS, EVENTS, TASKS, TOMBSTONES
from app.store.tables_audit import AUDIT
from app.store.tables_webhooks import DELIVERIES

MOST_FILES = 2000
"""Files that go with the tasks of one transaction, but for a single task that has more."""


async def purge_tasks(connection: Connection, *, before: datetime, limit: int) -> int:
    """Delete tasks that were closed before then, the oldest first, with all that hangs on them; how many.

    Each leaves a tombstone: registered again it goes on counting versions, as long as anybody can have read of it, and
    until its window closes nothing else brings it back.
    """
    row = TASKS.c
    statement = (
        select(row.task_id, row.app_id, row.version, row.claim_no, row.query_deadline, row.file_counts)
        .where(row.closed_at < before, row.tracking != Tracking.ACTIVE.value)
        .order_by(row.closed_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    found = (await connection.execute(statement)).all()
    if not found:
        return 0
    files = accumulate(sum(task.file_counts.values()) for task in found)
    going = [task for task, so_far in zip(found, files, strict=True) if task is found[0] or so_far <= MOST_FILES]
    task_ids = [task.task_id for task in going]
    await connection.execute(delete(TASKS).where(row.task_id.in_(task_ids)))
    await connection.execute(delete(CALLBACKS).where(CALLBACKS.c.task_id.in_(task_ids)))
    await feed.purge_history(connection, task_ids)
    tombstones = [
        {
            "task_id": task.task_id,
            "app_id": task.app_id,
            "version": task.version,
            "claim_no": task.claim_no,
            "until": task.query_deadline,
        }
        for task in going
    ]
    await connection.execute(upsert(connection)(TOMBSTONES).on_conflict_do_nothing(), tombstones)
    return len(going)


async def purge_receipts(connection: Connection, *, before: datetime, limit: int) -> int:
    """Delete callbacks that came before then; how many. Of an active task they stay: they may yet be all its evidence.

    Those about tasks that nobody registered have a time of their own: app.store.callbacks.forget.
    """
    row = CALLBACKS.c
    its_task = select(TASKS.c.task_id).where(TASKS.c.task_id == row.task_id)
    is_active = holds(its_task, TASKS.c.tracking == Tracking.ACTIVE.value)
    old = select(row.id).where(row.received_at < before, row.forget_at.is_(None), ~is_active)
    old = old.order_by(row.received_at).limit(limit)
    gone = await connection.execute(delete(CALLBACKS).where(row.id.in_(old)).returning(row.id))
    return len(gone.all())


async def purge_deliveries(connection: Connection, *, before: datetime, limit: int) -> int:
    """Delete deliveries that were created before then, with their attempts; how many. One under way goes later."""
    row = DELIVERIES.c
    old = select(row.id).where(row.created_at < before, ~row.claimed).order_by(row.created_at).limit(limit)
    gone = await connection.execute(delete(DELIVERIES).where(row.id.in_(old)).returning(row.id))
    return len(gone.all())


async def purge_audit(connection: Connection, *, before: datetime, limit: int) -> int:
    """Delete audit lines that were written before then; how many."""
    row = AUDIT.c
    old = select(row.id).where(row.at < before).order_by(row.at).limit(limit)
    gone = await connection.execute(delete(AUDIT).where(row.id.in_(old)).returning(row.id))
    return len(gone.all())


async def purge_tombstones(connection: Connection, *, before: datetime, limit: int) -> int:
    """Delete tombstones that hold nobody back since then, and of whose tasks the feed no longer tells; how many."""
    row = TOMBSTONES.c
    is_told_of = holds(select(EVENTS.c.task_id).where(EVENTS.c.task_id == row.task_id))
    old = select(row.task_id).where(row.until < before, ~is_told_of).order_by(row.until).limit(limit)
    gone = await connection.execute(delete(TOMBSTONES).where(row.task_id.in_(old)).returning(row.task_id))
    return len(gone.all())
