"""Statements that are kept, and run by the driver itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy import Integer, bindparam, func, literal, select, text
from sqlalchemy.exc import DBAPIError

from app.errors import DatabaseUnavailable
from app.store.engine import REQUESTS, Database
from app.store.kept import Kept
from app.store.many import among
from app.store.tables import UtcDateTime
from tests.world import HandClock

ONE = Kept(select((literal(1) + bindparam("more", None, Integer)).label("sum")))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, HandClock())
    yield database
    await database.close()


async def add(database: Database, more: int) -> int:
    async with database.read() as connection:
        (row,) = await ONE.rows(connection, {"more": more, "of another statement": 0})
    found: int = row["sum"]
    return found


async def test_a_kept_statement_takes_other_values_each_time(database: Database) -> None:
    assert [await add(database, more) for more in (1, 2, 3)] == [2, 3, 4]


async def test_values_come_back_as_they_went(database: Database) -> None:
    at = datetime(2026, 1, 30, 12, 0, 0, 7, tzinfo=timezone(timedelta(hours=8)))
    given = {"at": at, "none": None, "these": ["ü", "x"]}
    many = among(literal("ü"), "these").label("is_among")
    kinds = [bindparam(name, type_=UtcDateTime()).label(name) for name in ("at", "none")]
    shown = Kept(select(*kinds, many, func.coalesce(bindparam("number", 7, Integer), 0).label("number")))
    async with database.read() as connection:
        (row,) = await shown.rows(connection, given)
    assert (row["at"], row["none"], bool(row["is_among"]), row["number"]) == (at, None, True, 7)
    assert row["at"].utcoffset() == timedelta(0)
    assert [*row.keys()] == ["at", "none", "is_among", "number"]


async def test_a_value_that_the_driver_cannot_send_says_nothing_about_the_database(database: Database) -> None:
    with pytest.raises(DBAPIError):
        async with database.read() as connection:
            await ONE.rows(connection, {"more": 2**70})
    assert await add(database, 1) == 2


async def test_a_connection_that_died_is_told_as_such_and_never_used_again(database: Database) -> None:
    if database.is_sqlite:
        return  # its connections are files
    async with database.read() as dying, database.read() as other:
        number = (await dying.execute(select(func.pg_backend_pid()))).scalar_one()
        await other.execute(text(f"SELECT pg_terminate_backend({number})"))
        with pytest.raises(DatabaseUnavailable):
            async with database.read():
                await ONE.rows(dying, {"more": 1})
    assert [await add(database, 1) for _ in range(REQUESTS + 1)] == [2] * (REQUESTS + 1)


async def test_whoever_stops_waiting_for_rows_leaves_no_connection_that_is_busy(database: Database) -> None:
    if database.is_sqlite:
        return
    slow = Kept(select(func.pg_sleep(60)))

    async def wait() -> None:
        async with database.read() as connection:
            await slow.rows(connection, {})

    waiting = [asyncio.create_task(wait()) for _ in range(REQUESTS)]
    await asyncio.sleep(0.2)
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert await asyncio.gather(*(add(database, 1) for _ in range(2 * REQUESTS))) == [2] * 2 * REQUESTS
