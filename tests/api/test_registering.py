"""POST /v1/tasks."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from app.core.recording import Status
from app.wiring import Service, open_service
from tests.world import (
    APP,
    NOON,
    OTHER_APP,
    TWO_APPS,
    HandClock,
    MakeSettings,
    observe,
    open_client,
    register,
    seen_file,
    task_id,
    text,
)

ID = task_id()
FULL = {f"key{number}": "value" for number in range(16)}


@pytest.fixture
async def two_apps(settings: MakeSettings, clock: HandClock) -> AsyncIterator[httpx.AsyncClient]:
    async with open_service(settings(zego_apps=TWO_APPS), clock=clock) as service, open_client(service) as client:
        yield client


async def test_a_new_task_is_201_with_its_place_and_its_tag(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/tasks", json={"task_id": ID, "labels": {"team": "x"}})
    assert response.status_code == 201
    assert response.headers["Location"] == f"/v1/tasks/{ID}"
    assert response.headers["ETag"] == 'W/"1"'
    assert response.json() == (await client.get(response.headers["Location"])).json()


async def test_a_new_task_is_shown_with_every_field_of_the_contract(client: httpx.AsyncClient) -> None:
    assert await register(client, labels={"team": "x"}) == {
        "task_id": ID,
        "app_id": APP,
        "room_id": None,
        "labels": {"team": "x"},
        "registered_via": "api",
        "status": "pending",
        "status_code": None,
        "tracking": "active",
        "outcome": None,
        "outcome_basis": None,
        "attention": [],
        "record_mode": None,
        "record_mode_code": None,
        "stream_type": None,
        "stream_type_code": None,
        "recording_began_at": None,
        "recording_ended_at": None,
        "query_deadline": text(NOON + timedelta(days=3)),
        "query_deadline_basis": "registration",
        "quit_reason": None,
        "quit_reason_code": None,
        "live_playlists": [],
        "notices": [],
        "last_callback": None,
        "file_counts": {},
        "files": [],
        "files_truncated": False,
        "polling": {
            "last_polled_at": None,
            "next_poll_at": text(NOON),
            "poll_count": 0,
            "consecutive_failures": 0,
            "last_error": None,
        },
        "version": 1,
        "updated_at": text(NOON),
        "registered_at": text(NOON),
        "settled_at": None,
    }


async def test_registering_again_is_200_and_merges_the_labels_only(
    client: httpx.AsyncClient, service: Service, clock: HandClock
) -> None:
    await register(client, labels={"team": "x", "tier": "1"})
    await observe(service, ID, Status.ONGOING, seen_file())
    before = (await client.get(f"/v1/tasks/{ID}")).json()
    clock.advance(60)
    again = {"task_id": ID, "labels": {"tier": "2", "room": "y"}, "started_at": text(NOON - timedelta(hours=1))}
    response = await client.post("/v1/tasks", json=again)
    assert response.status_code == 200
    assert response.headers["Location"] == f"/v1/tasks/{ID}"
    assert response.headers["ETag"] == f'W/"{before["version"] + 1}"'
    merged = {"labels": {"team": "x", "tier": "2", "room": "y"}, "version": before["version"] + 1}
    assert response.json() == before | merged | {"updated_at": text(NOON + timedelta(seconds=60))}


async def test_registering_again_without_news_makes_no_version_and_no_event(client: httpx.AsyncClient) -> None:
    first = await register(client, labels={"team": "x"})
    assert await register(client, labels={"team": "x"}) == first
    assert len((await client.get(f"/v1/tasks/{ID}/events")).json()["items"]) == 1


async def test_a_merge_beyond_16_labels_is_refused_and_changes_nothing(client: httpx.AsyncClient) -> None:
    before = await register(client, labels=FULL)
    response = await client.post("/v1/tasks", json={"task_id": ID, "labels": {"key0": "other", "one-more": "1"}})
    assert response.status_code == 422
    assert [fault["pointer"] for fault in response.json()["errors"]] == ["/labels"]
    assert (await client.get(f"/v1/tasks/{ID}")).json() == before
    assert (await register(client, labels={"key0": "other"}))["labels"] == FULL | {"key0": "other"}


async def test_ids_that_differ_only_in_case_are_two_tasks(client: httpx.AsyncClient) -> None:
    for name in ("abcdefghijklmnop", "ABCDEFGHIJKLMNOP"):
        response = await client.post("/v1/tasks", json={"task_id": name, "labels": {"name": name[:1].lower()}})
        assert response.status_code == 201
    assert len((await client.get("/v1/tasks")).json()["items"]) == 2
    assert (await client.get("/v1/tasks/abcdefghijklmnoP")).status_code == 404


async def test_app_id_is_optional_with_one_app_and_must_be_configured(client: httpx.AsyncClient) -> None:
    assert (await register(client, 1))["app_id"] == APP
    assert (await register(client, 2, app_id=APP))["app_id"] == APP
    assert (await register(client, 3, app_id=None))["app_id"] == APP
    response = await client.post("/v1/tasks", json={"task_id": task_id(4), "app_id": OTHER_APP})
    assert response.status_code == 422
    assert [fault["pointer"] for fault in response.json()["errors"]] == ["/app_id"]


async def test_app_id_is_needed_with_several_apps(two_apps: httpx.AsyncClient) -> None:
    response = await two_apps.post("/v1/tasks", json={"task_id": ID})
    assert response.status_code == 422
    assert [fault["pointer"] for fault in response.json()["errors"]] == ["/app_id"]
    assert (await register(two_apps, app_id=OTHER_APP))["app_id"] == OTHER_APP


async def test_a_task_of_another_app_is_a_conflict_and_stays_as_it_is(two_apps: httpx.AsyncClient) -> None:
    before = await register(two_apps, app_id=APP)
    response = await two_apps.post("/v1/tasks", json={"task_id": ID, "app_id": OTHER_APP, "labels": {"a": "b"}})
    assert (response.status_code, response.json()["code"]) == (409, "app_conflict")
    assert (await two_apps.get(f"/v1/tasks/{ID}")).json() == before


async def test_started_at_dates_the_window_until_the_provider_tells_the_start(
    client: httpx.AsyncClient, service: Service
) -> None:
    told = await register(client, started_at="2026-01-31T09:00:00.5+02:00")
    assert told["query_deadline"] == "2026-02-03T07:00:00.500Z"
    assert told["query_deadline_basis"] == "caller"
    await observe(service, ID, Status.ONGOING, began_at=NOON - timedelta(hours=2))
    known = (await client.get(f"/v1/tasks/{ID}")).json()
    assert known["query_deadline"] == text(NOON + timedelta(days=3, hours=-2))
    assert known["query_deadline_basis"] == "provider"


async def test_started_at_may_lie_five_minutes_ahead_or_long_ago(client: httpx.AsyncClient) -> None:
    ahead = NOON + timedelta(minutes=5)
    assert (await register(client, 1, started_at=text(ahead)))["query_deadline_basis"] == "caller"
    ancient = await register(client, 2, started_at="0001-01-01T00:00:00Z")
    assert ancient["tracking"] == "active"
    assert ancient["query_deadline"] == "0001-01-04T00:00:00.000Z"
    late = {"task_id": task_id(3), "started_at": text(ahead + timedelta(milliseconds=1))}
    response = await client.post("/v1/tasks", json=late)
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "/started_at"


NO_TIMES: list[tuple[Any, str]] = [
    (1769860800, "a number has no unit"),
    (1769860800.5, "a number has no unit"),
    (True, "a number has no unit"),
    ("1769860800", "offset"),
    ("2026-01-31T12:00:00", "offset"),
    ("2026-01-31", "offset"),
    ("yesterday", "offset"),
    ("2026-02-30T12:00:00Z", "no such time"),
    ("0001-01-01T00:00:00+14:00", "no such time"),
]


async def test_a_time_that_is_no_time_is_refused_with_a_hint(client: httpx.AsyncClient) -> None:
    for given, hint in NO_TIMES:
        response = await client.post("/v1/tasks", json={"task_id": ID, "started_at": given})
        assert (given, response.status_code) == (given, 422)
        (fault,) = response.json()["errors"]
        assert fault["pointer"] == "/started_at"
        assert hint in fault["detail"]


REFUSED: dict[str, tuple[Any, str]] = {
    "nothing": ({}, "/task_id"),
    "no object": ([], ""),
    "a string": ("x", ""),
    "null": (None, ""),
    "an id too short": ({"task_id": "a" * 15}, "/task_id"),
    "an id too long": ({"task_id": "a" * 17}, "/task_id"),
    "an id with a line end": ({"task_id": "a" * 16 + "\n"}, "/task_id"),
    "an id with a foreign letter": ({"task_id": "a" * 15 + "é"}, "/task_id"),
    "an id with NUL": ({"task_id": "a" * 15 + "\x00"}, "/task_id"),
    "an id with a surrogate": ({"task_id": "a" * 15 + "\ud800"}, "/task_id"),
    "a number as id": ({"task_id": 1234567890123456}, "/task_id"),
    "null as id": ({"task_id": None}, "/task_id"),
    "text as app": ({"task_id": ID, "app_id": "1"}, "/app_id"),
    "a fraction as app": ({"task_id": ID, "app_id": 1.5}, "/app_id"),
    "a flag as app": ({"task_id": ID, "app_id": True}, "/app_id"),
    "a huge app": ({"task_id": ID, "app_id": 10**1000}, "/app_id"),
    "a list of labels": ({"task_id": ID, "labels": ["a"]}, "/labels"),
    "null labels": ({"task_id": ID, "labels": None}, "/labels"),
    "17 labels": ({"task_id": ID, "labels": FULL | {"one-more": ""}}, "/labels"),
    "a number as label": ({"task_id": ID, "labels": {"a": 1}}, "/labels/a"),
    "null as label": ({"task_id": ID, "labels": {"a": None}}, "/labels/a"),
    "an object as label": ({"task_id": ID, "labels": {"a": {}}}, "/labels/a"),
    "a label too long": ({"task_id": ID, "labels": {"a": "x" * 256}}, "/labels/a"),
    "a label with NUL": ({"task_id": ID, "labels": {"a": "\x00"}}, "/labels/a"),
    "a label with a surrogate": ({"task_id": ID, "labels": {"a": "\udfff"}}, "/labels/a"),
    "an unknown field": ({"task_id": ID, "lables": {}}, "/lables"),
    "an unknown field to be escaped": ({"task_id": ID, "a/b~c": 1}, "/a~1b~0c"),
}


async def test_what_breaks_a_rule_is_422_with_its_place_and_nothing_is_stored(client: httpx.AsyncClient) -> None:
    found = {}
    for case, (body, _) in REFUSED.items():
        content = json.dumps(body).encode()
        response = await client.post("/v1/tasks", content=content, headers={"Content-Type": "application/json"})
        found[case] = response.status_code, [fault["pointer"] for fault in response.json()["errors"]]
    assert found == {case: (422, [pointer]) for case, (_, pointer) in REFUSED.items()}
    assert (await client.get("/v1/tasks")).json()["items"] == []


async def test_a_label_key_outside_its_alphabet_is_refused(client: httpx.AsyncClient) -> None:
    for key in ("", "A", "é", "a b", "x" * 64, "a\x00", "\ud800", "a\n"):
        content = json.dumps({"task_id": ID, "labels": {key: "x"}}).encode()
        response = await client.post("/v1/tasks", content=content, headers={"Content-Type": "application/json"})
        assert (key, response.status_code) == (key, 422)
        assert all(fault["pointer"].startswith("/labels") for fault in response.json()["errors"])


async def test_labels_at_their_limits_are_kept_as_given(client: httpx.AsyncClient) -> None:
    labels = {"x" * 63: "é" * 255, "a.b_c-9": "", "emoji": "🎥 <b>&'\"\\\n\t", "spaces": "  "}
    await register(client, labels=labels)
    assert (await client.get(f"/v1/tasks/{ID}")).json()["labels"] == labels


async def test_a_field_that_cannot_even_be_shown_is_refused(client: httpx.AsyncClient) -> None:
    content = b'{"task_id": "%s", "\\ud800": 1}' % ID.encode()
    response = await client.post("/v1/tasks", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert response.json()["code"] == "invalid_request"


async def test_200_registrations_of_one_id_at_once_make_one_task_and_one_event(client: httpx.AsyncClient) -> None:
    body = {"task_id": ID, "labels": {"team": "x"}}
    responses = await asyncio.gather(*(client.post("/v1/tasks", json=body) for _ in range(200)))
    assert Counter(response.status_code for response in responses) == {201: 1, 200: 199}
    assert [task["version"] for task in (await client.get("/v1/tasks")).json()["items"]] == [1]
    history = (await client.get(f"/v1/tasks/{ID}/events")).json()["items"]
    assert [event["type"] for event in history] == ["task.registered"]


async def test_what_one_process_answered_another_shows_at_once(settings: MakeSettings) -> None:
    async with (
        open_service(settings()) as one,
        open_service(settings()) as two,
        open_client(one) as writer,
        open_client(two) as reader,
    ):
        for number in range(20):
            written = await register(writer, number)
            assert (await reader.get(f"/v1/tasks/{task_id(number)}")).json() == written
            patched = (await reader.patch(f"/v1/tasks/{task_id(number)}", json={"labels": {"a": "b"}})).json()
            assert (await writer.get(f"/v1/tasks/{task_id(number)}")).json() == patched


async def test_labels_merged_at_once_are_all_there_in_the_end(client: httpx.AsyncClient) -> None:
    await register(client)
    await asyncio.gather(*(register(client, labels={f"key{number}": "x"}) for number in range(16)))
    history = (await client.get(f"/v1/tasks/{ID}/events")).json()["items"]
    assert [event["task_version"] for event in history] == list(range(1, 18))
    assert (await client.get(f"/v1/tasks/{ID}")).json()["labels"] == {f"key{number}": "x" for number in range(16)}
