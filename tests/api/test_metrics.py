"""/metrics: what a service counts and measures, scraped over HTTP."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from importlib.metadata import version
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Connection, event
from sqlalchemy.util import greenlet_spawn

from app.core.recording import LastError, Status, Task
from app.core.schedule import Closing, Pace, Urgency
from app.core.signing import callback_signature
from app.provider.simulator import Server
from app.store import sweeps
from app.wiring import Service, open_service, running
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

CALLBACK_SECRET = "callback-secret-of-app-1"

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


class Scrape:
    """What one scrape told."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: object) -> float | None:
        """The value of a sample with exactly these labels; None if it is not told."""
        key = frozenset((label, str(value)) for label, value in labels.items())
        return self._samples.get((f"recording_status_{name}", key))

    def labels(self, name: str, label: str) -> set[str]:
        return {dict(labels)[label] for of, labels in self._samples if of == f"recording_status_{name}"}


async def scrape(client: httpx.AsyncClient) -> Scrape:
    response = await client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Scrape(response.text)


class Grown:
    """By how much counters grew from one scrape to another; they are the process's, so other tests count too."""

    def __init__(self, before: Scrape, after: Scrape) -> None:
        self._before, self._after = before, after

    def __call__(self, name: str, **labels: object) -> float:
        return (self._after(name, **labels) or 0.0) - (self._before(name, **labels) or 0.0)


@pytest.fixture
async def service(settings: MakeSettings, clock: HandClock) -> AsyncIterator[Service]:
    async with open_service(settings(zego_callback_secret=CALLBACK_SECRET), clock=clock) as service:
        yield service


def callback(service: Service, event_type: int = 5, **more: Any) -> bytes:
    timestamp, nonce = str(int(service.clock.now().timestamp())), service.clock.token()
    told = {
        "app_id": APP,
        "task_id": task_id(),
        "event_type": event_type,
        "nonce": nonce,
        "timestamp": timestamp,
        "signature": callback_signature(CALLBACK_SECRET, timestamp, nonce),
    }
    return json.dumps(told | more).encode()


async def test_a_running_service_counts_its_calls_its_events_and_its_requests(
    settings: MakeSettings, provider: Server
) -> None:
    task = provider.simulator.start("normal", duration=1, upload=1)
    async with (
        open_service(settings(zego_api_url=provider.url)) as service,
        running(service),
        open_client(service) as client,
    ):
        before = await scrape(client)
        await client.post("/v1/tasks", json={"task_id": task})
        assert (await client.get(f"/v1/tasks/{task}", params={"wait": 10})).json()["outcome"] == "uploaded"
        await client.get("/v1/nothing/here")
        await client.get("/nothing/here/either")
        await asyncio.sleep(0.6)
        after = await scrape(client)
    grown = Grown(before, after)
    polls_of_app = {"app_id": APP, "action": "DescribeRecordStatus"}
    assert grown("provider_calls_total", **polls_of_app, result="answered") >= 1
    assert grown("provider_call_duration_seconds_count", **polls_of_app) >= 1
    assert before("provider_calls_total", **polls_of_app, result="throttled") is not None
    assert grown("events_total", type="task.registered") == 1
    assert grown("events_total", type="task.settled") == 1
    assert grown("outcomes_total", app_id=APP, outcome="uploaded") == 1
    assert before("outcomes_total", app_id=APP, outcome="lost") is not None
    assert grown("settling_delay_seconds_count", app_id=APP) == 1
    assert grown("event_loop_lag_seconds_count") >= 1
    assert grown("http_requests_total", method="POST", route="/v1/tasks", status=201) == 1
    one_task = {"method": "GET", "route": "/v1/tasks/{task_id}"}
    assert grown("http_requests_total", **one_task, status=200) == 1
    assert grown("http_request_duration_seconds_count", **one_task) == 0  # it waited
    assert grown("http_request_duration_seconds_count", method="POST", route="/v1/tasks") == 1
    assert grown("http_requests_total", method="GET", route="(unknown)", status=404) == 2
    assert after("job_stuck", job_name="poll") == 0
    assert 0 <= (after("job_heartbeat_age_seconds", job_name="poll") or 0) < 5
    assert task not in after.text


async def test_routes_that_nobody_declared_have_one_label(client: httpx.AsyncClient) -> None:
    for number in range(3):
        await client.get(f"/made/up/{number}")
        await client.request(f"MADE{number}", "/v1/tasks")
        await client.get(f"/assets/{number}.js")
        await client.post("/v1/tasks", content=b"text", headers={"Content-Type": f"text/plain{number}"})
    told = await scrape(client)
    assert {label for label in told.labels("http_requests_total", "route") if "made" in label} == set()
    assert {"/assets", "(unknown)"} <= told.labels("http_requests_total", "route")
    assert "(other)" in told.labels("http_requests_total", "method")
    assert not any("MADE" in label for label in told.labels("http_requests_total", "method"))


async def test_callbacks_are_counted_by_event_and_verdict_and_those_refused_by_reason(
    client: httpx.AsyncClient, service: Service
) -> None:
    before = await scrape(client)
    await register(client)
    body = callback(service)
    for content in (body, body, callback(service, event_type=4711), callback(service, signature="0" * 40), b"{"):
        await client.post("/v1/callbacks/zego", content=content)
    grown = Grown(before, await scrape(client))
    assert grown("callbacks_total", event="ended", verdict="accepted") == 1
    assert grown("callbacks_total", event="ended", verdict="repeat") == 1
    assert grown("callbacks_total", event="unknown", verdict="accepted") == 1
    assert grown("callbacks_refused_total", reason="signature_wrong") == 1
    assert grown("callbacks_refused_total", reason="unreadable_body") == 1


async def hear(client: httpx.AsyncClient, service: Service) -> None:
    await client.post("/v1/callbacks/zego", content=callback(service))


async def sweep(client: httpx.AsyncClient, service: Service) -> None:
    async with service.database.write() as connection:
        await sweeps.mark(connection, {task_id(): 0})


async def neither(client: httpx.AsyncClient, service: Service) -> None:
    await asyncio.sleep(0)


@pytest.mark.parametrize(("what", "found_by"), [(hear, "callback"), (sweep, "sweep"), (neither, "routine")])
async def test_the_delay_of_a_detection_counts_for_what_had_the_task_polled(
    client: httpx.AsyncClient,
    service: Service,
    clock: HandClock,
    what: Callable[[httpx.AsyncClient, Service], Any],
    found_by: str,
) -> None:
    before = await scrape(client)
    await register(client)
    await observe(service, task_id(), Status.ONGOING, status_code=2)
    ended_at = clock.now()
    clock.advance(7)
    await what(client, service)
    await observe(service, task_id(), Status.COMPLETED, seen_file(), status_code=3, ended_at=ended_at)
    await observe(service, task_id(), Status.COMPLETED, seen_file(), status_code=3, ended_at=ended_at)
    grown = Grown(before, await scrape(client))
    counts = {
        word: grown("detection_delay_seconds_count", app_id=APP, found_by=word)
        for word in ("callback", "sweep", "routine", "registration")
    }
    assert counts == dict.fromkeys(counts, 0.0) | {found_by: 1.0}
    assert grown("detection_delay_seconds_sum", app_id=APP, found_by=found_by) == pytest.approx(7)
    assert grown("settling_delay_seconds_sum", app_id=APP) == pytest.approx(7)


async def test_what_was_over_before_it_was_registered_counts_from_its_registration(
    client: httpx.AsyncClient, service: Service, clock: HandClock
) -> None:
    before = await scrape(client)
    await register(client)
    clock.advance(2)
    await observe(service, task_id(), Status.COMPLETED, seen_file(), ended_at=clock.now() - timedelta(hours=5))
    grown = Grown(before, await scrape(client))
    assert grown("detection_delay_seconds_sum", app_id=APP, found_by="registration") == pytest.approx(2)


async def test_what_is_rolled_back_is_not_counted(client: httpx.AsyncClient, service: Service) -> None:
    before, now = await scrape(client), service.clock.now()
    task = Task(task_id=task_id(), app_id=APP, registered_at=now, updated_at=now)

    async def register_in_vain() -> None:
        async with service.database.write() as connection:
            wanted = {task.task_id: task}
            await service.registration.create(connection, wanted, Urgency.HURRIED, source="api", now=now)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await register_in_vain()
    assert Grown(before, await scrape(client))("events_total", type="task.registered") == 0
    await register(client)
    assert Grown(before, await scrape(client))("events_total", type="task.registered") == 1


async def test_what_the_database_tells_is_looked_at_every_few_seconds(
    client: httpx.AsyncClient, service: Service, clock: HandClock
) -> None:
    assert ((await scrape(client))("polls_due", app_id=APP), (await scrape(client))("active_tasks")) == (0, 0)
    await register(client)
    await register(client, 1)
    clock.advance(3)
    assert (await scrape(client))("polls_due", app_id=APP) == 0  # as seen a moment ago
    clock.advance(30)
    told = await scrape(client)
    assert (told("polls_due", app_id=APP), told("polls_oldest_due_age_seconds", app_id=APP)) == (2, 33)
    assert told("active_tasks") == 2
    permits = {"app_id": APP, "action": "DescribeRecordStatus"}
    assert (told("budget_limit_permits", **permits), told("budget_allowed_permits", **permits)) == (10, 10)
    assert told("budget_in_use_permits", **permits) == 0
    await client.patch(f"/v1/apps/{APP}", json={"polling": "paused", "poll_budget": 3})
    async with service.database.write() as connection:
        error = LastError(code="garbled", message="", request_id=None, at=clock.now())
        await sweeps.fail(connection, APP, error, next_at=clock.now())
    clock.advance(5)
    told = await scrape(client)
    assert told("budget_allowed_permits", **permits) == 3
    assert told("app_paused", **permits, by="operator") == 1
    assert told("app_paused", **permits, by="provider") == 0
    assert told("sweep_failing", app_id=APP) == 1


async def test_closing_windows_show_as_less_and_less_slack(client: httpx.AsyncClient, service: Service) -> None:
    assert (await scrape(client))("deadline_slack_ratio", app_id=APP) == 1
    service.paces._paces[APP] = Pace(closing=Closing(tasks=9, unservable=4, load=1.5))
    told = await scrape(client)
    assert told("deadline_slack_ratio", app_id=APP) == -0.5
    assert (told("deadline_tasks", app_id=APP), told("deadline_unservable_tasks", app_id=APP)) == (9, 4)


async def test_connections_and_waiters_are_those_of_the_moment(client: httpx.AsyncClient, service: Service) -> None:
    told = await scrape(client)
    assert (told("database_connections_in_use", pool="requests"), told("waiting_requests")) == (0, 0)
    async with service.database.read(), service.database.read():
        with service.follower.place():
            told = await scrape(client)
    assert told("database_connections_in_use", pool="requests") == 2
    assert told("database_connections_max", pool="requests") == 10
    assert told("waiting_requests") == 1


async def test_without_the_database_the_rest_is_told_all_the_same(
    breakable_database: BreakableDatabase, settings: MakeSettings, clock: HandClock
) -> None:
    there = settings(database_url=breakable_database.url)
    async with open_service(there, clock=clock) as service, open_client(service) as client:
        before = await scrape(client)
        assert before("polls_due", app_id=APP) == 0
        await breakable_database.take_away(service)
        await greenlet_spawn(service.database._jobs.reading.dispose)  # an open file outlives its removal
        clock.advance(10)
        told = await scrape(client)
        assert told("polls_due", app_id=APP) is None
        assert math.isnan(told("active_tasks") or 0)
        assert Grown(before, told)("database_unavailable_total") >= 1
        assert told("deadline_slack_ratio", app_id=APP) == 1
        await breakable_database.give_back()
        told = await scrape(client)
        assert (told("polls_due", app_id=APP), told("active_tasks")) == (0, 0)


async def test_many_scrapes_at_once_are_one_look(client: httpx.AsyncClient, service: Service, clock: HandClock) -> None:
    looks = 0

    @event.listens_for(service.database._jobs.reading, "begin")
    def count(_: Connection) -> None:
        nonlocal looks
        looks += 1

    await asyncio.gather(*(scrape(client) for _ in range(10)))
    assert looks == 1


async def test_each_role_tells_its_own(settings: MakeSettings) -> None:
    keys = "prometheus:read:secret-of-prometheus"
    for role in ("all", "api", "worker"):
        async with (
            open_service(settings(api_keys=keys), role=role) as service,
            running(service),
            open_client(service) as stranger,
            open_client(service, "secret-of-prometheus") as prometheus,
        ):
            assert (await stranger.get("/metrics")).status_code == 401
            told = await scrape(prometheus)
        engine = "sqlite" if service.database.is_sqlite else "postgresql"
        assert told("build_info", version=version("recording-status"), process_role=role, database=engine) == 1
