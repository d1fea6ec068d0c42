"""GET /v1/stats/outcomes: what became of tasks lately."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx

from app.core.recording import FileStatus, Status
from app.wiring import Service
from tests.world import NOON, HandClock, observe, register, seen_file, task_id, text


async def ended(client: httpx.AsyncClient, span: str) -> dict[str, Any]:
    response = await client.get("/v1/stats/outcomes", params={"span": span})
    assert response.status_code == 200, response.text
    steps = response.json()["steps"]
    assert [step["at"] for step in steps] == sorted({step["at"] for step in steps})
    return {step["at"]: step["outcomes"] for step in steps}


async def settle(service: Service, client: httpx.AsyncClient, number: int, status: FileStatus) -> None:
    await register(client, number)
    await observe(service, task_id(number), Status.COMPLETED, seen_file(status=status), ended_at=service.clock.now())


async def test_tasks_that_ended_are_counted_by_outcome_in_the_minute_and_hour_they_ended(
    client: httpx.AsyncClient, service: Service, clock: HandClock
) -> None:
    await settle(service, client, 1, FileStatus.UPLOADED)
    await settle(service, client, 2, FileStatus.UPLOADED)
    await settle(service, client, 3, FileStatus.LOST)
    clock.advance(90)
    await settle(service, client, 4, FileStatus.UPLOADED)
    await register(client, 5)
    minutes, hours = await ended(client, "hour"), await ended(client, "day")
    assert len(minutes) == 60
    assert len(hours) == 24
    assert {at: counts for at, counts in minutes.items() if counts} == {
        text(NOON): {"uploaded": 2, "lost": 1},
        text(NOON + timedelta(minutes=1)): {"uploaded": 1},
    }
    assert {at: counts for at, counts in hours.items() if counts} == {text(NOON): {"uploaded": 3, "lost": 1}}
    clock.advance(3600)
    assert not any((await ended(client, "hour")).values())
    assert (await ended(client, "day"))[text(NOON)] == {"uploaded": 3, "lost": 1}
    clock.advance(24 * 3600)
    assert not any((await ended(client, "day")).values())


async def test_another_span_is_refused(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/stats/outcomes", params={"span": "week"})).status_code == 422
