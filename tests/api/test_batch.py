"""POST /v1/tasks/batch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from app.wiring import Service, open_service
from tests.world import (
    APP,
    NOON,
    OTHER_APP,
    TWO_APPS,
    HandClock,
    MakeSettings,
    open_client,
    register,
    task_id,
    text,
)

FULL = {f"key{number}": "value" for number in range(16)}
JSON = {"Content-Type": "application/json"}


async def send(client: httpx.AsyncClient, items: Any, **more: Any) -> httpx.Response:
    content = json.dumps({"tasks": items, **more}).encode()
    return await client.post("/v1/tasks/batch", content=content, headers=JSON)


async def results(client: httpx.AsyncClient, items: Any) -> list[dict[str, Any]]:
    response = await send(client, items)
    assert response.status_code == 200, response.text
    answer = response.json()
    words = [result["result"] for result in answer["results"]]
    assert {word: answer[word] for word in ("created", "existing", "conflict", "invalid")} == {
        word: words.count(word) for word in ("created", "existing", "conflict", "invalid")
    }
    found: list[dict[str, Any]] = answer["results"]
    return found


@pytest.fixture
async def two_apps(settings: MakeSettings, clock: HandClock) -> AsyncIterator[httpx.AsyncClient]:
    async with open_service(settings(zego_apps=TWO_APPS), clock=clock) as service, open_client(service) as client:
        yield client


async def test_the_results_stand_in_the_order_given_and_a_repeated_id_is_existing(client: httpx.AsyncClient) -> None:
    await register(client, 2, labels={"a": "1"})
    items = [
        {"task_id": task_id(3), "labels": {"x": "1"}},
        {"task_id": task_id(2), "labels": {"b": "2"}},
        {"task_id": task_id(1)},
        {"task_id": task_id(3), "labels": {"y": "2"}},
        {"task_id": task_id(2), "labels": {"c": "3"}},
    ]
    found = await results(client, items)
    assert [(one["task_id"], one["result"]) for one in found] == [
        (task_id(3), "created"),
        (task_id(2), "existing"),
        (task_id(1), "created"),
        (task_id(3), "existing"),
        (task_id(2), "existing"),
    ]
    assert all(one.get("error") is None for one in found)
    shown = {task["task_id"]: task["labels"] for task in (await client.get("/v1/tasks")).json()["items"]}
    assert shown == {task_id(1): {}, task_id(2): {"a": "1", "b": "2", "c": "3"}, task_id(3): {"x": "1", "y": "2"}}
    for number, version in ((1, 1), (2, 3), (3, 2)):
        answer = (await client.get(f"/v1/tasks/{task_id(number)}/events")).json()
        assert [event["task_version"] for event in answer["items"]] == [*range(1, version + 1)]
    with_labels = await client.get("/v1/tasks", params={"label": ["b:2", "c:3"]})
    assert [task["task_id"] for task in with_labels.json()["items"]] == [task_id(2)]


INVALID: dict[str, tuple[Any, str | None, str]] = {
    "a number": (1, None, ""),
    "null": (None, None, ""),
    "a list": ([], None, ""),
    "text": ("\ud800", None, ""),
    "no id": ({}, None, "/task_id"),
    "an unreadable id": ({"task_id": 5}, None, "/task_id"),
    "an id too short": ({"task_id": "short"}, None, "/task_id"),
    "an id with a surrogate": ({"task_id": "a" * 15 + "\ud800"}, None, "/task_id"),
    "an unknown field": ({"task_id": task_id(1), "lables": {}}, task_id(1), "/lables"),
    "text as app": ({"task_id": task_id(1), "app_id": "1"}, task_id(1), "/app_id"),
    "an unknown app": ({"task_id": task_id(1), "app_id": 77}, task_id(1), "/app_id"),
    "a naive time": ({"task_id": task_id(1), "started_at": "2026-01-31T12:00:00"}, task_id(1), "/started_at"),
    "a number as time": ({"task_id": task_id(1), "started_at": 1769860800}, task_id(1), "/started_at"),
    "a future time": (
        {"task_id": task_id(1), "started_at": text(NOON + timedelta(minutes=6))},
        task_id(1),
        "/started_at",
    ),
    "a label with NUL": ({"task_id": task_id(1), "labels": {"a": "\x00"}}, task_id(1), "/labels/a"),
    "17 labels": ({"task_id": task_id(1), "labels": FULL | {"one-more": ""}}, task_id(1), "/labels"),
    "17 labels after merging": ({"task_id": task_id(9), "labels": {"one-more": ""}}, task_id(9), "/labels"),
}


async def test_a_fault_of_one_item_is_told_with_its_place_and_spoils_nothing_else(client: httpx.AsyncClient) -> None:
    await register(client, 9, labels=FULL)
    items: list[Any] = [{"task_id": task_id(50)}]
    items += [item for item, _, _ in INVALID.values()]
    items += [{"task_id": task_id(51)}]
    first, *faulty, last = await results(client, items)
    assert (first["result"], last["result"]) == ("created", "created")
    told = {
        case: (one["result"], one["task_id"], one["error"]["code"], one["error"]["pointer"])
        for case, one in zip(INVALID, faulty, strict=True)
    }
    assert told == {
        case: ("invalid", named, "invalid_request", f"/tasks/{number}{pointer}")
        for number, (case, (_, named, pointer)) in enumerate(INVALID.items(), 1)
    }
    assert all(one["error"]["detail"] for one in faulty)
    stored = {task["task_id"]: task["labels"] for task in (await client.get("/v1/tasks")).json()["items"]}
    assert stored == {task_id(9): FULL, task_id(50): {}, task_id(51): {}}


async def test_an_item_whose_fault_cannot_even_be_shown_is_invalid(client: httpx.AsyncClient) -> None:
    (found,) = await results(client, [{"task_id": task_id(1), "\ud800": 1}])
    assert (found["result"], found["task_id"]) == ("invalid", task_id(1))


async def test_a_task_of_another_app_is_a_conflict(two_apps: httpx.AsyncClient) -> None:
    await register(two_apps, 1, app_id=APP)
    items = [
        {"task_id": task_id(1), "app_id": OTHER_APP},
        {"task_id": task_id(2), "app_id": OTHER_APP},
        {"task_id": task_id(2), "app_id": APP},
        {"task_id": task_id(3)},
    ]
    found = await results(two_apps, items)
    assert [one["result"] for one in found] == ["conflict", "created", "conflict", "invalid"]
    assert [one["error"] and (one["error"]["code"], one["error"]["pointer"]) for one in found] == [
        ("app_conflict", "/tasks/0/task_id"),
        None,
        ("app_conflict", "/tasks/2/task_id"),
        ("invalid_request", "/tasks/3/app_id"),
    ]


async def test_only_a_fault_of_the_envelope_is_422(client: httpx.AsyncClient) -> None:
    one = {"task_id": task_id(1)}
    cases = {
        "empty": (await send(client, []), "/tasks"),
        "too many": (await send(client, [one] * 1001), "/tasks"),
        "no list": (await send(client, one), "/tasks"),
        "unknown field": (await send(client, [one], dry_run=True), "/dry_run"),
        "no tasks": (await client.post("/v1/tasks/batch", json={}), "/tasks"),
        "a bare list": (await client.post("/v1/tasks/batch", json=[one]), ""),
    }
    found = {
        case: (response.status_code, [fault["pointer"] for fault in response.json()["errors"]])
        for case, (response, _) in cases.items()
    }
    assert found == {case: (422, [pointer]) for case, (_, pointer) in cases.items()}
    assert (await client.get("/v1/tasks")).json()["items"] == []


async def test_a_thousand_at_once_appear_all_together(client: httpx.AsyncClient) -> None:
    ids = [task_id(number) for number in range(1000)]
    some = {"task_id": ",".join(ids[::111])}
    batch = asyncio.create_task(send(client, [{"task_id": one} for one in ids]))
    seen = set()
    while not batch.done():
        seen.add(len((await client.get("/v1/tasks", params=some)).json()["items"]))
        await asyncio.sleep(0.05)
    assert (await batch).json()["created"] == 1000
    assert seen <= {0, len(ids[::111])}
    assert len((await client.get("/v1/tasks", params=some)).json()["items"]) == len(ids[::111])


async def test_batches_with_the_same_ids_in_opposite_order_do_not_block_each_other(
    client: httpx.AsyncClient, service: Service
) -> None:
    items = [{"task_id": task_id(number)} for number in range(50)]
    backwards = list(reversed(items))
    answers = await asyncio.gather(*(send(client, items if number % 2 else backwards) for number in range(10)))
    assert [answer.status_code for answer in answers] == [200] * 10
    assert sum(answer.json()["created"] for answer in answers) == 50
    assert sum(answer.json()["existing"] for answer in answers) == 450


async def test_a_body_may_have_8_mib_here_and_no_more(client: httpx.AsyncClient) -> None:
    item = json.dumps({"task_id": task_id(1)})

    async def padded(size: int) -> httpx.Response:
        start, end = f'{{"tasks": [{item}', "]}"
        content = (start + " " * (size - len(start) - len(end)) + end).encode()
        assert len(content) == size
        return await client.post("/v1/tasks/batch", content=content, headers=JSON)

    assert (await padded(8 * 1024 * 1024)).status_code == 200
    refused = await padded(8 * 1024 * 1024 + 1)
    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")
