"""The story of one recording, as the README tells it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from app.core.schedule import Policy
from app.provider.simulator import Server, Simulator, serve
from app.wiring import Service, open_service, running
from tests.world import APP, SECRET, MakeSettings, open_client

# A recording of some seconds instead of some hours; asked about as often as its haste demands.
OFTEN = timedelta(seconds=0.3)
HASTE = Policy(recording=OFTEN, recording_early=OFTEN, vouched=OFTEN, uploading=OFTEN, uploading_early=OFTEN)


@pytest.fixture
async def provider() -> AsyncIterator[Server]:
    async with serve(Simulator({APP: SECRET})) as server:
        yield server


@pytest.fixture
async def service(settings: MakeSettings, provider: Server) -> AsyncIterator[Service]:
    async with open_service(settings(zego_api_url=provider.url), policy=HASTE) as service, running(service):
        yield service


async def test_a_recording_is_registered_polled_paused_ended_uploaded_settled_and_found(
    service: Service, provider: Server
) -> None:
    # Paused for a fifth of it, and asked about once a second at most.
    task_id = provider.simulator.start("paused", room_id="room-42", duration=8, upload=2)
    async with open_client(service) as client:
        registered = await client.post("/v1/tasks", json={"task_id": task_id, "labels": {"team": "support"}})
        assert registered.status_code == 201
        assert registered.json()["status"] == "pending"

        seen = [task async for task in follow(client, task_id)]

        statuses = list(dict.fromkeys(task["status"] for task in seen))
        assert [word for word in statuses if word in ("ongoing", "paused", "completed")][-1] == "completed"
        assert {"ongoing", "paused", "completed"} <= set(statuses)
        over = seen[-1]
        assert over["tracking"] == "settled"
        assert over["outcome"] == "uploaded"
        assert over["outcome_basis"] == "poll"
        assert over["room_id"] == "room-42"
        assert [file["status"] for file in over["files"]] == ["uploaded"]
        assert over["files"][0]["file_url"].startswith("https://")
        assert over["files"][0]["source"] == "poll"

        again = await client.get(f"/v1/tasks/{task_id}", headers={"If-None-Match": f'W/"{over["version"]}"'})
        assert again.status_code == 304

        found = await client.get("/v1/tasks", params={"label": "team:support", "outcome": "uploaded"})
        assert [task["task_id"] for task in found.json()["items"]] == [task_id]

        history = (await client.get(f"/v1/tasks/{task_id}/events")).json()["items"]
        kinds = [event["type"] for event in history]
        assert kinds[0] == "task.registered"
        assert kinds.count("task.registered") == kinds.count("task.ended") == kinds.count("task.settled") == 1
        assert kinds.index("task.ended") < kinds.index("task.settled")
        assert [event["seq"] for event in history] == sorted({event["seq"] for event in history})
        versions = [event["task_version"] for event in history]
        assert versions == sorted(versions)
        assert versions[-1] == over["version"]

        answer = (await client.get(f"/v1/tasks/{task_id}/answer")).json()
        assert answer["answer"]["Data"]["Status"] == 3


async def follow(client: httpx.AsyncClient, task_id: str) -> AsyncIterator[dict[str, Any]]:
    """Every state of the task that can be seen until it is no longer active."""
    async with asyncio.timeout(20):
        task: dict[str, Any] = {"tracking": "active"}
        while task["tracking"] == "active":
            task = (await client.get(f"/v1/tasks/{task_id}")).json()
            yield task
            await asyncio.sleep(0.05)
