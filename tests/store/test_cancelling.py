"""Work that is cancelled, wherever it stands: no transaction stays open, and no connection is lost."""

from __future__ import annotations

import asyncio
import gc
import random
import sqlite3
import threading
import warnings
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, cast

import pytest
from sqlalchemy import text
from sqlalchemy.pool import QueuePool

from app.store.engine import Database
from tests.world import HandClock


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    before = threading.active_count()
    database = Database(database_url, HandClock())
    yield database
    await database.close()
    with warnings.catch_warnings():
        # Python 3.11 can lose what a cancelled wait came to: a connection just made, which then closes like this.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    for _ in range(500):  # each of SQLite's connections has a thread
        if threading.active_count() <= before:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{threading.active_count() - before} threads are left")


async def work(database: Database) -> None:
    """Two rows that only make sense together, and a look at them."""
    async with database.write() as connection:
        for slot in (1, 2):
            await connection.execute(
                text("INSERT INTO permits (app_id, action, slot, fence, free_at) VALUES (1, 'a', :slot, 0, 0)"),
                {"slot": slot},
            )
    async with database.write(durable=False) as connection:
        await connection.execute(text("DELETE FROM permits"))
    async with database.read() as connection:
        await connection.execute(text("SELECT count(*) FROM permits"))


async def everything_is_whole(database: Database) -> None:
    """All connections are back, none with a transaction, and the next to come finds them so."""
    for engine in database.engines:
        assert cast(QueuePool, engine.pool).checkedout() == 0
    async with asyncio.timeout(2), database.write() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM permits"))).scalar_one() in (0, 2)
        await connection.execute(text("DELETE FROM permits"))
    if database.is_sqlite:
        outsider = sqlite3.connect(database.url.removeprefix("sqlite+aiosqlite:///"))
        busy, _, _ = outsider.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        outsider.close()
        assert busy == 0  # nobody reads on from an old state
    else:
        async with database.read() as connection:
            idle: Any = await connection.execute(
                text("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'")
            )
            assert idle.scalar_one() == 0


@pytest.mark.parametrize("warm", [True, False], ids=["connected", "connecting"])
async def test_work_may_be_cancelled_at_any_step(database: Database, warm: bool) -> None:
    steps = random.Random(7)
    cut_off = 0
    for step in range(100):
        if not warm:
            await database.close()
        task = asyncio.create_task(work(database))
        for _ in range(step % 50):
            await asyncio.sleep(0)
        if step >= 50:  # its thread, or the server, needs time of its own
            await asyncio.sleep(steps.random() * (0.01 if warm else 0.03))
        cut_off += task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await everything_is_whole(database)
    assert cut_off > 25


async def test_those_who_wait_in_line_may_be_cancelled_too(database: Database) -> None:
    for _ in range(10):
        tasks = [asyncio.create_task(work(database)) for _ in range(30)]
        await asyncio.sleep(0.004)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await everything_is_whole(database)
