"""The limits of each key over the API: requests a second, and places to wait."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import httpx
import pytest

from app.tracking import follower
from app.wiring import Service, open_service, running
from tests.api.test_authentication import ROUTES, SECRETS, bearer
from tests.described import document
from tests.test_hanging_up import listening
from tests.world import HandClock, MakeSettings, open_client, register, task_id

RATE = 5
READ, WRITE = SECRETS["read"], SECRETS["write"]
KEYS = f"reader:read:{READ},reader:read:{READ}-rotated,writer:write:{WRITE}"
TASK = f"/v1/tasks/{task_id()}"


@pytest.fixture
async def limited(settings: MakeSettings, clock: HandClock) -> AsyncIterator[Service]:
    async with open_service(settings(api_keys=KEYS, rate_limit=f"{RATE}/s"), clock=clock) as service:
        yield service


@pytest.fixture
async def client(limited: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with open_client(limited) as client:
        yield client


def limits(response: httpx.Response) -> tuple[str | None, str | None]:
    return response.headers.get("RateLimit-Policy"), response.headers.get("RateLimit")


def left(number: int) -> tuple[str, str]:
    return f'"default";q={RATE};w=1', f'"default";r={number};t=1'


async def test_each_answer_to_a_key_tells_of_its_limit_errors_and_304_included(
    client: httpx.AsyncClient, clock: HandClock
) -> None:
    writer, reader = bearer(WRITE), bearer(READ)
    made = await client.post("/v1/tasks", json={"task_id": task_id()}, headers=writer)
    assert (made.status_code, limits(made)) == (201, left(4))
    unchanged = await client.get(TASK, headers=writer | {"If-None-Match": made.headers["ETag"]})
    assert (unchanged.status_code, limits(unchanged)) == (304, left(3))
    wrong = await client.post("/v1/tasks", json={}, headers=writer)
    assert (wrong.status_code, limits(wrong)) == (422, left(2))
    missing = await client.get(f"/v1/tasks/{task_id(9)}", headers=writer)
    assert (missing.status_code, limits(missing)) == (404, left(1))
    too_low = await client.delete(TASK, headers=writer)
    assert (too_low.status_code, limits(too_low)) == (403, left(0))
    assert limits(await client.get("/metrics", headers=reader)) == left(4)  # another key, another bucket


async def test_over_the_limit_it_is_429_with_what_to_do_and_goes_on_after_it(
    client: httpx.AsyncClient, clock: HandClock
) -> None:
    for number in range(RATE):
        assert limits(await client.get("/v1/tasks", headers=bearer(READ))) == left(RATE - 1 - number)
    for secret in (READ, READ + "-rotated"):  # they are one caller
        over = await client.get("/v1/tasks", headers=bearer(secret))
        assert (over.status_code, over.json()["code"], limits(over)) == (429, "rate_limited", left(0))
        assert "key reader asked more than 5 times a second" in over.json()["detail"]
        assert over.headers["Retry-After"] == "1"
        assert over.json()["request_id"] == over.headers["X-Request-Id"]
    clock.advance(0.19)
    assert (await client.get("/v1/tasks", headers=bearer(READ))).status_code == 429
    clock.advance(0.25)
    assert [(await client.get("/v1/tasks", headers=bearer(READ))).status_code for _ in range(3)] == [200, 200, 429]
    assert (await client.get("/v1/tasks", headers=bearer(WRITE))).status_code == 200
    clock.advance(60)
    assert limits(await client.get("/v1/tasks", headers=bearer(READ))) == left(4)


async def test_a_refused_request_changes_nothing(client: httpx.AsyncClient, clock: HandClock) -> None:
    for _ in range(RATE):
        await client.get("/v1/tasks", headers=bearer(WRITE))
    over = await client.post("/v1/tasks", json={"task_id": task_id()}, headers=bearer(WRITE))
    assert over.status_code == 429
    clock.advance(1)
    assert (await client.get("/v1/tasks", headers=bearer(WRITE))).json()["items"] == []


async def test_what_needs_no_key_is_not_limited_and_a_stranger_costs_no_memory(
    client: httpx.AsyncClient, limited: Service
) -> None:
    for number in range(3 * RATE):
        for path in ("/livez", "/readyz", "/docs", "/v1/tasks"):
            answer = await client.get(path, headers=bearer(f"a-wrong-secret-{number}"))
            assert (path, answer.status_code) == (path, 401 if path == "/v1/tasks" else 200)
            assert limits(answer) == (None, None)
        callback = await client.post("/v1/callbacks/zego", json={"number": number})
        assert (callback.status_code, limits(callback)) == (401, (None, None))
    assert limited.rate_limit
    assert limited.rate_limit._buckets == {}


async def test_without_keys_all_callers_are_one_and_only_a_limit_that_is_set_holds(
    settings: MakeSettings, clock: HandClock
) -> None:
    async with open_service(settings(), clock=clock) as service, open_client(service) as client:
        answer = await client.get("/v1/apps")
        assert (answer.status_code, limits(answer), service.rate_limit) == (200, (None, None), None)
    async with open_service(settings(rate_limit="1/s"), clock=clock) as service, open_client(service) as client:
        assert [(await client.get("/v1/tasks")).status_code for _ in range(2)] == [200, 429]


async def test_with_keys_the_limit_is_200_a_second(settings: MakeSettings, clock: HandClock) -> None:
    async with open_service(settings(api_keys=KEYS), clock=clock) as service:
        assert service.rate_limit
        assert service.rate_limit.rate == 200


def test_the_description_tells_of_the_limits_wherever_there_are_any() -> None:
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            guarded = ROUTES[method.upper(), path] != "open"
            assert ("429" in operation["responses"]) == guarded, (method, path)
            for answer in operation["responses"].values():
                if "$ref" not in answer:
                    told = {"RateLimit", "RateLimit-Policy"} <= answer.get("headers", {}).keys()
                    assert told == guarded, (method, path)
    for name, response in document()["components"]["responses"].items():
        assert ("RateLimit" in response["headers"]) == (not name.startswith("unauthenticated")), name


async def test_a_real_client_is_slowed_down_and_served_again(settings: MakeSettings) -> None:
    async with (
        open_service(settings(api_keys=KEYS, rate_limit="10/s")) as service,
        listening(service, "h11") as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=bearer(READ)) as client,
    ):
        answers = await asyncio.gather(*(client.get("/v1/apps") for _ in range(25)))
        refused = [one for one in answers if one.status_code == 429]
        assert {one.status_code for one in answers} == {200, 429}
        assert 10 <= len(answers) - len(refused) < 25
        for one in answers:
            assert one.headers["RateLimit-Policy"] == '"default";q=10;w=1'
            assert re.fullmatch(r'"default";r=\d;t=1', one.headers["RateLimit"])
        await asyncio.sleep(float(refused[0].headers["Retry-After"]))
        again = await client.get("/v1/apps")
        assert (again.status_code, again.headers["RateLimit"]) == (200, '"default";r=9;t=1')


# -- waiting


@pytest.fixture
async def working(settings: MakeSettings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Service]:
    """A service in which few can wait: four of one key, one more of the other."""
    monkeypatch.setattr(follower, "MOST_WAITING", 5)
    async with open_service(settings(api_keys=KEYS), role="api") as service, running(service):
        async with open_client(service, WRITE) as client:
            await register(client)
        yield service


WAITS = (
    f"{TASK}?wait=50",
    "/v1/events?after=latest&wait=50",
    "/v1/events/stream",
    "/v1/events/stream?types=task.ended",
)


async def test_one_key_leaves_places_to_wait_for_others(working: Service) -> None:
    async with open_client(working, READ) as reader, open_client(working, WRITE) as writer, asyncio.timeout(20):
        waiting = [asyncio.create_task(reader.get(path)) for path in WAITS]
        while working.follower.waiting < 4:  # noqa: ASYNC110 (a count sets no event)
            await asyncio.sleep(0.005)
        for path in WAITS:
            over = await reader.get(path)
            assert (over.status_code, over.json()["code"]) == (429, "rate_limited")
            assert "the key reader has 4 requests and streams waiting" in over.json()["detail"]
            assert "GET /v1/events?wait=50" in over.json()["detail"]
            assert int(over.headers["Retry-After"]) > 0
        assert (await reader.get(TASK)).status_code == 200  # only waiting is over
        assert (await reader.get("/v1/events?after=0&wait=50")).status_code == 200  # nothing to wait for
        waiting.append(asyncio.create_task(writer.post(f"{TASK}/refresh?wait=50")))
        while working.follower.waiting < 5:  # noqa: ASYNC110 (a count sets no event)
            await asyncio.sleep(0.005)
        over = await writer.get(WAITS[1])
        assert (over.status_code, "the key writer has 1 request" in over.json()["detail"]) == (429, True)
        working.stop()
        assert {one.status_code for one in await asyncio.gather(*waiting)} <= {200, 202}
        assert working.follower.waiting == 0


async def test_a_stream_that_is_hung_up_gives_its_place_back(working: Service) -> None:
    async with listening(working, "httptools") as port:
        for _ in range(6):
            async with (
                httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=bearer(READ)) as client,
                client.stream("GET", "/v1/events/stream?after=0") as stream,
            ):
                assert stream.status_code == 200
                await anext(stream.aiter_lines())
                assert working.follower.waiting == 1
            async with asyncio.timeout(5):
                while working.follower.waiting:  # noqa: ASYNC110 (a count sets no event)
                    await asyncio.sleep(0.005)
