"""PostgreSQL killed while it serves, and every one of its connections ended: each process recovers by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import cast

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.pool import QueuePool

from app.clock import SystemClock
from app.provider.simulator import Server
from app.settings import load_settings
from app.store import schema
from app.store.engine import JOBS, REQUESTS, Database
from app.wiring import Service, open_service, running
from tests.outages import Postgres, own_postgresql
from tests.world import APP, SECRET, open_client


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with own_postgresql() as server:
        yield server


@pytest.fixture
async def services(postgres: Postgres, provider: Server) -> AsyncIterator[list[Service]]:
    """Two processes' worth of service on it, at work."""
    database = Database(postgres.url, SystemClock())
    await schema.migrate(database)
    await database.close()
    settings = load_settings(
        database_url=postgres.url, zego_app_id=APP, zego_server_secret=SECRET, zego_api_url=provider.url
    )
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(open_service(settings)) for _ in range(2)]
        for service in opened:
            await stack.enter_async_context(running(service))
        yield opened


async def until(holds: Callable[[], Awaitable[bool]], *, seconds: float) -> None:
    for _ in range(int(seconds * 20)):
        if await holds():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"it did not come true in {seconds} s")


async def register_and_see_polled(services: list[Service], provider: Server, *, seconds: float) -> None:
    """Each service takes registrations and is ready; the tasks are polled and what was heard is written down."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(open_client(service)) for service in services]
        for client in clients:
            task = provider.simulator.start("normal", duration=60000)

            async def registered(client: httpx.AsyncClient = client, task: str = task) -> bool:
                answer = await client.post("/v1/tasks", json={"task_id": task})
                assert answer.status_code in (200, 201, 503), answer.text
                return answer.is_success

            async def polled(client: httpx.AsyncClient = client, task: str = task) -> bool:
                answer = await client.get(f"/v1/tasks/{task}")
                return answer.is_success and bool(answer.json()["polling"]["poll_count"])

            async def ready(client: httpx.AsyncClient = client) -> bool:
                return bool((await client.get("/readyz")).json()["status"] == "ok")

            for hope in (registered, polled, ready):
                await until(hope, seconds=seconds)


async def nothing_leaked(services: list[Service]) -> None:
    async def idle() -> bool:
        pools = [one.pool for service in services for one in service.database.engines]
        return not any(cast(QueuePool, pool).checkedout() for pool in pools)

    async def nothing_open() -> bool:
        """The jobs go on, and each is between two statements at times: only what stays so was forgotten."""
        async with services[0].database.read() as connection:
            mine = "FROM pg_stat_activity WHERE application_name = 'recording-status'"
            count = (await connection.execute(text(f"SELECT count(*) {mine}"))).scalar_one()
            assert count <= len(services) * (REQUESTS + JOBS)
            stale = (await connection.execute(text(f"SELECT count(*) {mine} AND state LIKE 'idle in%'"))).scalar_one()
        return not stale

    await until(idle, seconds=10)
    await until(nothing_open, seconds=10)


async def alive(services: list[Service], *, since: float) -> None:
    """No job died of it: each shows a sign of life after this, whoever of them polled what was registered."""

    async def all_beat() -> bool:
        polls = [(service.clock.monotonic(), service.ticker.heartbeats()["poll"]) for service in services]
        return all(beat.ago < now - since for now, beat in polls)

    await until(all_beat, seconds=15)


async def test_a_postgresql_that_is_killed_and_started_again_is_used_again(
    postgres: Postgres, services: list[Service], provider: Server
) -> None:
    await register_and_see_polled(services, provider, seconds=10)
    await postgres.kill()
    async with open_client(services[0]) as client:
        assert (await client.get("/readyz")).json()["status"] == "down"
        assert (await client.get("/v1/tasks")).json()["code"] == "unavailable"
    back = services[0].clock.monotonic()
    await postgres.start()
    # What the poller had claimed comes back by its lease, 10 s; what is registered now need not wait for that.
    await register_and_see_polled(services, provider, seconds=45)
    await alive(services, since=back)
    await nothing_leaked(services)


async def test_every_connection_ended_twice_is_opened_again(services: list[Service], provider: Server) -> None:
    for _ in range(2):
        await register_and_see_polled(services, provider, seconds=45)
        executioner = Database(services[0].settings.database_url, SystemClock())
        async with executioner.write() as connection:
            ended = await connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'recording-status' AND pid <> pg_backend_pid()"
                )
            )
            assert len(ended.all()) >= 2
        await executioner.close()
    await register_and_see_polled(services, provider, seconds=45)
    await nothing_leaked(services)
