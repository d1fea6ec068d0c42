"""Requests and background jobs share a database, and neither can use up the other's connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import text

from app.errors import DatabaseUnavailable
from app.provider.simulator import Server
from app.store import engine, postgresql
from app.store.engine import JOBS, REQUESTS, Database, work_in_background
from app.tracking.registration import NewTask
from app.wiring import Service, open_service, running
from tests.world import APP, HandClock, MakeSettings, open_client, task_id
from tests.world import register as register_by_api


async def register(service: Service, provider: Server, count: int) -> list[str]:
    tasks = [provider.simulator.start("normal", duration=60000) for _ in range(count)]
    await service.registration.register_batch([NewTask(task_id=task, labels={}) for task in tasks])
    return tasks


async def until_called(provider: Server, times: int) -> None:
    for _ in range(500):
        counts: dict[str, Any] = provider.simulator.stats()["apps"].get(str(APP), {})
        if counts.get("DescribeRecordStatus", {}).get("calls", 0) >= times:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"fewer than {times} calls in 10 s")


@asynccontextmanager
async def held(database: Database, connections: int, *, by_jobs: bool = False, in_line: int = 0) -> AsyncIterator[None]:
    """Meanwhile so many connections are in use, by requests or by jobs, and more wait for one."""
    inside, release = asyncio.Semaphore(0), asyncio.Event()

    async def hold() -> None:
        if by_jobs:
            work_in_background()
        async with database.read() as connection:
            await connection.execute(text("SELECT 1"))
            inside.release()
            await release.wait()

    async with asyncio.TaskGroup() as group:
        for _ in range(connections + in_line):
            group.create_task(hold())
        for _ in range(connections):
            await inside.acquire()
        try:
            yield
        finally:
            release.set()


async def test_the_api_answers_while_the_poller_is_saturated_and_the_provider_slow(
    settings: MakeSettings, provider: Server
) -> None:
    provider.simulator.faults = provider.simulator.faults.merged({"rtt": 1.0})
    async with open_service(settings(zego_api_url=provider.url)) as service, open_client(service) as client:
        first, *_ = await register(service, provider, 200)
        async with running(service):
            await until_called(provider, 10)
            for address in (f"/v1/tasks/{first}", "/v1/tasks", "/v1/stats", "/readyz") * 10:
                began = time.monotonic()
                assert (await client.get(address)).status_code == 200
                assert time.monotonic() - began < 3.0  # who found no connection would have waited 5 s


async def test_the_poller_goes_on_while_requests_hold_every_connection_they_can_get(
    settings: MakeSettings, provider: Server
) -> None:
    async with open_service(settings(zego_api_url=provider.url)) as service:
        tasks = await register(service, provider, 30)
        async with held(service.database, REQUESTS), running(service):
            await until_called(provider, 20)  # more than there are permits: the first ten were recorded meanwhile
        polled = [await service.tasks.get(task) for task in tasks]
    assert sum(task.polling.poll_count for task in polled) >= 20


async def test_requests_are_answered_while_jobs_hold_every_connection_they_can_get(
    settings: MakeSettings, clock: HandClock
) -> None:
    async with (
        open_service(settings(), clock=clock) as service,
        open_client(service) as client,
        held(service.database, JOBS, by_jobs=True, in_line=20),
        asyncio.timeout(2),
    ):
        await register_by_api(client)
        assert (await client.get(f"/v1/tasks/{task_id()}")).status_code == 200


async def test_a_job_does_not_stand_behind_a_crowd_of_requests_that_write(database_url: str) -> None:
    database, written = Database(database_url, HandClock()), 0

    async def request() -> None:
        nonlocal written
        async with database.write() as connection:
            await connection.execute(text("DELETE FROM permits"))
            await asyncio.sleep(0.01)
        written += 1

    async def job() -> int:
        work_in_background()
        async with database.write() as connection:
            await connection.execute(text("SELECT 1"))
        return written

    requests = [asyncio.create_task(request()) for _ in range(60)]
    await asyncio.sleep(0.05)
    assert await asyncio.create_task(job()) < 30
    await asyncio.gather(*requests)
    await database.close()


async def test_a_request_that_gets_no_connection_in_time_is_told_so(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "WAIT", 0.3)  # it is all the time to open one, too
    database = Database(database_url, HandClock())
    async with held(database, REQUESTS):
        with pytest.raises(DatabaseUnavailable):
            async with database.read():
                pass
    async with AsyncExitStack() as stack:
        for _ in range(1 if database.is_sqlite else REQUESTS):
            await stack.enter_async_context(database.write())
        with pytest.raises(DatabaseUnavailable):
            async with database.write():
                pass
    async with database.write(), database.read():
        pass
    await database.close()


# -- PostgreSQL's own limits


@pytest.fixture
async def impatient(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """A PostgreSQL that waits for nothing longer than 0.3 s."""
    for module, limit in ((engine, "WAIT"), (engine, "STATEMENT"), (postgresql, "IDLE")):
        monkeypatch.setattr(module, limit, 0.3)
    database = Database(database_url, HandClock())
    yield database
    await database.close()


async def run_slowly(database: Database) -> None:
    async with database.read() as connection:
        await connection.execute(text("SELECT pg_sleep(3)"))


async def wait_for_a_lock(database: Database) -> None:
    async with database.write() as holder:
        await holder.execute(text("LOCK TABLE tasks"))
        async with database.write() as connection:
            await connection.execute(text("DELETE FROM tasks"))


async def say_nothing_more(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(text("LOCK TABLE tasks"))
        await asyncio.sleep(0.6)
        await connection.execute(text("SELECT 1"))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has no such limits
@pytest.mark.parametrize("too_long", [run_slowly, wait_for_a_lock, say_nothing_more])
async def test_postgresql_ends_what_takes_too_long_and_the_connection_goes_on(
    impatient: Database, too_long: object
) -> None:
    assert callable(too_long)
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        await too_long(impatient)
    assert time.monotonic() - began < 2
    async with impatient.write() as connection:
        await connection.execute(text("LOCK TABLE tasks"))
