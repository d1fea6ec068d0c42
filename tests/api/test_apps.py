"""The switch at 3 a.m.: pause an app, slow it down, stop its sweeps; for all processes at once."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from app.provider.simulator import Server
from app.wiring import Service, open_service
from tests.world import APP, OTHER_APP, TWO_APPS, MakeSettings, open_client, register

ON = {"polling": "on", "poll_budget": 10, "poll_limit": 10, "sweeping": "on"}


async def test_by_default_everything_is_on(settings: MakeSettings) -> None:
    async with open_service(settings(zego_apps=TWO_APPS)) as service, open_client(service) as client:
        items = (await client.get("/v1/apps")).json()["items"]
        assert items == [{"app_id": APP, **ON}, {"app_id": OTHER_APP, **ON}]


async def test_switches_are_turned_one_by_one_stored_and_shown(
    client: httpx.AsyncClient, settings: MakeSettings
) -> None:
    for patch in ({"polling": "paused"}, {"poll_budget": 3}, {"sweeping": "paused"}, {}):
        assert (await client.patch(f"/v1/apps/{APP}", json=patch)).status_code == 200
    expected = {"app_id": APP, "polling": "paused", "poll_budget": 3, "poll_limit": 10, "sweeping": "paused"}
    async with open_service(settings()) as later, open_client(later) as other:
        assert (await other.get("/v1/apps")).json()["items"] == [expected]
    back = await client.patch(f"/v1/apps/{APP}", json={"polling": "on", "poll_budget": 10, "sweeping": "on"})
    assert back.json() == {"app_id": APP, **ON}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"poll_budget": 11}, "/poll_budget"),
        ({"poll_budget": 0}, "/poll_budget"),
        ({"polling": "off"}, "/polling"),
        ({"poll_limit": 5}, "/poll_limit"),
    ],
)
async def test_what_cannot_be_is_refused_and_changes_nothing(
    client: httpx.AsyncClient, body: dict[str, object], pointer: str
) -> None:
    answer = await client.patch(f"/v1/apps/{APP}", json=body | {"sweeping": "paused"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert (await client.get("/v1/apps")).json()["items"] == [{"app_id": APP, **ON}]


async def test_an_unknown_app_is_not_found(client: httpx.AsyncClient) -> None:
    answer = await client.patch("/v1/apps/77", json={"polling": "paused"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_a_paused_app_asks_nothing_in_any_process_until_it_is_on_again(
    settings: MakeSettings, provider: Server
) -> None:
    switched, working = settings(zego_api_url=provider.url), settings(zego_api_url=provider.url)
    async with open_service(switched) as here, open_service(working) as there, open_client(here) as client:
        await client.patch(f"/v1/apps/{APP}", json={"polling": "paused"})
        await register(client)
        polling = asyncio.create_task(there.poller.run_once())
        await asyncio.sleep(0.7)
        assert provider.simulator.arrivals(APP) == ()
        assert (await client.get("/readyz")).json()["status"] == "degraded"
        await client.patch(f"/v1/apps/{APP}", json={"polling": "on"})
        async with asyncio.timeout(3):
            assert await polling == 1


async def test_a_smaller_budget_holds_fewer_permits(polling_service: Service, provider: Server) -> None:
    provider.simulator.faults = provider.simulator.faults.merged({"rtt": 0.05})
    async with open_client(polling_service) as client:
        await client.patch(f"/v1/apps/{APP}", json={"poll_budget": 2})
        await client.post("/v1/tasks/batch", json={"tasks": [{"task_id": f"{n:016d}"} for n in range(3)]})
        budget = polling_service.budgets[APP]
        async with polling_service.database.write() as connection:
            taken = [await budget.take(connection, polling_service.clock.monotonic()) for _ in range(3)]
        assert [type(one).__name__ for one in taken] == ["Permit", "Permit", "Wait"]
