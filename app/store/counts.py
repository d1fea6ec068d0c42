"""What is counted as it happens: tasks by their states, and calls by what made them due.

Each costs the same however many tasks there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import delete, func, insert, select

from app.core.schedule import Urgency
from app.store.connection import Connection
from app.store.many import upsert
from app.store.tables_counts import CALL_COUNTS, TASK_COUNTS

_STATE = (TASK_COUNTS.c.tracking, TASK_COUNTS.c.status, TASK_COUNTS.c.outcome)

COUNTED = 10_000
"""Of what is not counted as it happens, such as what waits: it is counted no further, so that no look is slow."""

Calls = Mapping[tuple[int, datetime, Urgency], int]
"""Numbers of calls by app, beginning of the step of time, and class."""


async def tasks(connection: Connection) -> dict[str, dict[str, int]]:
    """How many tasks there are, by tracking, status and outcome; words that none has are left out."""
    counts: dict[str, dict[str, int]] = {"tracking": {}, "status": {}, "outcome": {}}
    for *words, number in await connection.execute(select(*_STATE, func.sum(TASK_COUNTS.c.number)).group_by(*_STATE)):
        for of_kind, word in zip(counts.values(), words, strict=True):
            if word is not None and number:
                of_kind[word] = of_kind.get(word, 0) + int(number)
    return counts


async def draw_together(connection: Connection, *, above: int, limit: int) -> int:
    """Where there are more than ``above`` differences, replace the oldest ``limit`` by their sums; how many went.

    Whoever reads meanwhile sees either these or those.
    """
    if (await connection.execute(select(func.count()).select_from(TASK_COUNTS))).scalar_one() <= above:
        return 0
    oldest = select(TASK_COUNTS.c.id).order_by(TASK_COUNTS.c.id).limit(limit)
    gone = await connection.execute(
        delete(TASK_COUNTS).where(TASK_COUNTS.c.id.in_(oldest)).returning(*_STATE, TASK_COUNTS.c.number)
    )
    sums: dict[tuple[str, str, str | None], int] = {}
    went = 0
    for tracking, status, outcome, number in gone:
        sums[tracking, status, outcome] = sums.get((tracking, status, outcome), 0) + number
        went += 1
    rows = [
        {"tracking": tracking, "status": status, "outcome": outcome, "number": number}
        for (tracking, status, outcome), number in sums.items()
        if number
    ]
    if rows:
        await connection.execute(insert(TASK_COUNTS), rows)
    return went


async def add_calls(connection: Connection, calls: Calls) -> None:
    """Count so many calls more."""
    # In one order everywhere, so that two processes cannot wait for each other in a circle.
    rows = [
        {"app_id": app_id, "at": at, "urgency": urgency, "number": number}
        for (app_id, at, urgency), number in sorted(calls.items())
    ]
    if rows:
        statement = upsert(connection)(CALL_COUNTS)
        more = {"number": CALL_COUNTS.c.number + statement.excluded.number}
        key = ["app_id", "at", "urgency"]
        await connection.execute(statement.on_conflict_do_update(index_elements=key, set_=more), rows)


async def calls(connection: Connection, app_id: int, *, since: datetime, until: datetime) -> dict[Urgency, int]:
    """How many an app made in this time, by class; both ends are beginnings of steps."""
    statement = (
        select(CALL_COUNTS.c.urgency, func.sum(CALL_COUNTS.c.number))
        .where(CALL_COUNTS.c.app_id == app_id, CALL_COUNTS.c.at >= since, CALL_COUNTS.c.at < until)
        .group_by(CALL_COUNTS.c.urgency)
    )
    return {Urgency(row[0]): int(row[1]) for row in await connection.execute(statement)}


async def forget_calls(connection: Connection, *, before: datetime) -> None:
    """Remove the counts of steps that began before then."""
    await connection.execute(delete(CALL_COUNTS).where(CALL_COUNTS.c.at < before))
