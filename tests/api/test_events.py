"""GET /v1/events: every change in one order, from any position; and copies of lists that are followed from there."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import delete

from app.core.recording import FileStatus, Status
from app.main import create_app
from app.store import feed
from app.store.tables import EVENTS
from app.wiring import Service, open_service
from tests.world import OTHER_APP, TWO_APPS, HandClock, MakeSettings, observe, open_client, register, seen_file, task_id


async def read(client: httpx.AsyncClient, after: str, **params: Any) -> tuple[list[dict[str, Any]], str]:
    """A page of the feed, and the position after it."""
    response = await client.get("/v1/events", params={"after": after, **params})
    assert response.status_code == 200, response.text
    page = response.json()
    assert page.keys() == {"items", "next_after"}
    return page["items"], page["next_after"]


async def follow(client: httpx.AsyncClient, after: str = "0", **params: Any) -> list[dict[str, Any]]:
    """All events from here on, by pages."""
    found: list[dict[str, Any]] = []
    while True:
        items, position = await read(client, after, **params)
        if position == after:
            return found
        found += items
        after = position


def names(events: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(event["type"], int(event["task_id"])) for event in events]


@pytest.fixture
async def told(settings: MakeSettings, clock: HandClock) -> Any:
    """A client of a service with two apps in which a few things happened."""
    async with open_service(settings(zego_apps=TWO_APPS), clock=clock) as service, open_client(service) as client:
        await register(client, 1, app_id=1, labels={"team": "x"})
        await register(client, 2, app_id=OTHER_APP, labels={"team": "y", "note": "a:b,c"})
        await observe(service, task_id(1), Status.ONGOING, seen_file("f", FileStatus.RECORDING))
        await client.patch(f"/v1/tasks/{task_id(2)}", json={"labels": {"team": "x"}})
        await client.delete(f"/v1/tasks/{task_id(1)}")
        yield client


ALL = [
    ("task.registered", 1), ("task.registered", 2), ("task.updated", 1), ("file.updated", 1), ("task.updated", 2),
    ("task.deleted", 1),
]  # fmt: skip


async def test_every_change_is_told_in_one_order_page_by_page(told: httpx.AsyncClient) -> None:
    for limit in (1, 2, 3, 500):
        events = await follow(told, limit=limit)
        assert names(events) == ALL
        assert [event["seq"] for event in events] == sorted({event["seq"] for event in events})
    assert names((await read(told, "0"))[0]) == ALL
    assert names((await told.get("/v1/events")).json()["items"]) == ALL


async def test_an_event_is_the_same_here_and_in_its_tasks_history(told: httpx.AsyncClient) -> None:
    history = (await told.get(f"/v1/tasks/{task_id(2)}/events")).json()["items"]
    assert await follow(told, task_id=task_id(2)) == history
    assert history[-1]["data"]["previous"] == {"labels": {"team": "y", "note": "a:b,c"}}


FILTERS: list[tuple[dict[str, Any], list[int]]] = [
    ({"types": "task.registered"}, [0, 1]),
    ({"types": "task.deleted,file.updated"}, [3, 5]),
    ({"types": "delivery.failed"}, []),
    ({"task_id": task_id(2)}, [1, 4]),
    ({"task_id": f"{task_id(2)},{task_id(9)},{task_id(1)}"}, [0, 1, 2, 3, 4, 5]),
    ({"task_id": task_id(9)}, []),
    ({"app_id": OTHER_APP}, [1, 4]),
    ({"app_id": 77}, []),
    ({"label": "team:x"}, [4, 5]),  # whoever follows by labels hears of each deletion
    ({"label": "team:y"}, [1, 5]),
    ({"label": ["team:x", "note:a:b,c"]}, [4, 5]),
    ({"label": ["team:x", "team:y"]}, [5]),
    ({"label": "team:x", "app_id": OTHER_APP}, [4]),
    ({"label": "team:x", "types": "task.updated"}, [4]),
    ({"types": "task.updated", "task_id": task_id(1), "app_id": 1}, [2]),
]


async def test_each_filter_keeps_what_matches_and_the_position_advances_past_the_rest(told: httpx.AsyncClient) -> None:
    _, end = await read(told, "0")
    for params, expected in FILTERS:
        # The contents of a deleted task's events are erased, its labels with them.
        kept = [ALL[number] for number in expected]
        assert (params, names(await follow(told, limit=1, **params))) == (params, kept)
        items, position = await read(told, "0", **params)
        assert (params, names(items), position) == (params, kept, end)


async def test_callbacks_are_told_in_the_tasks_own_history_alone(told: httpx.AsyncClient) -> None:
    assert (await told.get("/v1/events", params={"types": "callback.received"})).status_code == 422


@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({"after": ""}, "after"),
        ({"after": "-1"}, "after"),
        ({"after": "1.5"}, "after"),
        ({"after": "newest"}, "after"),
        ({"after": "9" * 20}, "after"),
        ({"types": "task.exploded"}, "types"),
        ({"types": "task.settled,"}, "types"),
        ({"task_id": "short"}, "task_id"),
        ({"task_id": ",".join(map(task_id, range(101)))}, "task_id"),
        ({"app_id": "one"}, "app_id"),
        ({"label": "team"}, "label"),
        ({"limit": 0}, "limit"),
        ({"limit": 501}, "limit"),
        ({"cursor": "x"}, "cursor"),
        ({"status": "ongoing"}, "status"),
    ],
)
async def test_an_unknown_filter_or_value_is_refused(
    client: httpx.AsyncClient, params: dict[str, Any], pointer: str
) -> None:
    response = await client.get("/v1/events", params=params)
    assert response.status_code == 422
    assert {fault["pointer"] for fault in response.json()["errors"]} == {pointer}


async def test_latest_starts_behind_all_that_is_there(client: httpx.AsyncClient) -> None:
    assert await read(client, "latest") == ([], "0")
    await register(client, 1)
    items, position = await read(client, "latest")
    assert items == []
    assert await read(client, position) == ([], position)
    await register(client, 2)
    assert names(await follow(client, position)) == [("task.registered", 2)]


def lost(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 410
    assert response.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["code"] == "feed_position_lost"
    assert problem.keys() == {"type", "title", "status", "detail", "code", "request_id", "oldest", "latest"}
    return problem


async def test_a_position_ahead_of_the_newest_is_lost(client: httpx.AsyncClient) -> None:
    await register(client)
    _, end = await read(client, "0")
    for ahead in (str(int(end) + 1), str(2**63 - 1), "9" * 19):
        problem = lost(await client.get("/v1/events", params={"after": ahead}))
        assert problem["latest"] == end
        assert names(await follow(client, problem["oldest"])) == [("task.registered", 0)]


async def test_a_position_older_than_what_is_kept_is_lost(client: httpx.AsyncClient, service: Service) -> None:
    for number in range(3):
        await register(client, number)
    places = [event["seq"] for event in await follow(client)]
    async with service.database.write() as connection:
        await connection.execute(delete(EVENTS).where(EVENTS.c.seq <= places[1]))
        await feed.mark_purged(connection, places[1])
    problem = lost(await client.get("/v1/events", params={"after": places[0]}))
    assert (problem["oldest"], problem["latest"]) == (str(places[1]), str(places[2]))
    for still_there in ("0", problem["oldest"]):
        assert names(await follow(client, still_there)) == [("task.registered", 2)]


async def test_the_documentation_tells_of_lost_positions(service: Service) -> None:
    operation = create_app(service).openapi()["paths"]["/v1/events"]["get"]
    assert operation["responses"]["410"] == {"$ref": "#/components/responses/feed_position_lost"}
    assert operation["responses"]["200"]["content"]["application/json"]["example"]["items"]


# -- copy, then follow


async def test_first_pages_tell_where_to_follow_from_and_others_do_not(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/tasks")).json()["events_after"] == "0"
    for number in range(3):
        await register(client, number)
    _, end = await read(client, "0")
    first = (await client.get("/v1/tasks", params={"limit": 2})).json()
    assert first["events_after"] == end
    rest = (await client.get("/v1/tasks", params={"cursor": first["next_cursor"]})).json()
    assert "events_after" not in rest
    assert (await client.get("/v1/files")).json()["events_after"] == end
    assert "events_after" not in (await client.get(f"/v1/tasks/{task_id(1)}/files")).json()


async def test_a_copy_that_is_followed_from_its_first_page_has_no_gap(client: httpx.AsyncClient) -> None:
    """Six writers register tasks and change labels; copies are begun in their midst."""
    writing = asyncio.gather(*(keep_writing(client, writer) for writer in range(6)))
    copies = []
    while not writing.done():
        copies.append(await copy(client))
    await writing
    versions, _ = await copy(client)
    assert len(versions) == 60
    assert any(known != versions for known, _ in copies)
    for known, position in copies:
        for event in await follow(client, position, limit=500):
            known[event["task_id"]] = max(known.get(event["task_id"], 0), event["task_version"])
        assert known == versions


async def keep_writing(client: httpx.AsyncClient, writer: int) -> None:
    for turn in range(10):
        number = writer * 10 + turn
        await register(client, number)
        for old in (number, writer * 10):
            await client.patch(f"/v1/tasks/{task_id(old)}", json={"labels": {"turn": str(turn)}})


async def copy(client: httpx.AsyncClient) -> tuple[dict[str, int], str]:
    """The versions of all tasks by pages, and the position noted on the first."""
    page = (await client.get("/v1/tasks", params={"limit": 5})).json()
    position: str = page["events_after"]
    known: dict[str, int] = {}
    while True:
        known |= {task["task_id"]: task["version"] for task in page["items"]}
        if page["next_cursor"] is None:
            return known, position
        page = (await client.get("/v1/tasks", params={"cursor": page["next_cursor"]})).json()
