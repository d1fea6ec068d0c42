"""Waiting: woken by the change and by nothing else, in another process too, and nobody is left behind."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn

from app.main import create_app
from app.store.feed import FeedFilter
from app.tracking import follower
from app.wiring import Service, open_service, running
from tests.world import APP, MakeSettings, open_client, register, task_id


@pytest.fixture
async def working(settings: MakeSettings) -> AsyncIterator[Service]:
    """A service at work, though nothing is polled: it knows no provider."""
    async with open_service(settings(), role="api") as service, running(service):
        yield service


@pytest.fixture
async def asking(working: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with open_client(working) as client:
        yield client


@pytest.fixture(params=["the same process", "another process"])
async def acting(
    request: pytest.FixtureRequest, asking: httpx.AsyncClient, settings: MakeSettings
) -> AsyncIterator[httpx.AsyncClient]:
    """Who changes things while ``asking`` waits."""
    if request.param == "the same process":
        yield asking
        return
    async with open_service(settings(), role="api") as service, running(service), open_client(service) as client:
        yield client


async def waits(working: Service, number: int = 1) -> None:
    """Until so many wait."""
    async with asyncio.timeout(5):
        while working.follower.waiting < number:  # noqa: ASYNC110 (a count sets no event)
            await asyncio.sleep(0.005)


async def test_a_task_is_waited_for_until_it_is_over(
    working: Service, asking: httpx.AsyncClient, acting: httpx.AsyncClient
) -> None:
    await register(asking)
    waiting = asyncio.create_task(asking.get(f"/v1/tasks/{task_id()}", params={"wait": 20}))
    await waits(working)
    await acting.patch(f"/v1/tasks/{task_id()}", json={"labels": {"a": "b"}})  # a change, but not the one
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await acting.post(f"/v1/tasks/{task_id()}/untrack")
    async with asyncio.timeout(3):
        answer = await waiting
    assert answer.json()["tracking"] == "untracked"
    assert answer.headers["ETag"] == f'W/"{answer.json()["version"]}"'
    assert working.follower.waiting == 0


async def test_another_version_is_waited_for(
    working: Service, asking: httpx.AsyncClient, acting: httpx.AsyncClient
) -> None:
    version = (await register(asking))["version"]
    there = await asking.get(f"/v1/tasks/{task_id()}", params={"wait": 20, "version": version + 1})
    assert there.json()["version"] == version
    waiting = asyncio.create_task(asking.get(f"/v1/tasks/{task_id()}", params={"wait": 20, "version": version}))
    await waits(working)
    await acting.patch(f"/v1/tasks/{task_id()}", json={"labels": {"a": "b"}})
    async with asyncio.timeout(3):
        assert (await waiting).json()["version"] == version + 1


async def test_what_holds_already_is_answered_at_once(asking: httpx.AsyncClient) -> None:
    await register(asking)
    await asking.post(f"/v1/tasks/{task_id()}/untrack")
    untils: list[dict[str, str]] = [{}, {"until": "ended"}, {"until": "settled"}]
    for until in untils:
        async with asyncio.timeout(1):
            assert (await asking.get(f"/v1/tasks/{task_id()}", params={"wait": 50, **until})).status_code == 200


async def test_after_the_time_the_present_state_is_told(asking: httpx.AsyncClient) -> None:
    await register(asking)
    async with asyncio.timeout(4):
        answer = await asking.get(f"/v1/tasks/{task_id()}", params={"wait": 1})
    assert answer.json()["tracking"] == "active"


@pytest.mark.parametrize(
    "params",
    [{"wait": 51}, {"wait": 0}, {"until": "ended"}, {"version": 3}, {"wait": 5, "until": "ended", "version": 3}],
)
async def test_waits_that_make_no_sense_are_refused(asking: httpx.AsyncClient, params: dict[str, str | int]) -> None:
    await register(asking)
    assert (await asking.get(f"/v1/tasks/{task_id()}", params=params)).status_code == 422


async def test_waiting_for_a_task_that_is_not_there_or_goes_is_a_404(
    working: Service, asking: httpx.AsyncClient, acting: httpx.AsyncClient
) -> None:
    assert (await asking.get(f"/v1/tasks/{task_id()}", params={"wait": 20})).status_code == 404
    await register(asking)
    waiting = asyncio.create_task(asking.get(f"/v1/tasks/{task_id()}", params={"wait": 20}))
    await waits(working)
    await acting.delete(f"/v1/tasks/{task_id()}")
    async with asyncio.timeout(3):
        assert (await waiting).status_code == 404


async def test_the_feed_is_waited_for_with_its_filters(
    working: Service, asking: httpx.AsyncClient, acting: httpx.AsyncClient
) -> None:
    params = {"after": "latest", "wait": "20", "types": "task.untracked"}
    waiting = asyncio.create_task(asking.get("/v1/events", params=params))
    await waits(working)
    await register(acting)
    await asyncio.sleep(0.05)
    await acting.post(f"/v1/tasks/{task_id()}/untrack")
    async with asyncio.timeout(3):
        page = (await waiting).json()
    assert [event["type"] for event in page["items"]] == ["task.untracked"]
    assert (await asking.get("/v1/events", params={"after": page["next_after"]})).json()["items"] == []


async def test_an_empty_wait_advances_past_what_was_filtered_out(asking: httpx.AsyncClient, working: Service) -> None:
    before = (await asking.get("/v1/events", params={"after": "latest"})).json()["next_after"]
    waiting = asyncio.create_task(asking.get("/v1/events", params={"after": before, "wait": 1, "types": "task.ended"}))
    await waits(working)
    await register(asking)
    page = (await waiting).json()
    assert page["items"] == []
    assert int(page["next_after"]) > int(before)


async def test_a_reader_that_waits_again_and_again_misses_nothing_while_many_write(
    working: Service, asking: httpx.AsyncClient, acting: httpx.AsyncClient
) -> None:
    seen: list[str] = []

    async def read() -> None:
        after = "latest"
        while len(seen) < 60:
            answer = await asking.get("/v1/events", params={"after": after, "wait": 20, "limit": 7})
            seen.extend(event["task_id"] for event in answer.json()["items"])
            after = answer.json()["next_after"]

    reading = asyncio.create_task(read())
    await waits(working)
    await asyncio.gather(*(register(acting if number % 2 else asking, number) for number in range(60)))
    async with asyncio.timeout(10):
        await reading
    assert sorted(seen) == [task_id(number) for number in range(60)]


async def test_what_is_in_memory_is_filtered_as_the_database_does(working: Service, asking: httpx.AsyncClient) -> None:
    with working.follower.place(), working.follower.watch():
        await working.follower.follow()
        start = working.follower.position
        for number, labels in enumerate([{}, {"a": "b"}, {"a": "c", "d": "e"}]):
            await register(asking, number, labels=labels)
        await asking.post(f"/v1/tasks/{task_id(1)}/untrack")
        await asking.delete(f"/v1/tasks/{task_id(2)}")
        async with asyncio.timeout(5):
            while working.follower.position < await working.feed.latest():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        for wanted in (
            FeedFilter(),
            FeedFilter(types=("task.untracked", "task.deleted")),
            FeedFilter(task_id=(task_id(1), task_id(2))),
            FeedFilter(app_id=APP),
            FeedFilter(app_id=77),
            FeedFilter(labels=(("a", "b"),)),
            FeedFilter(labels=(("a", "c"), ("d", "e"))),
            FeedFilter(labels=(("a", "b"),), types=("task.registered",)),
        ):
            for limit in (1, 2, 100):
                page = working.follower.recent(start, wanted, limit)
                assert page is not None
                there = await working.feed.read(start, wanted, limit=limit)
                assert (list(page.events), page.next_after) == (list(there.events), there.next_after)


async def test_who_hangs_up_is_forgotten(working: Service, asking: httpx.AsyncClient) -> None:
    """Over real sockets: 100 callers wait, and go without a word."""
    await register(asking)
    paths = [f"/v1/tasks/{task_id()}?wait=50", "/v1/events?after=latest&wait=50", "/v1/events/stream"]
    async with served(working) as port:
        callers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(100)]
        for number, (_, writer) in enumerate(callers):
            writer.write(f"GET {paths[number % 3]} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        await waits(working, len(callers))
        for _, writer in callers:
            writer.transport.abort()
        async with asyncio.timeout(5):
            while working.follower.waiting:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@asynccontextmanager
async def served(service: Service) -> AsyncIterator[int]:
    """The service behind a real socket; the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(service), log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    yield listener.getsockname()[1]
    server.should_exit = True
    await serving


async def test_a_stream_tells_what_happens_and_goes_on_where_it_was_left(
    working: Service, asking: httpx.AsyncClient, acting: httpx.AsyncClient
) -> None:
    async with served(working) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=5) as client:
        async with client.stream("GET", "/v1/events/stream", params={"label": "a:b"}) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            await waits(working)
            await register(acting, 0)
            await register(acting, 1, labels={"a": "b"})
            lines = stream.aiter_lines()
            event = await told(lines)
            assert (event["type"], event["task_id"]) == ("task.registered", task_id(1))
        await register(acting, 2)
        headers = {"Last-Event-ID": str(event["seq"])}
        async with client.stream("GET", "/v1/events/stream", headers=headers) as stream:
            assert (await told(stream.aiter_lines()))["task_id"] == task_id(2)
        lost = await client.get("/v1/events/stream", headers={"Last-Event-ID": str(2**60)})
        assert (lost.status_code, lost.json()["code"]) == (410, "feed_position_lost")


async def told(lines: AsyncIterator[str]) -> dict[str, Any]:
    """The next event of a stream; its id is its place."""
    data: dict[str, Any] = {}
    async for line in lines:
        name, _, value = line.partition(": ")
        if name == "data":
            data = json.loads(value)
        elif name == "id":
            assert value == str(data["seq"])
        elif not line and data:
            return data
    raise AssertionError("the stream ended")


async def test_a_quiet_stream_shows_that_it_lives(working: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.tracking.waiting.HEARTBEAT", 0.05)
    async with (
        served(working) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=5) as client,
        client.stream("GET", "/v1/events/stream") as stream,
    ):
        async for line in stream.aiter_lines():
            assert line.startswith(":")
            break


async def test_a_reader_that_does_not_read_holds_nothing_up_and_takes_no_memory(
    working: Service, asking: httpx.AsyncClient
) -> None:
    """What it has not taken stays in the database: of the events nothing is kept for it but the page it is at."""
    async with served(working) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"GET /v1/events/stream?after=0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await waits(working)
        for first in range(0, 3000, 500):
            batch = [{"task_id": task_id(number), "labels": {"a": "x" * 200}} for number in range(first, first + 500)]
            assert (await asking.post("/v1/tasks/batch", json={"tasks": batch})).status_code == 200
        async with asyncio.timeout(5):
            assert (await asking.get("/v1/events", params={"after": "latest", "wait": 1})).status_code == 200
        assert len(working.follower._recent) <= follower.KEPT
        writer.transport.abort()


async def test_too_many_are_told_to_come_again(
    working: Service, asking: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "MOST_WAITING", 1)
    await register(asking)
    waiting = asyncio.create_task(asking.get(f"/v1/tasks/{task_id()}", params={"wait": 50}))
    await waits(working)
    for path in (f"/v1/tasks/{task_id()}?wait=5", "/v1/events?after=latest&wait=5", "/v1/events/stream"):
        answer = await asking.get(path)
        assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
        assert int(answer.headers["Retry-After"]) > 0
    waiting.cancel()


async def test_the_stop_of_the_service_answers_everybody(working: Service, asking: httpx.AsyncClient) -> None:
    await register(asking)
    waiting = [
        asyncio.create_task(asking.get(path))
        for path in (f"/v1/tasks/{task_id()}?wait=50", "/v1/events?after=latest&wait=50", "/v1/events/stream")
    ]
    await waits(working, 3)
    working.stop()
    async with asyncio.timeout(3):
        assert [(await one).status_code for one in waiting] == [200, 200, 200]


async def test_while_nobody_waits_the_feed_is_not_read(working: Service, asking: httpx.AsyncClient) -> None:
    await register(asking)
    await asyncio.sleep(0.1)
    assert working.follower.position == 0
