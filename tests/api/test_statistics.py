"""GET /v1/stats: what the call budget went to and how ends came to be known, whatever process is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import delete

from app.core.recording import FileStatus, SeenFile, Status
from app.core.schedule import Urgency
from app.errors import DatabaseUnavailable
from app.provider.simulator import Server
from app.store import polls
from app.store.polls import NewPoll
from app.store.tables import CALLBACKS
from app.wiring import Service, open_service
from tests.api.test_callbacks import CALLBACK_SECRET, DOOR, members
from tests.api.test_metrics import Grown, scrape
from tests.world import (
    APP,
    BreakableDatabase,
    HandClock,
    MakeSettings,
    observe,
    open_client,
    register,
    seen_file,
    task_id,
)


@pytest.fixture
async def service(settings: MakeSettings, clock: HandClock) -> AsyncIterator[Service]:
    async with open_service(settings(zego_callback_secret=CALLBACK_SECRET), clock=clock) as service:
        yield service


async def app_of(client: httpx.AsyncClient) -> dict[str, Any]:
    response = await client.get("/v1/stats")
    assert response.status_code == 200, response.text
    (app,) = response.json()["apps"]
    return dict(app)


def some(calls: dict[str, int]) -> dict[str, int]:
    return {word: count for word, count in calls.items() if count}


# -- calls, by what made them due


async def test_calls_of_all_processes_are_told_by_class_in_the_minute_and_hour_that_went_by(
    client: httpx.AsyncClient, service: Service, settings: MakeSettings, clock: HandClock
) -> None:
    calls = (await app_of(client))["calls"]
    assert list(calls["last_minute"]) == [urgency.name.lower() for urgency in Urgency]
    assert some(calls["last_hour"]) == {}
    async with open_service(settings(), clock=clock, role="worker") as other:
        for one, urgency in ((service, Urgency.HURRIED), (other, Urgency.HURRIED), (other, Urgency.DEADLINE)):
            one.spending.count(APP, urgency)
            await one.spending.run_once()
        clock.advance(30)
        service.spending.count(APP, Urgency.ROUTINE)
        assert (await service.spending.run_once(), await service.spending.run_once()) == (1, 0)
    clock.advance(15)
    app = await app_of(client)
    assert some(app["calls"]["last_minute"]) == {"deadline": 1, "hurried": 2, "routine": 1}
    assert app["calls_in_last_minute"] == 4
    clock.advance(30)
    app = await app_of(client)
    assert (some(app["calls"]["last_minute"]), app["calls_in_last_minute"]) == ({"routine": 1}, 1)
    assert some(app["calls"]["last_hour"]) == {"deadline": 1, "hurried": 2, "routine": 1}
    clock.advance(3600)
    assert some((await app_of(client))["calls"]["last_hour"]) == {}


async def test_calls_that_could_not_be_written_down_are_written_the_next_time(
    breakable_database: BreakableDatabase, settings: MakeSettings, clock: HandClock
) -> None:
    async with open_service(settings(database_url=breakable_database.url), clock=clock) as service:
        service.spending.count(APP, Urgency.LOOK)
        await breakable_database.take_away(service)
        with pytest.raises(DatabaseUnavailable):
            await service.spending.run_once()
        await breakable_database.give_back()
        assert await service.spending.run_once() == 1


async def test_each_poll_counts_once_for_what_made_it_due(polling_service: Service, provider: Server) -> None:
    one, *batch = (provider.simulator.start("normal", duration=6000) for _ in range(3))
    async with open_client(polling_service) as client:
        before = await scrape(client)
        await client.post("/v1/tasks", json={"task_id": one})
        await client.post("/v1/tasks/batch", json={"tasks": [{"task_id": task} for task in batch]})
        await polling_service.poller.run_once()
        grown = Grown(before, await scrape(client))
    assert [grown("polls_total", app_id=APP, due_by=word) for word in ("hurried", "batch", "routine")] == [1, 2, 0]
    assert await polling_service.spending.run_once() == 3


async def test_a_claim_tells_the_class_in_which_it_found_its_task(client: httpx.AsyncClient, service: Service) -> None:
    await client.post("/v1/tasks/batch", json={"tasks": [{"task_id": task_id(number)} for number in (1, 2, 3)]})
    now, hour = service.clock.now(), timedelta(hours=1)
    found = []
    async with service.database.write() as connection:
        await polls.drop(connection, task_id(3))
        await polls.add(connection, [NewPoll(task_id(3), APP, 0, now + hour / 2)], Urgency.ROUTINE, now + hour)
        await polls.hurry(connection, [polls.Hurry(task_id(2), APP, now, claim_no=0)], Urgency.REFRESH)
        for _ in range(3):
            claim = await polls.claim(connection, APP, order=tuple(Urgency), now=now, horizon=hour)
            assert claim is not None
            found.append((claim.task_id, claim.urgency))
    assert found == [
        (task_id(3), Urgency.DEADLINE),
        (task_id(2), Urgency.REFRESH),
        (task_id(1), Urgency.BATCH),
    ]


# -- how ends came to be known


async def end(service: Service, number: int, *files: SeenFile, seconds: float) -> None:
    """Let a poll tell that the recording ended so many seconds ago."""
    ended_at = service.clock.now() - timedelta(seconds=seconds)
    await observe(service, task_id(number), Status.COMPLETED, *files, ended_at=ended_at)


async def test_how_soon_ends_were_noticed_and_which_callbacks_never_came(
    client: httpx.AsyncClient, service: Service, clock: HandClock
) -> None:
    nothing = {"ended": 0, "median_seconds": None, "p95_seconds": None}
    assert (await app_of(client))["detection"] == nothing | {"lost_callbacks": {"ended": 0, "upload_finished": 0}}
    for number in range(4):
        await register(client, number)
    clock.advance(100)
    uploaded = seen_file(status=FileStatus.UPLOADED)
    await end(service, 0, uploaded, seconds=1)
    await end(service, 1, uploaded, seconds=2)
    await end(service, 2, uploaded, seconds=30)
    await end(service, 3, uploaded, seconds=500)  # before it was registered: 100 s ago
    for number, event in ((0, 5), (0, 1), (1, 7), (2, 4)):  # 4 tells of an empty room, not of an end
        assert (await client.post(DOOR, json=members(clock, event, number, detail={}))).status_code == 200
    clock.advance(10)
    assert (await app_of(client))["detection"]["ended"] == 0  # their callbacks may still be on their way
    clock.advance(21)
    assert (await app_of(client))["detection"] == {
        "ended": 4,
        "median_seconds": 2.0,
        "p95_seconds": 100.0,
        "lost_callbacks": {"ended": 2, "upload_finished": 3},
    }
    assert (await client.post(DOOR, json=members(clock, 1, 3, detail={}))).status_code == 200
    clock.advance(10)
    # One that comes late after all is not lost, and it tells of the end too.
    assert (await app_of(client))["detection"]["lost_callbacks"] == {"ended": 1, "upload_finished": 2}
    clock.advance(3600)
    assert (await app_of(client))["detection"]["ended"] == 0


async def test_without_a_callback_secret_no_callback_is_missed(settings: MakeSettings, clock: HandClock) -> None:
    async with open_service(settings(), clock=clock) as deaf, open_client(deaf) as client:
        await register(client, 1)
        await end(deaf, 1, seen_file(), seconds=0)
        clock.advance(60)
        detection = (await app_of(client))["detection"]
    assert (detection["ended"], detection["lost_callbacks"]) == (1, None)


# -- callbacks of the last day


async def test_callbacks_count_for_a_day_and_those_of_steps_that_are_over_are_not_read_again(
    client: httpx.AsyncClient, service: Service, clock: HandClock
) -> None:
    async def accepted() -> int:
        return int((await client.get("/v1/stats")).json()["callbacks"]["accepted"])

    async def receive(number: int) -> None:
        assert (await client.post(DOOR, json=members(clock, 5, number))).status_code == 200

    await receive(1)
    assert await accepted() == 1
    await receive(2)
    assert await accepted() == 2
    clock.advance(20 * 60)
    assert await accepted() == 2
    async with service.database.write() as connection:
        await connection.execute(delete(CALLBACKS))
    await receive(3)
    assert (await accepted(), await accepted()) == (3, 3)
    clock.advance(24 * 3600 - 5 * 60)
    assert await accepted() == 1
    clock.advance(15 * 60)
    assert await accepted() == 0
