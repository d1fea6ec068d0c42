"""Rows come to stand as they were given, however many there are and whatever they have in common."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from app.store.engine import Database
from app.store.many import add_rows, among
from app.store.models import EventRow, TombstoneRow, table_of
from app.wiring import Service
from tests.world import APP, NOON, task_id

EVENTS, TOMBSTONES = table_of(EventRow), table_of(TombstoneRow)


def event(number: int, **different: Any) -> dict[str, Any]:
    alike = {"type": "task.updated", "app_id": APP, "task_id": task_id(1), "task_version": None, "source": "poll"}
    return {"id": f"evt_{number}", "occurred_at": NOON, "data": {}, **alike, **different}


def buried(id_: str) -> dict[str, Any]:
    return {"task_id": id_, "app_id": APP, "version": 1, "claim_no": 0, "until": NOON}


async def stored(database: Database) -> list[dict[str, Any]]:
    async with database.read() as connection:
        rows = (await connection.execute(select(EVENTS).order_by(EVENTS.c.seq))).all()
    return [{name: value for name, value in row._mapping.items() if name != "seq"} for row in rows]


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([event(1)], id="one"),
        pytest.param([event(1), event(1)], id="all alike"),
        pytest.param([event(number, data={"n": [number, None, "'ü\\"]}) for number in (3, 1, 2)], id="in this order"),
        pytest.param([event(1, task_version=7), event(2), event(3, app_id=None)], id="null here and there"),
    ],
)
async def test_rows_stand_as_they_were_given_in_the_order_given(service: Service, rows: list[dict[str, Any]]) -> None:
    async with service.database.write() as connection:
        await add_rows(connection, EVENTS, rows)
    assert await stored(service.database) == rows


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite's texts have no length
async def test_a_text_that_is_too_long_is_refused_rather_than_cut(service: Service) -> None:
    for ids in ([task_id(1), "x" * 17], ["x" * 17]):
        with pytest.raises(DBAPIError, match="too long"):
            async with service.database.write() as connection:
                await add_rows(connection, TOMBSTONES, [buried(id_) for id_ in ids])


async def test_ids_are_found_among_none_one_and_many(service: Service) -> None:
    ids = [task_id(number) for number in range(30)]
    async with service.database.write() as connection:
        await add_rows(connection, TOMBSTONES, [buried(id_) for id_ in ids])
    statement = select(TOMBSTONES.c.task_id).where(among(TOMBSTONES.c.task_id, "ids")).order_by(TOMBSTONES.c.task_id)
    for wanted in ([], ids[3:4], ids[5:25]):
        async with service.database.read() as connection:
            found = (await connection.execute(statement, {"ids": [*wanted, "nowhere"]})).scalars().all()
        assert found == wanted
