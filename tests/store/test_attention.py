"""Tasks that need a person are found without reading the others."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event, text, update

from app.core.recording import Attention
from app.store.listing import TaskFilter, list_tasks
from app.store.models import TaskRow
from app.tracking.registration import NewTask
from app.wiring import Service
from tests.world import APP, task_id


async def test_the_few_tasks_that_need_a_person_are_read_by_their_own_index(service: Service) -> None:
    await service.registration.register_batch(
        [NewTask(task_id=task_id(number), app_id=APP, labels={}) for number in range(1000)]
    )
    lost, expiring = int(Attention.LOST), int(Attention.EXPIRING)
    async with service.database.write() as connection:
        for number, flag in ((7, lost), (8, expiring)):
            await connection.execute(update(TaskRow).where(TaskRow.task_id == task_id(number)).values(attention=flag))
    said: list[tuple[str, Any]] = []
    async with service.database.read() as connection:
        if connection.dialect.name == "postgresql":
            await connection.execute(text("ANALYZE tasks"))
        engine = connection.engine.sync_engine

        def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
            said.append((statement, parameters))

        event.listen(engine, "before_cursor_execute", note)
        found = await list_tasks(connection, TaskFilter(attention=lost), order="registered_at", after=None, limit=20)
        event.remove(engine, "before_cursor_execute", note)
        assert [task.task_id for task in found] == [task_id(7)]
        (statement, parameters) = said[-1]
        explain = "EXPLAIN " if connection.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN "
        plan = (await connection.exec_driver_sql(explain + statement, parameters)).all()
    assert "ix_tasks_needing_a_person" in str(plan)
