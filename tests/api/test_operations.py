"""/livez and /readyz."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from sqlalchemy import text

from app.provider.simulator import Server
from app.wiring import Service, open_service, running
from tests.world import (
    APP,
    OTHER_APP,
    TWO_APPS,
    BreakableDatabase,
    HandClock,
    MakeSettings,
    open_client,
    register,
    task_id,
)

ALL_WELL = {"database": "ok", "schema": "ok", "jobs": "ok", f"provider.{APP}": "ok"}


async def test_a_ready_service_says_what_it_looked_at(client: httpx.AsyncClient) -> None:
    assert (await client.get("/livez")).json() == {"status": "ok"}
    response = await client.get("/readyz")
    assert response.status_code == 200
    assert response.json() == {"status": "ok", "checks": ALL_WELL, "jobs": {}, "simulated": False}


async def test_each_jobs_heartbeat_is_told_and_a_silent_one_is_down_until_it_speaks(
    client: httpx.AsyncClient, service: Service, clock: HandClock
) -> None:
    async with running(service):
        await asyncio.sleep(0.3)  # the first runs are over
        assert {"poll", "sweep", "housekeeping"} <= set((await client.get("/readyz")).json()["jobs"])
        clock.advance(100)
        service.ticker.beat("housekeeping")
        clock.advance(100)
        ready = (await client.get("/readyz")).json()
        assert (ready["status"], ready["jobs"]["housekeeping"]) == ("down", 100.0)
        assert "poll" in ready["checks"]["jobs"]
        assert "housekeeping" not in ready["checks"]["jobs"]
        async with asyncio.timeout(5):
            while (await client.get("/readyz")).status_code == 503:
                for job in ready["jobs"]:
                    service.ticker.wake(job)
                await asyncio.sleep(0.05)


async def test_each_app_is_looked_at(settings: MakeSettings) -> None:
    async with open_service(settings(zego_apps=TWO_APPS)) as service, open_client(service) as client:
        assert (await client.get("/readyz")).json()["checks"] == ALL_WELL | {f"provider.{OTHER_APP}": "ok"}


async def test_a_simulated_provider_is_said_to_be_one(settings: MakeSettings) -> None:
    async with open_service(settings(), simulated=True) as service, open_client(service) as client:
        assert (await client.get("/readyz")).json()["simulated"] is True


async def test_strangers_get_no_details(settings: MakeSettings) -> None:
    keys = "reader:read:secret-of-read-keys"
    async with (
        open_service(settings(api_keys=keys)) as service,
        open_client(service) as stranger,
        open_client(service, "x" * 20) as wrong,
        open_client(service, "secret-of-read-keys") as reader,
    ):
        assert (await reader.get("/readyz")).json()["checks"] == ALL_WELL
        for client in (stranger, wrong):
            response = await client.get("/readyz")
            assert response.status_code == 200
            assert response.json() == {"status": "ok", "simulated": False}


async def test_a_provider_that_refuses_us_is_degraded_and_still_200(settings: MakeSettings, provider: Server) -> None:
    wrong = settings(zego_api_url=provider.url, zego_server_secret="not-the-secret")
    async with open_service(wrong) as service, open_client(service) as client:
        await register(client)
        await service.poller.run_once()
        response = await client.get("/readyz")
        assert (response.status_code, response.json()["status"]) == (200, "degraded")
        assert response.json()["checks"][f"provider.{APP}"].startswith("paused")
        assert (await client.get(f"/v1/tasks/{task_id()}")).json()["polling"]["last_error"]["code"]
        for budget in service.budgets.values():
            await budget.provider.close()


@asynccontextmanager
async def another_schema(service: Service) -> AsyncIterator[None]:
    """Meanwhile the database has the schema of another version."""
    async with service.database.write() as connection:
        ours = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar_one()
        await connection.execute(text("UPDATE alembic_version SET version_num = 'another'"))
    try:
        yield
    finally:
        async with service.database.write() as connection:
            await connection.execute(text("UPDATE alembic_version SET version_num = :ours"), {"ours": ours})


async def test_another_versions_schema_is_down(client: httpx.AsyncClient, service: Service) -> None:
    async with another_schema(service):
        response = await client.get("/readyz")
    assert (response.status_code, response.json()["status"]) == (503, "down")
    assert "migrate" in response.json()["checks"]["schema"]
    assert (await client.get("/readyz")).status_code == 200


async def test_a_database_that_goes_away_is_503_until_it_is_back(
    breakable_database: BreakableDatabase, settings: MakeSettings
) -> None:
    there = settings(database_url=breakable_database.url)
    async with open_service(there) as service, open_client(service) as client:
        task = await register(client)
        await breakable_database.take_away(service)
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "down")
        assert ready.json()["checks"]["database"] != "ok"
        assert (await client.get("/livez")).status_code == 200
        for _ in range(12):  # more than there are connections
            for response in (
                await client.get(f"/v1/tasks/{task_id()}"),
                await client.get("/v1/tasks"),
                await client.post("/v1/tasks", json={"task_id": task_id(1)}),
            ):
                assert (response.status_code, response.json()["code"]) == (503, "unavailable")
                assert int(response.headers["Retry-After"]) > 0
        await breakable_database.give_back()
        assert (await client.get("/readyz")).json()["checks"] == ALL_WELL
        assert (await client.get("/v1/tasks", params={"include": "files"})).json()["items"] == [task]
        await register(client, 1)
