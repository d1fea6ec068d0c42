"""The story of one recording, as the README tells it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from app.clock import SystemClock
from app.core.schedule import Policy
from app.provider.simulator import Server, Simulator, serve
from app.wiring import Service, open_service, running
from tests.world import APP, SECRET, MakeSettings, open_client

# Asked about as often as its haste demands.
OFTEN = timedelta(seconds=0.3)
HASTE = Policy(recording=OFTEN, recording_early=OFTEN, vouched=OFTEN, uploading=OFTEN, uploading_early=OFTEN)


class Watch:
    """The provider's time, moved by hand: nothing happens to a recording before the last thing was seen."""

    def __init__(self) -> None:
        self.time = SystemClock().now().timestamp()


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
async def provider(watch: Watch) -> AsyncIterator[Server]:
    async with serve(Simulator({APP: SECRET}, time=lambda: watch.time)) as server:
        yield server


@pytest.fixture
async def service(settings: MakeSettings, provider: Server) -> AsyncIterator[Service]:
    async with open_service(settings(zego_api_url=provider.url), policy=HASTE) as service, running(service):
        yield service


async def test_a_recording_is_registered_polled_paused_ended_uploaded_settled_and_found(
    service: Service, provider: Server, watch: Watch
) -> None:
    task_id = provider.simulator.start("paused", room_id="room-42", duration=100, upload=10)
    async with open_client(service) as client:
        registered = await client.post("/v1/tasks", json={"task_id": task_id, "labels": {"team": "support"}})
        assert registered.status_code == 201
        assert registered.json()["status"] == "pending"

        for status, seconds in (("ongoing", 30), ("paused", 20), ("ongoing", 20), ("completed", 35)):
            watch.time += seconds
            await until(client, task_id, status=status)
        watch.time += 10
        over = await until(client, task_id, tracking="settled")
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


async def until(client: httpx.AsyncClient, task_id: str, **facts: str) -> dict[str, Any]:
    """The task, as soon as this is so."""
    async with asyncio.timeout(20):
        while True:
            task: dict[str, Any] = (await client.get(f"/v1/tasks/{task_id}")).json()
            if task | facts == task:
                return task
            await asyncio.sleep(0.05)
