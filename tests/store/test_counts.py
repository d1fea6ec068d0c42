"""Counts that are kept as things happen: tasks by triggers, calls by those who make them."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, func, select, text, update

from app.core.recording import FileStatus, Status
from app.core.schedule import Urgency
from app.store import counts, queue, schema
from app.store.engine import Database
from app.store.tables import TASKS
from app.store.tables_counts import TASK_COUNTS
from app.wiring import Service
from tests.store.test_migrations import fill
from tests.world import APP, NOON, observe, register, seen_file, task_id


async def counted(database: Database) -> dict[str, dict[str, int]]:
    async with database.read() as connection:
        return await counts.tasks(connection)


async def really(database: Database) -> dict[str, dict[str, int]]:
    """The same, from the tasks themselves."""
    async with database.read() as connection:
        rows = (await connection.execute(select(TASKS.c.tracking, TASKS.c.status, TASKS.c.outcome))).all()
    return {
        name: dict(Counter(str(row[place]) for row in rows if row[place] is not None))
        for place, name in enumerate(("tracking", "status", "outcome"))
    }


async def rows(database: Database) -> int:
    async with database.read() as connection:
        return int((await connection.execute(select(func.count()).select_from(TASK_COUNTS))).scalar_one())


async def test_counts_follow_the_tasks_through_all_that_happens_to_them(
    service: Service, client: httpx.AsyncClient
) -> None:
    assert await counted(service.database) == {"tracking": {}, "status": {}, "outcome": {}}
    batch = [{"task_id": task_id(number)} for number in range(10)]
    for _ in range(2):  # those that are there already count once
        assert (await client.post("/v1/tasks/batch", json={"tasks": batch})).status_code == 200
    assert (await counted(service.database))["tracking"] == {"active": 10}
    ended_at = service.clock.now()
    await observe(service, task_id(1), Status.COMPLETED, seen_file(status=FileStatus.UPLOADED), ended_at=ended_at)
    await observe(service, task_id(2), Status.ONGOING)
    assert (await client.post(f"/v1/tasks/{task_id(3)}/untrack")).status_code == 200
    assert (await client.delete(f"/v1/tasks/{task_id(4)}")).status_code == 204
    assert await counted(service.database) == await really(service.database)
    assert await counted(service.database) == {
        "tracking": {"active": 7, "settled": 1, "untracked": 1},
        "status": {"pending": 7, "ongoing": 1, "completed": 1},
        "outcome": {"uploaded": 1, "unresolved": 1},
    }


async def test_what_is_undone_is_not_counted(service: Service, client: httpx.AsyncClient) -> None:
    async def settle_in_vain() -> None:
        async with service.database.write() as connection:
            await connection.execute(update(TASKS).values(tracking="settled"))
            raise ZeroDivisionError

    await register(client, 1)
    with pytest.raises(ZeroDivisionError):
        await settle_in_vain()
    assert (await counted(service.database))["tracking"] == {"active": 1}


async def test_rows_are_drawn_together_while_others_write_and_no_count_changes(
    service: Service, client: httpx.AsyncClient
) -> None:
    batch = [{"task_id": task_id(number)} for number in range(40)]
    await client.post("/v1/tasks/batch", json={"tasks": batch})

    async def settle(number: int) -> None:
        async with service.database.write() as connection:
            one = update(TASKS).where(TASKS.c.task_id == task_id(number))
            await connection.execute(one.values(tracking="settled", outcome="lost"))

    async def draw() -> None:
        async with service.database.write() as connection:
            await counts.draw_together(connection, above=2, limit=1000)

    await asyncio.gather(*(settle(number) for number in range(30)), *(draw() for _ in range(10)))
    await draw()
    assert await counted(service.database) == await really(service.database)
    assert (await counted(service.database))["tracking"] == {"active": 10, "settled": 30}
    assert await rows(service.database) <= 4


async def test_few_rows_are_left_as_they_are(service: Service, client: httpx.AsyncClient) -> None:
    await register(client, 1)
    await service.housekeeping.run_once()
    before = await rows(service.database)
    assert before == 1
    async with service.database.write() as connection:
        assert await counts.draw_together(connection, above=1, limit=10) == 0


async def test_the_migration_counts_what_is_there_and_an_earlier_program_keeps_it_right(
    empty_database: Database,
) -> None:
    await schema.migrate(empty_database, "0008_since_0006")
    async with empty_database.write() as connection:
        await connection.run_sync(fill)
    await schema.migrate(empty_database)
    assert await counted(empty_database) == await really(empty_database)
    async with empty_database.write() as connection:
        await connection.execute(update(TASKS).where(TASKS.c.task_id == task_id(1)).values(status="completed"))
        await connection.execute(delete(TASKS).where(TASKS.c.task_id == task_id(2)))
    assert await counted(empty_database) == await really(empty_database)
    assert (await counted(empty_database))["status"] == {"completed": 1}


async def test_calls_of_several_processes_add_up_and_are_forgotten(service: Service) -> None:
    step, hurried, routine = timedelta(seconds=10), Urgency.HURRIED, Urgency.ROUTINE

    async def add(calls: Any) -> None:
        async with service.database.write() as connection:
            await counts.add_calls(connection, calls)

    one = {(1, NOON, hurried): 3, (1, NOON + step, routine): 2, (7, NOON, hurried): 9}
    await asyncio.gather(add(one), add({**one, (1, NOON - step, hurried): 50}), add({}))

    async def found(**span: Any) -> dict[Urgency, int]:
        async with service.database.read() as connection:
            return await counts.calls(connection, 1, **span)

    assert await found(since=NOON, until=NOON + step) == {hurried: 6}
    assert await found(since=NOON, until=NOON + 2 * step) == {hurried: 6, routine: 4}
    async with service.database.write() as connection:
        await counts.forget_calls(connection, before=NOON + step)
    assert await found(since=NOON - step, until=NOON + 2 * step) == {routine: 4}


# -- what waits


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound of counting: in the statements it is a parameter, so they can be run with another."""


async def test_what_is_due_is_counted_by_looks_into_an_index_and_up_to_a_bound(
    service: Service, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "COUNTED", 20)
    await register(client, 1)
    await client.post("/v1/tasks/batch", json={"tasks": [{"task_id": task_id(number)} for number in range(2, 32)]})
    now = service.clock.now()
    async with service.database.read() as connection:
        backlog = await queue.backlog(connection, APP, now=now)
        assert backlog == queue.Backlog({Urgency.HURRIED: 1, Urgency.BATCH: 20}, now)
        statement = queue._BACKLOG.params(of_app=APP, now=now, most=20)
        sql = statement.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
        explain = "EXPLAIN QUERY PLAN "
        if connection.dialect.name == "postgresql":
            await connection.execute(text("SET LOCAL enable_seqscan = off"))  # it would be right for so few
            explain = "EXPLAIN "
        plan = str([list(row.values()) for row in await connection.ask(f"{explain}{sql}")])
    assert "ix_polls_app_id_urgency_next_poll_at" in plan
    assert not re.search("Seq Scan|SCAN polls|Sort|TEMP B-TREE", plan)
