"""Rows come to stand as they were given, however many there are and whatever they have in common."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from app.errors import DatabaseUnavailable
from app.store.connection import Connection
from app.store.engine import Database
from app.store.kept import Kept
from app.store.many import MANY, among, change_rows, one_trip, put_rows, send
from app.store.rows import task_values
from app.store.tables import EVENTS, TASKS, TOMBSTONES
from app.store.tasks import find_tasks
from app.tracking.registration import NewTask
from app.wiring import Service
from tests.world import APP, NOON, task_id


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
        pytest.param([event(n, data={"n": [n]}, app_id=n % 3 or None) for n in range(MANY + 1)], id="column by column"),
    ],
)
async def test_rows_stand_as_they_were_given_in_the_order_given(service: Service, rows: list[dict[str, Any]]) -> None:
    async with service.database.write() as connection:
        await put_rows(connection, EVENTS, rows)
    assert await stored(service.database) == rows


async def test_names_of_columns_are_plain_texts(service: Service) -> None:
    """As JSON, SQLAlchemy's own kind of text takes five times as long as all the rest of a row."""
    await service.registration.register(NewTask(task_id=task_id(1), app_id=APP, labels={}))
    async with service.database.read() as connection:
        (task,) = (await find_tasks(connection, [task_id(1)])).values()
        (seen,) = await Kept(select(TASKS)).rows(connection, {})
    assert {type(name) for name in [*task_values(task), *seen.keys()]} == {str}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite's texts have no length
async def test_a_text_that_is_too_long_is_refused_rather_than_cut(service: Service) -> None:
    for ids in ([task_id(1), "x" * 17], ["x" * 17]):
        with pytest.raises(DBAPIError, match="too long"):
            async with service.database.write() as connection:
                await put_rows(connection, TOMBSTONES, [buried(id_) for id_ in ids])


async def test_ids_are_found_among_none_one_and_many(service: Service) -> None:
    ids = [task_id(number) for number in range(30)]
    async with service.database.write() as connection:
        await put_rows(connection, TOMBSTONES, [buried(id_) for id_ in ids])
    statement = select(TOMBSTONES.c.task_id).where(among(TOMBSTONES.c.task_id, "ids")).order_by(TOMBSTONES.c.task_id)
    for wanted in ([], ids[3:4], ids[5:25]):
        async with service.database.read() as connection:
            found = (await connection.execute(statement, {"ids": [*wanted, "nowhere"]})).scalars().all()
        assert found == wanted


async def untils(connection: Connection) -> dict[str, datetime]:
    rows = await connection.execute(select(TOMBSTONES.c.task_id, TOMBSTONES.c.until))
    return {row.task_id: row.until for row in rows}


async def test_rows_change_as_their_keys_say(service: Service) -> None:
    async with service.database.write() as connection:
        await put_rows(connection, TOMBSTONES, [buried(task_id(number)) for number in range(3)])
        later = [{"task_id": task_id(number), "until": NOON + timedelta(hours=number)} for number in (2, 1, 7)]
        await change_rows(connection, TOMBSTONES, later)
        assert await untils(connection) == {task_id(n): NOON + timedelta(hours=n) for n in range(3)}


async def test_what_is_put_in_one_trip_is_written_together_or_not_at_all(service: Service) -> None:
    with suppress(ZeroDivisionError):
        async with service.database.write() as connection, one_trip(connection):
            await put_rows(connection, EVENTS, [event(1)])
            1 / 0  # noqa: B018
    assert await stored(service.database) == []
    async with service.database.write() as connection:
        await put_rows(connection, TOMBSTONES, [buried(task_id(1))])
        async with one_trip(connection):
            await put_rows(connection, EVENTS, [event(1), event(2)])
            await change_rows(connection, TOMBSTONES, [{"task_id": task_id(1), "until": NOON + timedelta(days=1)}])
            await put_rows(connection, TOMBSTONES, [buried(task_id(2))])
        await put_rows(connection, EVENTS, [event(3)])
        assert await untils(connection) == {task_id(1): NOON + timedelta(days=1), task_id(2): NOON}
    assert [one["id"] for one in await stored(service.database)] == ["evt_1", "evt_2", "evt_3"]


async def test_what_waits_for_the_end_of_a_trip_is_sent_for_who_reads_it(service: Service) -> None:
    async with service.database.write() as connection, one_trip(connection):
        await put_rows(connection, TOMBSTONES, [buried(task_id(1))])
        await send(connection)
        assert set(await untils(connection)) == {task_id(1)}
        await put_rows(connection, TOMBSTONES, [buried(task_id(2))])
    async with service.database.read() as connection:
        assert set(await untils(connection)) == {task_id(1), task_id(2)}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite's connections are files
async def test_a_connection_that_dies_on_a_trip_is_told_as_such(service: Service) -> None:
    async def die() -> None:
        async with service.database.write() as connection, one_trip(connection):
            await put_rows(connection, EVENTS, [event(1)])
            number = (await connection.execute(select(func.pg_backend_pid()))).scalar_one()
            async with service.database.write() as other:
                await other.execute(text(f"SELECT pg_terminate_backend({number})"))

    with pytest.raises(DatabaseUnavailable):
        await die()
    async with service.database.write() as connection, one_trip(connection):
        await put_rows(connection, EVENTS, [event(2)])
    assert [one["id"] for one in await stored(service.database)] == ["evt_2"]
