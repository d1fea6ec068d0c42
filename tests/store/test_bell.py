"""Wake-ups: after the commit, in every process, and again after the connection that carries them was lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
from sqlalchemy import text

from app.clock import SystemClock
from app.store import bell as module
from app.store.bell import EVENTS, POLLS, Bell, ring
from app.store.engine import Database


class Woken:
    """Counts the rings of a topic, and can be waited for."""

    def __init__(self, bell: Bell, topic: str = POLLS) -> None:
        self.times, self._again = 0, asyncio.Event()
        bell.on(topic, self._ring)

    def _ring(self) -> None:
        self.times += 1
        self._again.set()

    async def again(self) -> None:
        async with asyncio.timeout(5):
            await self._again.wait()
        self._again.clear()


@asynccontextmanager
async def running(url: str | None) -> AsyncIterator[tuple[Bell, Woken]]:
    """A bell as another process has it, listening."""
    bell = Bell(url, SystemClock())
    woken = Woken(bell)
    task = asyncio.create_task(bell.run())
    try:
        if url:
            await woken.again()  # it rings as soon as it hears
        yield bell, woken
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, SystemClock())
    yield database
    await database.close()


async def test_it_rings_after_the_commit_and_not_before(database: Database) -> None:
    bell = Bell(None, SystemClock())
    woken, others = Woken(bell), Woken(bell, EVENTS)
    database.committed = bell.ring
    async with database.write() as connection:
        ring(connection, POLLS)
        assert woken.times == 0
    assert (woken.times, others.times) == (1, 0)


async def test_what_is_rolled_back_rings_neither_then_nor_with_the_next_commit(database: Database) -> None:
    bell = Bell(None, SystemClock())
    woken = Woken(bell)
    database.committed = bell.ring

    async def fail() -> None:
        async with database.write() as connection:
            ring(connection, POLLS)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    for _ in range(10):  # each of the pool's connections
        async with database.write() as connection:
            await connection.execute(text("SELECT 1"))
    assert woken.times == 0


@pytest.fixture
def postgresql(_postgresql_url: str) -> str:
    """SQLite has no wake-ups across processes; there they look by themselves every second."""
    return _postgresql_url


async def test_another_process_hears_it_and_this_one_once(postgresql: str) -> None:
    async with running(postgresql) as (bell, woken), running(postgresql) as (_, elsewhere):
        before = woken.times
        bell.ring({POLLS})
        await elsewhere.again()
        await asyncio.sleep(0.05)
        assert woken.times == before + 1


async def test_many_rings_are_carried_together(postgresql: str) -> None:
    async with running(postgresql) as (bell, _), running(postgresql) as (_, elsewhere):
        before = elsewhere.times
        for _ in range(1000):
            bell.ring({POLLS})
        await elsewhere.again()
        await asyncio.sleep(0.1)
        assert elsewhere.times - before <= 2


async def test_an_unknown_topic_of_a_newer_version_is_passed_over(postgresql: str) -> None:
    async with running(postgresql) as (bell, _), running(postgresql) as (_, elsewhere):
        bell.ring({"from-the-future"})
        bell.ring({POLLS})
        await elsewhere.again()


async def test_after_its_connection_was_cut_it_comes_back_and_rings_for_what_it_missed(postgresql: str) -> None:
    with _fast_again():
        async with running(postgresql) as (bell, woken), running(postgresql) as (_, elsewhere):
            database = Database(postgresql, SystemClock())
            async with database.write() as connection:
                cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE :mine AND pid <> :me"
                me = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
                gone = await connection.execute(text(cut), {"mine": "%recording_status%", "me": me})
                assert len(gone.all()) >= 2
            await database.close()
            await woken.again()
            await elsewhere.again()
            await asyncio.sleep(0.05)
            elsewhere._again.clear()
            bell.ring({POLLS})
            await elsewhere.again()


@contextmanager
def _fast_again() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.setattr(module, "AGAIN", 0.05)
    yield
    patch.undo()
