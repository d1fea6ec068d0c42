"""GET, PATCH and DELETE of one task, its refreshing, untracking and tracking, and what hangs on it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from app.core.recording import FileStatus, Status
from app.errors import TaskUnknown
from app.provider.simulator import Server
from app.wiring import Service, open_service
from tests.world import (
    APP,
    NOON,
    TWO_APPS,
    HandClock,
    MakeSettings,
    claim,
    fail,
    observe,
    open_client,
    register,
    seen_file,
    task_id,
    text,
)

ID = task_id()
PATH = f"/v1/tasks/{ID}"


async def task(client: httpx.AsyncClient, path: str = PATH) -> dict[str, Any]:
    response = await client.get(path)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def items(client: httpx.AsyncClient, path: str, **params: Any) -> list[dict[str, Any]]:
    """All pages of a list, two at a time."""
    found: list[dict[str, Any]] = []
    page = (await client.get(path, params={"limit": 2, **params})).json()
    while True:
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        assert len(page["items"]) == 2
        page = (await client.get(path, params={"limit": 2, "cursor": page["next_cursor"]})).json()


OF_A_TASK = [
    ("GET", ""),
    ("PATCH", ""),
    ("DELETE", ""),
    ("POST", "/refresh"),
    ("POST", "/untrack"),
    ("POST", "/track"),
    ("GET", "/answer"),
    ("GET", "/events"),
    ("GET", "/files"),
]


async def test_a_task_nobody_registered_is_not_found(client: httpx.AsyncClient) -> None:
    for method, rest in OF_A_TASK:
        body: Any = {"labels": {}} if method == "PATCH" else None
        response = await client.request(method, f"/v1/tasks/{task_id(404)}{rest}", json=body)
        assert (method, rest, response.status_code) == (method, rest, 404)
        assert response.json()["code"] == "not_found"
        for name in ("short", "a" * 17, "a" * 15 + "%0A", "a" * 15 + "%00"):
            response = await client.request(method, f"/v1/tasks/{name}{rest}", json=body)
            assert (method, rest, name, response.status_code) == (method, rest, name, 422)
            assert [fault["pointer"] for fault in response.json()["errors"]] == ["task_id"]


# -- reading


async def test_a_tag_is_the_version_and_spares_the_unchanged(client: httpx.AsyncClient, service: Service) -> None:
    await register(client)
    first = await client.get(PATH)
    assert first.headers["ETag"] == 'W/"1"'
    for given in ('W/"1"', '"1"', 'W/"7", W/"1"', "*"):
        unchanged = await client.get(PATH, headers={"If-None-Match": given})
        assert (given, unchanged.status_code, unchanged.content) == (given, 304, b"")
        assert unchanged.headers["ETag"] == 'W/"1"'
        assert unchanged.headers["X-Request-Id"]
    await observe(service, ID, Status.ONGOING)
    for given in ('W/"1"', '"1"', "1", "nonsense", '"' + "9" * 1000 + '"', ""):
        changed = await client.get(PATH, headers={"If-None-Match": given})
        assert (given, changed.status_code) == (given, 200)
        assert changed.headers["ETag"] == f'W/"{changed.json()["version"]}"' == 'W/"2"'


async def test_polls_that_tell_nothing_new_make_no_version(
    client: httpx.AsyncClient, service: Service, clock: HandClock
) -> None:
    await register(client)
    await observe(service, ID, Status.ONGOING, status_code=2)
    before = await task(client)
    clock.advance(30)
    await observe(service, ID, Status.ONGOING, status_code=2)
    after = await task(client)
    assert after["polling"]["last_polled_at"] == text(clock.now()) != before["polling"]["last_polled_at"]
    assert after["polling"]["poll_count"] == 2
    assert before | {"polling": after["polling"]} == after


async def test_a_recording_is_shown_with_its_files_by_the_time_they_began(
    client: httpx.AsyncClient, service: Service, clock: HandClock
) -> None:
    await register(client)
    clock.advance(10)
    late, early = NOON + timedelta(seconds=9), NOON + timedelta(seconds=1)
    files = (
        seen_file("a", FileStatus.UPLOADED, began_at=late, user_id="u", file_size=5, media_track_type_code=3),
        seen_file("b", FileStatus.UPLOADED_TO_BACKUP, began_at=early),
        seen_file("c", FileStatus.UPLOADED),
    )
    facts: dict[str, Any] = {
        "room_id": "room",
        "record_mode_code": 1,
        "stream_type_code": 9,
        "began_at": NOON,
        "ended_at": late,
    }
    await observe(service, ID, Status.ENDED_ABNORMALLY, *files, status_code=4, **facts)
    found = await task(client)
    assert [file["file_id"] for file in found["files"]] == ["b", "a", "c"]
    assert {name: found[name] for name in TOLD} == TOLD
    assert found["files"][1] == {
        "task_id": ID,
        "app_id": APP,
        "room_id": "room",
        "file_id": "a",
        "status": "uploaded",
        "status_code": 3,
        "user_id": "u",
        "user_name": None,
        "stream_id": None,
        "video_id": None,
        "file_url": None,
        "output_file_format": None,
        "file_size": 5,
        "duration_ms": None,
        "resolution_width": None,
        "resolution_height": None,
        "media_track_type": "audio_video",
        "media_track_type_code": 3,
        "began_at": text(late),
        "custom_begin_timestamp": None,
        "source": "poll",
        "first_seen_at": text(clock.now()),
        "updated_at": text(clock.now()),
        "reached_end_at": text(clock.now()),
        "backup_expires_at": None,
    }
    assert found["files"][0]["backup_expires_at"] == text(clock.now() + timedelta(days=3))


TOLD = {
    "room_id": "room",
    "status": "ended_abnormally",
    "status_code": 4,
    "tracking": "settled",
    "outcome": "uploaded_to_backup",
    "outcome_basis": "poll",
    "record_mode": "single_stream",
    "record_mode_code": 1,
    "stream_type": "unknown",
    "stream_type_code": 9,
    "recording_began_at": text(NOON),
    "recording_ended_at": text(NOON + timedelta(seconds=9)),
    "file_counts": {"uploaded": 2, "uploaded_to_backup": 1},
    "files_truncated": False,
    "settled_at": text(NOON + timedelta(seconds=10)),
}


async def test_a_task_shows_a_hundred_files_and_its_list_of_files_all(
    client: httpx.AsyncClient, service: Service
) -> None:
    await register(client)
    files = [seen_file(f"file{number:03d}", began_at=NOON - timedelta(seconds=number)) for number in range(101)]
    await observe(service, ID, Status.ONGOING, *files)
    found = await task(client)
    assert [file["file_id"] for file in found["files"]] == [f"file{number:03d}" for number in range(100, 0, -1)]
    assert found["files_truncated"] is True
    assert found["file_counts"] == {"uploaded": 101}
    listed = (await client.get(f"{PATH}/files", params={"limit": 500})).json()
    assert [file["file_id"] for file in listed["items"]] == [file.file_id for file in files]
    assert listed["next_cursor"] is None


async def test_the_files_of_a_task_come_in_pages(client: httpx.AsyncClient, service: Service) -> None:
    await register(client)
    await register(client, 1)
    assert await items(client, f"{PATH}/files") == []
    await observe(service, ID, Status.ONGOING, *(seen_file(name) for name in ("e", "é", "B", "a", "emoji 🎥")))
    await observe(service, task_id(1), Status.ONGOING, seen_file("another"))
    found = await items(client, f"{PATH}/files")
    assert [file["file_id"] for file in found] == ["B", "a", "e", "emoji 🎥", "é"]
    assert sorted(found, key=str) == sorted((await task(client))["files"], key=str)


async def test_the_answer_is_404_before_the_first_and_then_as_it_came(
    client: httpx.AsyncClient, service: Service, clock: HandClock
) -> None:
    await register(client)
    none_yet = await client.get(f"{PATH}/answer")
    assert (none_yet.status_code, none_yet.json()["code"]) == (404, "not_found")
    await observe(service, ID, body='{"Code":0}')
    clock.advance(5)
    body = '{"b": 1.50, "a": [ ], "b": 123456789012345678901234567890, "é": "\\u00e9🎥"}'
    await observe(service, ID, body=body)
    answer = await client.get(f"{PATH}/answer")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.text == f'{{"task_id":"{ID}","asked_at":"{text(clock.now())}","answer":{body}}}'


async def test_the_history_tells_each_change_once_oldest_first(
    client: httpx.AsyncClient, service: Service, clock: HandClock
) -> None:
    await register(client)
    clock.advance(1)
    await observe(service, ID, Status.ONGOING, seen_file("a", FileStatus.RECORDING))
    await observe(service, ID, Status.COMPLETED, seen_file("a", FileStatus.UPLOADING))
    await observe(service, ID, Status.COMPLETED, seen_file("a", FileStatus.UPLOADED))
    await observe(service, ID, Status.COMPLETED, seen_file("a", FileStatus.UPLOADED))
    await client.patch(PATH, json={"labels": {"a": "1"}})
    history = await items(client, f"{PATH}/events")
    assert [(event["type"], event["task_version"], event["source"]) for event in history] == [
        ("task.registered", 1, "api"),
        ("task.updated", 2, "poll"),
        ("file.updated", 2, "poll"),
        ("task.ended", 3, "poll"),
        ("file.updated", 3, "poll"),
        ("task.settled", 4, "poll"),
        ("file.updated", 4, "poll"),
        ("task.updated", 5, "api"),
    ]
    first, second, new_file, ended, *_, last = history
    assert first.keys() == EVENT_FIELDS
    assert first["occurred_at"] == text(NOON)
    assert len({event["id"] for event in history}) == len(history)
    assert all(event["id"].startswith("evt_") for event in history)
    assert [event["seq"] for event in history] == sorted(event["seq"] for event in history)
    assert second["data"]["previous"]["status"] == "pending"
    assert "files" not in second["data"]["task"]
    assert new_file["data"]["previous"] is None
    assert ended["data"]["task"]["status"] == "completed"
    assert last["data"]["previous"] == {"labels": {}}


EVENT_FIELDS = {"id", "seq", "type", "occurred_at", "app_id", "task_id", "task_version", "source", "data"}


# -- labels


async def test_a_patch_sets_and_removes_labels_and_leaves_the_others(client: httpx.AsyncClient) -> None:
    await register(client, labels={"keep": "1", "change": "1", "drop": "1"})
    patch = {"labels": {"change": "2", "drop": None, "never-there": None, "new": ""}}
    response = await client.patch(PATH, json=patch)
    assert response.status_code == 200
    assert response.json()["labels"] == {"keep": "1", "change": "2", "new": ""}
    assert response.headers["ETag"] == 'W/"2"'
    assert response.json() == await task(client)
    again = await client.patch(PATH, json=patch)
    assert (again.status_code, again.headers["ETag"]) == (200, 'W/"2"')


async def test_a_patch_holds_to_the_rules_of_labels(client: httpx.AsyncClient) -> None:
    full = {f"key{number}": "x" for number in range(16)}
    before = await register(client, labels=full)
    cases: dict[str, tuple[Any, str]] = {
        "17": ({"labels": {"one-more": "x"}}, "/labels"),
        "key": ({"labels": {"KEY": "x"}}, "/labels/KEY"),
        "value": ({"labels": {"key1": 1}}, "/labels/key1"),
        "too long": ({"labels": {"key1": "x" * 256}}, "/labels/key1"),
        "no object": ([], ""),
        "other field": ({"labels": {}, "status": "x"}, "/status"),
    }
    found = {}
    for case, (body, _) in cases.items():
        response = await client.patch(PATH, json=body)
        # pydantic names the key itself with a trailing part of the path
        found[case] = response.status_code, response.json()["errors"][0]["pointer"].removesuffix("/[key]")
    assert found == {case: (422, pointer) for case, (_, pointer) in cases.items()}
    assert await task(client) == before
    swapped = await client.patch(PATH, json={"labels": {"key0": None, "one-more": "x"}})
    assert len(swapped.json()["labels"]) == 16


async def test_if_match_lets_only_the_named_version_be_changed(client: httpx.AsyncClient) -> None:
    await register(client)
    found = []
    good, late = ('W/"1"', '"2"', 'W/"9", W/"3"', "*"), ('W/"1"', '"1"', '"another\'s"', '"1","x"', f'"{"9" * 30}"')
    for number, given in enumerate((*good, *late, "1", "nonsense", 'x "5"', '*, "5"', '"5" "5"', "")):
        patch = {"labels": {"number": str(number)}}
        found.append((await client.patch(PATH, json=patch, headers={"If-Match": given})).status_code)
    assert found == [200] * 4 + [412] * 5 + [422] * 6
    response = await client.patch(PATH, json={"labels": {}}, headers={"If-Match": 'W/"1"'})
    assert response.json()["code"] == "precondition_failed"
    assert (await task(client))["labels"] == {"number": "3"}


# -- refreshing


async def test_a_refresh_makes_a_task_due_at_most_every_5_seconds(
    client: httpx.AsyncClient, service: Service, clock: HandClock
) -> None:
    await register(client)
    await observe(service, ID)
    polled_at = clock.now()
    clock.advance(1)
    for _ in range(3):
        response = await client.post(f"{PATH}/refresh")
        assert response.status_code == 202
        assert response.json()["polling"]["next_poll_at"] == text(polled_at + timedelta(seconds=5))
        assert response.headers["ETag"] == 'W/"2"'
    clock.advance(10)
    await observe(service, ID)
    clock.advance(10)
    response = await client.post(f"{PATH}/refresh")
    assert response.json()["polling"]["next_poll_at"] == text(clock.now())


async def test_a_refresh_never_puts_a_poll_off(client: httpx.AsyncClient, clock: HandClock) -> None:
    registered = await register(client)
    clock.advance(30)
    response = await client.post(f"{PATH}/refresh")
    assert response.json()["polling"]["next_poll_at"] == registered["polling"]["next_poll_at"]


async def test_a_settled_task_can_be_refreshed(client: httpx.AsyncClient, service: Service, clock: HandClock) -> None:
    await register(client)
    await observe(service, ID, Status.COMPLETED, seen_file())
    clock.advance(7200)
    response = await client.post(f"{PATH}/refresh")
    assert response.status_code == 202
    assert response.json()["tracking"] == "settled"
    assert response.json()["polling"]["next_poll_at"] <= text(clock.now())


async def test_what_cannot_be_polled_is_not_refreshed(
    client: httpx.AsyncClient, service: Service, clock: HandClock
) -> None:
    await register(client, 1)
    await client.post(f"/v1/tasks/{task_id(1)}/untrack")
    await register(client, 2)
    await observe(service, task_id(2), Status.COMPLETED, seen_file())
    await register(client, 3)
    clock.advance(3 * 86400)
    await fail(service, task_id(3), TaskUnknown("not_found", "no such task"))
    assert (await task(client, f"/v1/tasks/{task_id(3)}"))["tracking"] == "expired"
    await register(client, 4, started_at=text(NOON))
    for number in (1, 2, 3, 4):
        response = await client.post(f"/v1/tasks/{task_id(number)}/refresh")
        assert (number, response.status_code, response.json()["code"]) == (number, 409, "not_pollable")


async def test_a_task_of_an_app_that_is_gone_is_kept_and_not_refreshed(settings: MakeSettings) -> None:
    async with open_service(settings(zego_apps=TWO_APPS)) as service, open_client(service) as client:
        await register(client, app_id=2)
    async with open_service(settings()) as service, open_client(service) as client:
        assert (await task(client))["app_id"] == 2
        response = await client.post(f"{PATH}/refresh")
        assert (response.status_code, response.json()["code"]) == (409, "not_pollable")


# -- untracking and tracking


async def test_an_untracked_task_is_not_polled_until_it_is_tracked(client: httpx.AsyncClient, clock: HandClock) -> None:
    await register(client)
    clock.advance(60)
    untracked = (await client.post(f"{PATH}/untrack")).json()
    assert (untracked["tracking"], untracked["outcome"], untracked["version"]) == ("untracked", "unresolved", 2)
    assert untracked["polling"]["next_poll_at"] is None
    assert (await client.post(f"{PATH}/untrack")).json() == untracked

    again = await client.post("/v1/tasks", json={"task_id": ID})
    assert (again.status_code, again.json()) == (200, untracked)
    batch = await client.post("/v1/tasks/batch", json={"tasks": [{"task_id": ID}]})
    assert batch.json()["existing"] == 1
    assert await task(client) == untracked

    response = await client.post(f"{PATH}/track")
    tracked = response.json()
    assert (response.status_code, response.headers["ETag"]) == (200, 'W/"3"')
    assert (tracked["tracking"], tracked["outcome"], tracked["version"]) == ("active", None, 3)
    assert tracked["polling"]["next_poll_at"] == text(clock.now())
    assert (await client.post(f"{PATH}/track")).json() == tracked
    history = [event["type"] for event in await items(client, f"{PATH}/events")]
    assert history == ["task.registered", "task.untracked", "task.reopened"]


async def test_an_answer_that_was_under_way_does_not_track_an_untracked_task(
    client: httpx.AsyncClient, service: Service
) -> None:
    await register(client)
    await claim(service, ID)
    await client.post(f"{PATH}/untrack")
    await observe(service, ID, Status.ONGOING)
    found = await task(client)
    assert (found["tracking"], found["status"]) == ("untracked", "ongoing")


async def test_a_settled_task_stays_settled_when_tracked(client: httpx.AsyncClient, service: Service) -> None:
    await register(client)
    await observe(service, ID, Status.COMPLETED, seen_file())
    settled = await task(client)
    response = await client.post(f"{PATH}/track")
    assert (response.status_code, response.json()) == (200, settled)


async def test_a_closed_window_cannot_be_tracked(client: httpx.AsyncClient, clock: HandClock) -> None:
    await register(client)
    await client.post(f"{PATH}/untrack")
    clock.advance(3 * 86400)
    response = await client.post(f"{PATH}/track")
    assert (response.status_code, response.json()["code"]) == (409, "not_pollable")
    assert (await task(client))["tracking"] == "untracked"


# -- erasing


@pytest.fixture
async def deleted(client: httpx.AsyncClient, service: Service) -> dict[str, Any]:
    """A task with files that was erased: as it was before."""
    await register(client, labels={"patient": "Ada"})
    await observe(service, ID, Status.ONGOING, seen_file(user_name="Ada"), body='{"UserName":"Ada"}')
    before = await task(client)
    response = await client.delete(PATH)
    assert (response.status_code, response.content) == (204, b"")
    return before


async def test_a_deleted_task_is_gone_with_its_files_and_answer(
    client: httpx.AsyncClient, deleted: dict[str, Any]
) -> None:
    for path in (PATH, f"{PATH}/answer", f"{PATH}/files"):
        assert (await client.get(path)).status_code == 404
    assert (await client.get("/v1/tasks")).json()["items"] == []
    assert (await client.get("/v1/files")).json()["items"] == []
    assert (await client.get("/v1/tasks", params={"task_id": ID})).json()["missing"] == [ID]
    assert (await client.delete(PATH)).status_code == 404


async def test_the_history_of_a_deleted_task_tells_that_it_was_and_nothing_of_it(
    client: httpx.AsyncClient, deleted: dict[str, Any]
) -> None:
    response = await client.get(f"{PATH}/events")
    types = [event["type"] for event in response.json()["items"]]
    assert types == ["task.registered", "task.updated", "file.updated", "task.deleted"]
    assert response.json()["items"][-1]["task_version"] == deleted["version"] + 1
    assert "Ada" not in response.text


async def test_registering_a_deleted_task_again_continues_its_version(
    client: httpx.AsyncClient, service: Service, deleted: dict[str, Any]
) -> None:
    response = await client.post("/v1/tasks", json={"task_id": ID})
    assert response.status_code == 201
    assert response.json()["version"] == deleted["version"] + 2
    assert (response.json()["labels"], response.json()["files"], response.json()["status"]) == ({}, [], "pending")
    await observe(service, ID, Status.ONGOING, seen_file("new"))
    assert [file["file_id"] for file in (await task(client))["files"]] == ["new"]
    assert (await task(client))["version"] == deleted["version"] + 3


async def test_an_answer_that_was_under_way_does_not_bring_a_deleted_task_back(
    client: httpx.AsyncClient, service: Service
) -> None:
    await register(client)
    await client.post(f"{PATH}/refresh")
    claimed = await claim(service, ID)
    await client.delete(PATH)
    async with service.database.write() as connection:
        await service.observations.poll_failed(connection, claimed, TaskUnknown("not_found", "no such task"))
    assert (await client.get(PATH)).status_code == 404


# -- with a provider


async def test_a_recording_is_followed_from_its_registration_to_its_files(
    polling_service: Service, provider: Server
) -> None:
    over = provider.simulator.start("lost_file", began_at=0.0 + polling_service.clock.now().timestamp() - 600)
    async with open_client(polling_service) as client:
        await client.post("/v1/tasks", json={"task_id": over})
        assert await polling_service.poller.run_once() == 1
        found = await task(client, f"/v1/tasks/{over}")
        assert (found["tracking"], found["outcome"], found["attention"]) == ("settled", "partially_lost", ["lost"])
        truth = provider.simulator.recordings()[0]
        assert {file["file_id"] for file in found["files"]} == {file["file_id"] for file in truth["files"]}
        answer = (await client.get(f"/v1/tasks/{over}/answer")).json()
        assert answer["answer"]["Data"]["RoomId"] == truth["room_id"] == found["room_id"]
