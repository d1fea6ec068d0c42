"""Transactions: who waits for whom, and what is kept when something fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from app.errors import DatabaseUnavailable
from app.store.engine import Database
from tests.world import HandClock


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, HandClock())
    yield database
    await database.close()


async def add_one(database: Database, *, durable: bool = True) -> None:
    async with database.write(durable=durable) as connection:
        lock = "" if database.is_sqlite else "FOR UPDATE"
        seen = (await connection.execute(text(f"SELECT fence FROM permits WHERE slot = 0 {lock}"))).scalar_one()
        await asyncio.sleep(0)
        await connection.execute(text("UPDATE permits SET fence = :next WHERE slot = 0"), {"next": seen + 1})


@pytest.fixture
async def counter(database: Database) -> Database:
    async with database.write() as connection:
        await connection.execute(
            text("INSERT INTO permits (app_id, action, slot, fence, free_at) VALUES (1, 'a', 0, 0, 0)")
        )
    return database


async def count(database: Database) -> int:
    async with database.read() as connection:
        found: int = (await connection.execute(text("SELECT fence FROM permits"))).scalar_one()
        return found


async def test_no_update_is_lost_between_two_processes_that_read_and_write_at_once(counter: Database) -> None:
    other = Database(counter.url, HandClock())
    await asyncio.gather(*(add_one(one, durable=bool(number % 3)) for number in range(40) for one in (counter, other)))
    await other.close()
    assert await count(counter) == 80


async def test_each_statement_of_a_read_sees_what_is_committed_by_then(counter: Database) -> None:
    async with counter.read() as connection:
        seen = []
        for _ in range(2):
            seen.append((await connection.execute(text("SELECT fence FROM permits"))).scalar_one())
            await add_one(counter)
    assert seen == [0, 1]


async def test_a_transaction_that_fails_leaves_nothing(counter: Database) -> None:
    async def add_then_fail() -> None:
        async with counter.write() as connection:
            await connection.execute(text("UPDATE permits SET fence = 99"))
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        await add_then_fail()
    assert await count(counter) == 0
    await add_one(counter)
    assert await count(counter) == 1


async def test_what_callers_were_told_waits_for_the_disk_and_polls_do_not(counter: Database) -> None:
    if not counter.is_sqlite:
        return  # every commit waits there
    levels = []
    for durable in (True, False, True):
        async with counter.write(durable=durable) as connection:
            levels.append((await connection.execute(text("PRAGMA synchronous"))).scalar_one())
    assert levels == [2, 1, 2]  # FULL, NORMAL, FULL


async def test_a_checkpoint_while_somebody_writes_harms_nobody(counter: Database) -> None:
    async with counter.write() as connection:
        await connection.execute(text("UPDATE permits SET fence = 7"))
        await counter.checkpoint()
    await counter.checkpoint()
    assert await count(counter) == 7


async def test_a_database_that_cannot_be_reached_is_told_as_such() -> None:
    nowhere = Database("postgresql+asyncpg://nobody@127.0.0.1:9/nothing", HandClock())
    with pytest.raises(DatabaseUnavailable):
        async with nowhere.read():
            pass
    await nowhere.close()


@pytest.mark.parametrize("first_alone", [True, False])
async def test_who_writes_alone_and_who_writes_with_others_wait_for_each_other(
    database: Database, first_alone: bool
) -> None:
    order: list[str] = []

    async def follow() -> None:
        async with database.write(alone=not first_alone):
            order.append("second")

    async with database.write(alone=first_alone):
        second = asyncio.create_task(follow())
        await asyncio.sleep(0.1)
        order.append("first")
    await second
    assert order == ["first", "second"]
