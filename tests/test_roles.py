"""Processes that only answer and processes that only work, on one database."""

from __future__ import annotations

import asyncio

import pytest

from app.clock import SystemClock
from app.errors import Misconfigured
from app.provider.simulator import Server
from app.wiring import open_service, running
from tests.world import APP, BreakableDatabase, MakeSettings, open_client, polled, register


async def test_a_worker_polls_what_an_api_process_registers(settings: MakeSettings, provider: Server) -> None:
    given = settings(zego_api_url=provider.url)
    async with (
        open_service(given, role="api") as api,
        running(api),
        open_client(api) as client,
    ):
        await register(client)
        await asyncio.sleep(0.3)
        assert provider.simulator.arrivals(APP) == ()
        async with open_service(given, role="worker") as worker, running(worker):
            await polled(client)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_on_postgresql_it_does_so_at_once(  # on SQLite processes do not wake each other; they look every second
    settings: MakeSettings, provider: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.wiring.TICK", 60.0)
    given = settings(zego_api_url=provider.url)
    clock = SystemClock()  # one for both: by a clock some milliseconds behind, the task is due only at the next tick
    async with (
        open_service(given, role="worker", clock=clock) as worker,
        running(worker),
        open_service(given, role="api", clock=clock) as api,
        running(api),
        open_client(api) as client,
    ):
        await asyncio.sleep(0.3)  # the worker found nothing to do, and listens
        for number in range(3):
            await register(client, number)
            await polled(client, number)


async def test_a_worker_answers_probes_only(settings: MakeSettings) -> None:
    async with open_service(settings(), role="worker") as worker, open_client(worker) as client:
        for path in ("/livez", "/readyz", "/metrics"):
            assert (await client.get(path)).status_code == 200
        for path in ("/v1/tasks", "/v1/stats", "/docs", "/", "/openapi.json"):
            assert (await client.get(path)).status_code == 404, path
        assert (await client.post("/v1/callbacks/zego", content=b"{}")).status_code == 404


async def test_each_role_watches_the_jobs_it_has(settings: MakeSettings) -> None:
    jobs = {}
    for role in ("all", "api", "worker"):
        async with open_service(settings(), role=role) as service:
            jobs[role] = set(service.ticker._jobs)
    assert jobs["all"] == jobs["worker"]
    assert jobs["all"] - jobs["api"] == {"poll", "sweep", "spending", "deliver", "housekeeping"}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_it_waits_for_a_database_that_comes_later(
    settings: MakeSettings, breakable_database: BreakableDatabase
) -> None:
    await breakable_database.take_away()
    opened = open_service(settings(database_url=breakable_database.url), patience=20.0)
    starting = asyncio.create_task(opened.__aenter__())
    await asyncio.sleep(0.3)
    assert not starting.done()
    await breakable_database.give_back()
    async with asyncio.timeout(10):
        service = await starting
    async with open_client(service) as client:
        assert (await client.get("/readyz")).json()["status"] == "ok"
    await opened.__aexit__(None, None, None)


async def test_without_patience_a_database_that_is_not_there_stops_the_start(settings: MakeSettings) -> None:
    nowhere = settings(database_url="postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(Misconfigured, match="DATABASE_URL: cannot use the database"):
        await open_service(nowhere).__aenter__()


class SkewedClock(SystemClock):
    """The clock of a host that is wrong by minutes, and whose wall clock somebody may set anew."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._offset += seconds


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_hosts_whose_clocks_differ_by_minutes_agree_on_the_time(settings: MakeSettings, provider: Server) -> None:
    given = settings(zego_api_url=provider.url)
    task = provider.simulator.start("normal", duration=1, upload=1)
    async with (
        open_service(given, clock=SkewedClock(-600), role="api") as slow,
        open_service(given, clock=SkewedClock(+600), role="worker") as fast,
        running(fast),
        open_client(slow) as client,
    ):
        assert abs((slow.clock.now() - fast.clock.now()).total_seconds()) < 1
        await client.post("/v1/tasks", json={"task_id": task})
        async with asyncio.timeout(10):
            while (found := (await client.get(f"/v1/tasks/{task}")).json())["tracking"] == "active":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    assert found["outcome"] == "uploaded"
    assert found["registered_at"] <= found["polling"]["last_polled_at"] <= found["settled_at"]


async def test_a_step_of_the_wall_clock_moves_nothing_before_the_next_look_at_the_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SystemClock()
    before = clock.now()
    with monkeypatch.context() as stepped:
        stepped.setattr("time.time", lambda: 0.0)
        assert 0 <= (clock.now() - before).total_seconds() < 1
