"""The door for callbacks over HTTP, what can be seen of them, and the numbers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest
from sqlalchemy import event

from app.core.signing import callback_signature
from app.wiring import Service, open_service
from tests.world import APP, HandClock, MakeSettings, register, task_id

CALLBACK_SECRET = "callback-secret-of-app-1"
DOOR = "/v1/callbacks/zego"


@pytest.fixture
async def service(settings: MakeSettings, clock: HandClock) -> AsyncIterator[Service]:
    async with open_service(settings(zego_callback_secret=CALLBACK_SECRET), clock=clock) as service:
        yield service


def members(clock: HandClock, event_type: int = 5, number: int = 0, **more: Any) -> dict[str, Any]:
    nonce, timestamp = clock.token(), str(int(clock.now().timestamp()))
    signature = callback_signature(CALLBACK_SECRET, timestamp, nonce)
    signed = {"nonce": nonce, "timestamp": timestamp, "signature": signature}
    return {"app_id": APP, "task_id": task_id(number), "event_type": event_type, "sequence": 3, **signed, **more}


async def items(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    response = await client.get("/v1/callbacks", params=query)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["items"]
    return found


@pytest.mark.parametrize("media", ["application/json", "text/plain", "application/x-www-form-urlencoded", "", "@"])
async def test_a_callback_is_answered_with_an_empty_object_whatever_its_content_type(
    client: httpx.AsyncClient, clock: HandClock, media: str
) -> None:
    headers = {"Content-Type": media} if media else {}
    response = await client.post(DOOR, content=json.dumps(members(clock)), headers=headers)
    assert (response.status_code, response.json()) == (200, {})


async def test_the_older_forms_are_taken(client: httpx.AsyncClient, clock: HandClock) -> None:
    detail = {"quit_reason": 3}
    form = urlencode(members(clock, 2) | {"detail": json.dumps(detail)})
    encoded = quote(json.dumps(members(clock, 2, detail=detail)))
    as_text = json.dumps(members(clock, 2) | {"detail": json.dumps(detail)})
    await register(client)
    for number, body in enumerate([form, encoded, as_text], start=1):
        assert (await client.post(DOOR, content=body)).status_code == 200
        assert len(await items(client, known=True)) == number
    task = (await client.get(f"/v1/tasks/{task_id()}")).json()
    assert (task["quit_reason"], task["quit_reason_code"]) == ("idle", 3)


@pytest.mark.parametrize("body", [b"", b"hello", b"[]", b"null", b"a=1&b=2", b"\x00\xff", b"{" * 100_000])
async def test_what_is_no_callback_is_a_400(client: httpx.AsyncClient, body: bytes) -> None:
    response = await client.post(DOOR, content=body)
    assert (response.status_code, response.json()["code"]) == (400, "unreadable_body")


async def test_a_wrong_signature_is_a_401_that_is_counted_and_not_kept(
    client: httpx.AsyncClient, clock: HandClock
) -> None:
    response = await client.post(DOOR, json=members(clock, signature="0" * 40))
    assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")
    assert await items(client) == []
    counts = (await client.get("/v1/stats")).json()["callbacks"]
    assert counts == {"accepted": 0, "repeat": 0, "suspicious": 0, "refused": {"signature_wrong": 1}}


async def test_a_body_over_a_mebibyte_is_a_413(client: httpx.AsyncClient, clock: HandClock) -> None:
    response = await client.post(DOOR, json=members(clock, message="x" * 1024 * 1024))
    assert response.status_code == 413
    assert await items(client) == []


async def test_what_arrived_is_listed_newest_first_by_pages_and_filters(
    client: httpx.AsyncClient, clock: HandClock
) -> None:
    await register(client, 1)
    for number in range(5):
        clock.advance(1)
        await client.post(DOOR, json=members(clock, 4, number))
    repeat = members(clock, 5, 1)
    for body in (repeat, repeat, repeat | {"event_type": 2}):
        await client.post(DOOR, json=body)
    found = await items(client)
    assert [one["verdict"] for one in found] == ["suspicious", "repeat"] + ["accepted"] * 6
    assert found[2]["body"] == repeat
    assert (found[2]["event"], found[2]["event_type"], found[2]["sequence"]) == ("ended", 5, 3)
    assert [one["body"] for one in found[:2]] == [None, None]
    assert {one["task_id"] for one in await items(client, known=True)} == {task_id(1)}
    assert len(await items(client, verdict="repeat,suspicious")) == 2
    assert len(await items(client, task_id=f"{task_id(0)},{task_id(2)}")) == 2
    assert await items(client, app_id=APP + 1) == []
    assert await items(client, received_after=found[0]["received_at"]) == []
    pages: list[list[str]] = []
    cursor: str | None = None
    while cursor is not None or not pages:
        query: dict[str, str | int] = {"cursor": cursor} if cursor else {"verdict": "accepted"}
        page = (await client.get("/v1/callbacks", params=query | {"limit": 3})).json()
        pages.append([one["id"] for one in page["items"]])
        cursor = page["next_cursor"]
    assert [len(page) for page in pages] == [3, 3]
    assert [one["id"] for one in found[2:]] == [id_ for page in pages for id_ in page]


async def test_an_unknown_filter_of_callbacks_is_refused(client: httpx.AsyncClient) -> None:
    for query in ({"verdict": "good"}, {"known": "perhaps"}, {"event": "5"}, {"cursor": "x"}):
        assert (await client.get("/v1/callbacks", params=query)).status_code == 422


async def test_a_task_shows_its_callbacks_in_its_history_and_beside_its_state(
    client: httpx.AsyncClient, clock: HandClock
) -> None:
    registered = await register(client)
    await client.post(DOOR, json=members(clock, 6, detail={"stream_id": "s-missing"}))
    task = (await client.get(f"/v1/tasks/{task_id()}")).json()
    now = task["last_callback"]["received_at"]
    assert task["last_callback"] == {"event_type": 6, "event": "stream_missing", "received_at": now}
    notice = {"code": "stream_missing", "detail": "s-missing", "first_at": now, "last_at": now, "count": 1}
    assert task["notices"] == [notice]
    assert task["version"] == registered["version"] + 1
    history = (await client.get(f"/v1/tasks/{task_id()}/events")).json()["items"]
    assert [(event["type"], event["source"]) for event in history] == [
        ("task.registered", "api"),
        ("task.updated", "callback"),
        ("callback.received", "callback"),
    ]
    assert history[1]["data"]["previous"] == {"notices": []}
    assert history[2]["data"] == {"callback": task["last_callback"]}


async def test_a_callback_that_tells_nothing_new_makes_no_version(client: httpx.AsyncClient, clock: HandClock) -> None:
    registered = await register(client)
    await client.post(DOOR, json=members(clock, 5))
    response = await client.get(f"/v1/tasks/{task_id()}", headers={"If-None-Match": f'W/"{registered["version"]}"'})
    assert response.status_code == 304


async def test_the_numbers_tell_what_the_service_is_doing(client: httpx.AsyncClient, service: Service) -> None:
    for number in range(3):
        await register(client, number)
    await client.post(f"/v1/tasks/{task_id()}/untrack")
    await service.paces.run_once()
    numbers = (await client.get("/v1/stats")).json()
    assert numbers["simulated"] is False
    assert numbers["tasks"] == {
        "tracking": {"active": 2, "untracked": 1},
        "status": {"pending": 3},
        "outcome": {"unresolved": 1},
    }
    (app,) = numbers["apps"]
    assert app["app_id"] == APP
    assert app["backlog"]["due"] == 2
    assert app["backlog"]["due_by_class"] == {"hurried": 2}
    assert app["budget"] == {
        "limit": 10, "allowed": 10, "in_use": 0, "in_doubt": 0, "paused": None, "blocked_until": None,
        "refused_at": None,
    }  # fmt: skip
    assert app["sweep"]["state"] == "idle"
    assert app["deadlines"] == {"tasks": 0, "horizon_seconds": 600.0, "unservable": 0, "short_in_seconds": None}


async def test_the_numbers_say_in_advance_that_windows_will_close_unserved(
    client: httpx.AsyncClient, service: Service, clock: HandClock
) -> None:
    started_at = clock.now().timestamp() - 3 * 86400 + 600
    moment = f"{clock.now().fromtimestamp(started_at, tz=clock.now().tzinfo).isoformat()}"
    for first in range(0, 8000, 1000):
        tasks = [{"task_id": task_id(number), "started_at": moment} for number in range(first, first + 1000)]
        assert (await client.post("/v1/tasks/batch", json={"tasks": tasks})).json()["created"] == 1000
    await service.paces.run_once()
    deadlines = (await client.get("/v1/stats")).json()["apps"][0]["deadlines"]
    assert deadlines["tasks"] == 8000
    assert 8000 - 6000 < deadlines["unservable"] < 8000
    assert deadlines["short_in_seconds"] == 600


@pytest.mark.parametrize("odd", ['"\\ud83d"', "[" * 300 + "]" * 300, "NaN"], ids=["half a pair", "deep", "no number"])
async def test_what_no_answer_can_show_as_json_is_shown_as_text(
    client: httpx.AsyncClient, clock: HandClock, odd: str
) -> None:
    body = json.dumps(members(clock))[:-1] + f', "message": {odd}}}'
    assert (await client.post(DOOR, content=body)).status_code == 200
    (shown,) = await items(client)
    assert shown["body"] == body


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has no trips
async def test_a_registration_takes_seven_trips_to_postgresql_and_a_callback_five(
    service: Service, client: httpx.AsyncClient, clock: HandClock
) -> None:
    trips: list[str] = []

    def listen_to(connection: Any, *_: Any) -> None:
        connection.driver_connection.add_query_logger(note)

    def note(query: Any) -> None:
        trips.append(query.query)

    async def call_back(number: int) -> None:
        assert (await client.post(DOOR, content=json.dumps(members(clock, number)))).status_code == 200

    await register(client)
    await call_back(1)
    event.listen(service.database.engine, "checkout", listen_to)
    await register(client, 1)
    registration, trips = trips, []
    await call_back(2)
    assert (len(registration), len(trips)) == (7, 5), [registration, trips]
