"""Processes that only answer and processes that only work, on one database."""

from __future__ import annotations

import asyncio

import pytest

from app.provider.simulator import Server
from app.wiring import open_service, running
from tests.world import APP, MakeSettings, open_client, polled, register


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
    async with (
        open_service(given, role="worker") as worker,
        running(worker),
        open_service(given, role="api") as api,
        running(api),
        open_client(api) as client,
    ):
        await asyncio.sleep(0.3)  # the worker found nothing to do, and listens
        for number in range(3):
            await register(client, number)
            await polled(client, number)


async def test_a_worker_answers_probes_only(settings: MakeSettings) -> None:
    async with open_service(settings(), role="worker") as worker, open_client(worker) as client:
        for path in ("/livez", "/readyz"):
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
    assert jobs["all"] - jobs["api"] == {"poll", "sweep", "housekeeping"}
