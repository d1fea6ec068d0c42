"""What is remembered of how tasks are shown: never older than the task, never more than there is room for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest

from app.api.edge import Edge
from app.api.shown import Gallery, show
from app.api.task_schemas import TaskOut
from app.core.recording import Status, Task
from app.errors import TaskUnknown
from app.main import create_app
from app.wiring import Service
from tests.core.test_shown import FILE, TASK
from tests.world import APP, NOON, HandClock, fail, observe, register, seen_file, task_id

PATH = f"/v1/tasks/{task_id()}"


async def read(client: httpx.AsyncClient, path: str = PATH, **headers: str) -> dict[str, Any]:
    answer = await client.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert answer.headers["ETag"] == f'W/"{found["version"]}"'
    return found


async def test_each_change_is_shown_at_once_also_those_that_make_no_new_version(
    service: Service, client: httpx.AsyncClient, clock: HandClock
) -> None:
    await register(client)
    seen = [await read(client), await read(client)]
    assert seen[0] == seen[1]

    await fail(service, task_id(), TaskUnknown("not_found", "not yet"))  # only `polling` changes
    seen.append(await read(client))
    assert seen[2]["version"] == seen[1]["version"]
    assert seen[2]["polling"]["last_error"]["message"] == "not yet"

    await client.post(f"{PATH}/refresh")
    clock.advance(1)
    await observe(service, task_id(), Status.ONGOING, seen_file("a"))
    seen.append(await read(client))
    assert [file["file_id"] for file in seen[3]["files"]] == ["a"]
    await client.patch(PATH, json={"labels": {"team": "x"}})
    seen.append(await read(client))
    assert seen[4]["labels"] == {"team": "x"}


async def test_a_list_shows_what_makes_no_new_version(service: Service, client: httpx.AsyncClient) -> None:
    await register(client)
    for message in ("not yet", "still not"):
        await fail(service, task_id(), TaskUnknown("not_found", message))
        (listed,) = (await read_list(client))["items"]
        assert listed["polling"]["last_error"]["message"] == message


async def read_list(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.get("/v1/tasks")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_the_short_way_and_the_long_one_answer_alike(client: httpx.AsyncClient) -> None:
    await register(client)
    tag = (await client.get(PATH)).headers["ETag"]
    for headers in ({}, {"If-None-Match": tag}, {"If-None-Match": "*"}, {"If-None-Match": 'W/"99"'}):
        short, long = [await client.get(PATH, params=params, headers=headers) for params in ({}, {"wait": 1})]
        assert (short.status_code, short.content) == (long.status_code, long.content), headers
        assert short.headers.get("ETag") == long.headers.get("ETag")
    for path in (f"/v1/tasks/{task_id(7)}", "/v1/tasks/no-id", "/v1/tasks/"):
        short, long = await client.get(path), await client.get(path, params={"wait": 1})
        assert short.status_code == long.status_code in (404, 422), path
        assert short.json() | {"request_id": ""} == long.json() | {"request_id": ""}


async def test_a_page_is_the_same_on_both_ways(service: Service, client: httpx.AsyncClient) -> None:
    for number in range(3):
        await register(client, number)
    app = create_app(service)
    app.middleware_stack = Edge(app.framework())
    cursor = (await client.get("/v1/tasks?limit=1")).json()["next_cursor"]
    one, two = task_id(0), task_id(1)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as long:
        for query in (
            "tasks", f"tasks?cursor={cursor}", "tasks?limit=1&limit=2", f"tasks?task_id={one}&task_id={two}",
            "tasks?label=a:b&label=c:d", "tasks?registered_after=2026-01-01T00:00:00%2B02:00", "tasks?room_id=",
            "tasks?task_id=", "tasks?unknown=1", "tasks?limit=0", "events", "events?types=task.registered&limit=2",
            "events?after=1&after=2", "events?after=x",
        ):  # fmt: skip
            answers = [await way.get(f"/v1/{query}") for way in (client, long)]
            bodies = [answer.json() | {"request_id": ""} for answer in answers]
            assert (query, answers[0].status_code, bodies[0]) == (query, answers[1].status_code, bodies[1])


async def test_what_was_read_longest_ago_is_forgotten_first(service: Service, client: httpx.AsyncClient) -> None:
    for number in range(3):
        await register(client, number)
    stamps = [await service.tasks.stamp(task_id(number)) for number in range(3)]
    first = await Gallery(service.tasks).task(stamps[0])
    gallery = Gallery(service.tasks, most=2 * len(first.body) + 10)
    shown = [await gallery.task(stamps[number]) for number in (0, 1, 0, 2)]
    assert shown[2] is shown[0]
    assert await gallery.task(stamps[0]) is shown[0]
    assert await gallery.task(stamps[1]) is not shown[1]


@pytest.mark.parametrize("with_files", [True, False])
def test_a_task_is_shown_as_it_is_described(with_files: bool) -> None:
    task = replace(TASK, files={"f1": FILE}, file_counts={"uploaded_to_backup": 1})
    for one in (task, Task(task_id=task_id(), app_id=APP, registered_at=NOON, updated_at=NOON)):
        shown = show(one, with_files=with_files).body
        assert TaskOut.model_validate_json(shown).model_dump_json(exclude_unset=True).encode() == shown
