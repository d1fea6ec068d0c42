"""GET /v1/tasks and GET /v1/files: filters, orders, pages and cursors."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.api.lists import FileQuery, ListQuery, TaskQuery
from app.commands import filters
from app.core.recording import FileStatus, Status
from app.errors import AnswerUnknown, TaskUnknown
from app.main import create_app
from app.store import pages
from app.wiring import Service, open_service
from tests.world import (
    NOON,
    OTHER_APP,
    TWO_APPS,
    HandClock,
    MakeSettings,
    fail,
    observe,
    open_client,
    register,
    seen_file,
    task_id,
    text,
)

LOST, OK, EXPIRED, UNTRACKED, LIVE, FAILING, OTHERS, PENDING = range(8)
"""The tasks of ``zoo``, registered a minute apart in this order."""


def minute(number: float) -> str:
    return text(NOON + timedelta(minutes=number))


@pytest.fixture
async def zoo(settings: MakeSettings, clock: HandClock) -> Any:
    """A client of a service with one task of every kind, the last ones registered three days after the first."""
    async with open_service(settings(zego_apps=TWO_APPS), clock=clock) as service, open_client(service) as client:
        await _fill(service, client, clock)
        yield client


async def _fill(service: Service, client: httpx.AsyncClient, clock: HandClock) -> None:
    async def new(number: int, **more: Any) -> None:
        await register(client, number, **{"app_id": 1, **more})
        clock.advance(60)

    await new(LOST, labels={"team": "x", "tier": "1"})
    lost = seen_file("lost", FileStatus.LOST, user_id="ada", stream_id="main")
    backup = seen_file("backup", FileStatus.UPLOADED_TO_BACKUP, user_id="bob", stream_id="side")
    await observe(service, task_id(LOST), Status.COMPLETED, lost, backup, room_id="room")
    await new(OK, labels={"team": "x", "tier": "2"})
    await observe(service, task_id(OK), Status.ENDED_ABNORMALLY, seen_file("ok", user_id="ada", stream_id="side"))
    await new(EXPIRED, labels={"team": "y"}, started_at=text(NOON - timedelta(days=3)))
    await fail(service, task_id(EXPIRED), TaskUnknown("not_found", "no such task"))
    await new(UNTRACKED, labels={"note": "a:b,c"})
    await client.post(f"/v1/tasks/{task_id(UNTRACKED)}/untrack")
    await new(LIVE)
    under_way = seen_file("live", FileStatus.RECORDING, user_id="eve")
    await observe(service, task_id(LIVE), Status.ONGOING, under_way, room_id="room 2", began_at=NOON)
    await new(FAILING)
    for _ in range(5):
        await fail(service, task_id(FAILING), AnswerUnknown("unknown_code", "no idea"))
    await new(OTHERS, app_id=OTHER_APP)
    await new(PENDING)


FILTERS: list[tuple[dict[str, Any], set[int]]] = [
    ({}, set(range(8))),
    ({"task_id": task_id(LIVE)}, {LIVE}),
    ({"task_id": f"{task_id(LIVE)},{task_id(99)},{task_id(OK)}"}, {LIVE, OK}),
    ({"tracking": "settled"}, {LOST, OK}),
    ({"tracking": "expired,untracked"}, {EXPIRED, UNTRACKED}),
    ({"tracking": "active"}, {LIVE, FAILING, OTHERS, PENDING}),
    ({"status": "completed,ended_abnormally"}, {LOST, OK}),
    ({"status": "ongoing"}, {LIVE}),
    ({"status": "paused"}, set()),
    ({"outcome": "partially_lost"}, {LOST}),
    ({"outcome": "uploaded,unresolved"}, {OK, EXPIRED, UNTRACKED}),
    ({"attention": "lost"}, {LOST}),
    ({"attention": "failing,lost"}, {LOST, FAILING}),
    ({"attention": "not_found"}, set()),
    ({"app_id": 1}, set(range(8)) - {OTHERS}),
    ({"app_id": OTHER_APP}, {OTHERS}),
    ({"app_id": 77}, set()),
    ({"room_id": "room"}, {LOST}),
    ({"room_id": "room 2"}, {LIVE}),
    ({"room_id": "ROOM"}, set()),
    ({"user_id": "ada"}, {LOST, OK}),
    ({"user_id": "bob"}, {LOST}),
    ({"stream_id": "side"}, {LOST, OK}),
    ({"user_id": "ada", "stream_id": "side"}, {OK}),
    ({"user_id": "ada", "file_status": "uploaded_to_backup"}, set()),
    ({"file_status": "lost"}, {LOST}),
    ({"file_status": "uploaded,recording"}, {OK, LIVE}),
    ({"file_status": "unknown"}, set()),
    ({"label": "team:x"}, {LOST, OK}),
    ({"label": ["team:x", "tier:2"]}, {OK}),
    ({"label": ["team:x", "team:y"]}, set()),
    ({"label": "team:"}, set()),
    ({"label": "note:a:b,c"}, {UNTRACKED}),
    ({"registered_after": minute(4)}, {FAILING, OTHERS, PENDING}),
    ({"registered_before": minute(2)}, {LOST, OK}),
    ({"registered_after": minute(1), "registered_before": minute(3)}, {EXPIRED}),
    ({"registered_after": "2026-01-31T14:04:00+02:00"}, {FAILING, OTHERS, PENDING}),
    ({"updated_after": minute(6)}, {PENDING}),
    ({"updated_before": minute(2)}, {LOST}),
    ({"settled_after": minute(1)}, {OK}),
    ({"settled_before": minute(2)}, {LOST}),
    ({"settled_after": minute(0), "settled_before": minute(9)}, {LOST, OK}),
    ({"deadline_before": minute(1)}, {EXPIRED}),
    ({"deadline_before": text(NOON + timedelta(days=3, milliseconds=1))}, {LOST, EXPIRED, LIVE}),
    ({"status": "completed", "room_id": "room", "label": "tier:1", "user_id": "bob", "app_id": 1}, {LOST}),
    ({"status": "completed", "label": "tier:2"}, set()),
]


async def test_each_filter_keeps_what_matches_and_nothing_else(zoo: httpx.AsyncClient) -> None:
    for params, expected in FILTERS:
        page = (await zoo.get("/v1/tasks", params={"limit": 500, **params})).json()
        assert (params, {int(task["task_id"]) for task in page["items"]}) == (params, expected)


async def test_ids_that_nobody_registered_are_listed_as_missing(zoo: httpx.AsyncClient) -> None:
    ids = ",".join(task_id(number) for number in (99, LIVE, 98, OK, 99))
    page = (await zoo.get("/v1/tasks", params={"task_id": ids, "status": "ongoing"})).json()
    assert [task["task_id"] for task in page["items"]] == [task_id(LIVE)]
    assert sorted(page["missing"]) == [task_id(98), task_id(99)]
    assert "missing" not in (await zoo.get("/v1/tasks")).json()


async def test_files_stand_in_a_list_only_if_asked_for(zoo: httpx.AsyncClient) -> None:
    for task in (await zoo.get("/v1/tasks")).json()["items"]:
        assert not task.keys() & {"files", "files_truncated"}
    page = await zoo.get("/v1/tasks", params={"include": "files"})
    assert page.status_code == 200
    for task in page.json()["items"]:
        assert task == (await zoo.get(f"/v1/tasks/{task['task_id']}")).json()
    assert (await zoo.get("/v1/tasks", params={"include": "files", "limit": 50})).status_code == 200
    assert (await zoo.get("/v1/tasks", params={"include": "files", "limit": 51})).status_code == 422


async def test_with_files_a_page_has_50_tasks_unless_fewer_are_asked_for(client: httpx.AsyncClient) -> None:
    await client.post("/v1/tasks/batch", json={"tasks": [{"task_id": task_id(number)} for number in range(120)]})
    params: dict[str, Any] = {"include": "files"}
    sizes = []
    while True:
        page = (await client.get("/v1/tasks", params=params)).json()
        sizes.append(len(page["items"]))
        if page["next_cursor"] is None:
            break
        params = {"cursor": page["next_cursor"]}
    assert sizes == [50, 50, 20]


REFUSED: dict[str, dict[str, Any]] = {
    "tasks": {
        "colour": {"colour": "red"},
        "tracking": {"tracking": "activ"},
        "status": {"status": "ongoing,3"},
        "outcome": {"outcome": ""},
        "attention": {"attention": "lost,found"},
        "file_status": {"file_status": "Lost"},
        "app_id": {"app_id": "one"},
        "task_id": {"task_id": "short"},
        "order": {"order": "version"},
        "include": {"include": "events"},
        "label": {"label": "team"},
        "room_id": {"room_id": "a\x00"},
        "user_id": {"user_id": "x" * 1025},
        "stream_id": {"stream_id": "\x00"},
        "registered_after": {"registered_after": "2026-01-31"},
        "registered_before": {"registered_before": "1769860800"},
        "updated_after": {"updated_after": "2026-01-31T12:00:00"},
        "updated_before": {"updated_before": ""},
        "settled_after": {"settled_after": "2026-13-31T12:00:00Z"},
        "settled_before": {"settled_before": "now"},
        "deadline_before": {"deadline_before": "2026-01-31T12:00:00 02:00"},
        "limit": {"limit": "0"},
        "cursor": {"cursor": "nonsense"},
    },
    "files": {
        "tracking": {"tracking": "active"},
        "status": {"status": "ongoing"},
        "task_id": {"task_id": ""},
        "app_id": {"app_id": "-1"},
        "room_id": {"room_id": "\x00"},
        "updated_after": {"updated_after": "x"},
        "updated_before": {"updated_before": "x"},
        "backup_expires_before": {"backup_expires_before": "x"},
        "limit": {"limit": "501"},
        "cursor": {"cursor": "e30="},
    },
}


async def test_an_unknown_filter_or_value_is_422_with_its_name(client: httpx.AsyncClient) -> None:
    for name, cases in REFUSED.items():
        for parameter, params in cases.items():
            response = await client.get(f"/v1/{name}", params=params)
            assert (params, response.status_code) == (params, 422)
            assert [fault["pointer"] for fault in response.json()["errors"]][:1] == [parameter]
    hint = (await client.get("/v1/tasks?updated_after=2026-01-31T12:00:00+02:00")).json()["errors"][0]["detail"]
    assert "%2B" in hint
    many = ",".join(task_id(number) for number in range(101))
    assert (await client.get("/v1/tasks", params={"task_id": many})).status_code == 422
    assert (await client.get("/v1/tasks", params={"task_id": many[:-17]})).status_code == 200


async def test_a_limit_is_a_whole_number_from_1_to_500(client: httpx.AsyncClient) -> None:
    await register(client)
    for path in LISTS:
        for limit in ("1", "500", "0", "501", "-1", "1.5", "ten", "", "9" * 5000):
            status = (await client.get(path, params={"limit": limit})).status_code
            assert (path, limit[:5], status) == (path, limit[:5], 200 if limit in ("1", "500") else 422)


# -- pages


async def walk(client: httpx.AsyncClient, path: str, **params: Any) -> Any:
    """Page by page, two items at a time."""
    while True:
        page = (await client.get(path, params={"limit": 2, **params})).json()
        yield page["items"]
        if page["next_cursor"] is None:
            return
        params = {"cursor": page["next_cursor"]}
        assert len(page["items"]) == 2 or pages.FEW == 0


async def test_pages_by_registration_show_each_task_once_however_many_are_added(
    client: httpx.AsyncClient, service: Service, clock: HandClock
) -> None:
    for number in range(9):
        await register(client, number)
        clock.advance(number % 3)  # several in one millisecond
    shown: list[int] = []
    async for page in walk(client, "/v1/tasks"):
        shown += [int(task["task_id"]) for task in page]
        clock.advance(1)
        await register(client, 100 + len(shown))
        await client.patch(f"/v1/tasks/{task_id(len(shown) % 9)}", json={"labels": {"at": str(len(shown))}})
    assert sorted(shown) == list(range(9))
    moments = [(await client.get(f"/v1/tasks/{task_id(number)}")).json()["registered_at"] for number in shown]
    assert moments == sorted(moments, reverse=True)


async def test_pages_by_update_drop_no_task_that_was_idle_and_end_with_the_newest(
    client: httpx.AsyncClient, clock: HandClock
) -> None:
    for number in range(9):
        await register(client, number)
        clock.advance(number % 3)
    shown: list[int] = []
    moments: list[str] = []
    async for page in walk(client, "/v1/tasks", order="updated_at"):
        shown += [int(task["task_id"]) for task in page]
        moments += [task["updated_at"] for task in page]
        clock.advance(1)
        if len(shown) < 12:
            await client.patch(f"/v1/tasks/{task_id(8)}", json={"labels": {"at": str(len(shown))}})
            await register(client, 100 + len(shown))
    assert set(range(8)) <= set(shown)
    assert all(shown.count(number) == 1 for number in range(8))
    assert moments == sorted(moments)
    assert shown[-1] >= 100


@pytest.fixture(params=["as a few", "by a walk that looks at three rows a page"])
def found(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two ways in which a page is found among millions of rows."""
    if request.param != "as a few":
        monkeypatch.setattr(pages, "FEW", 0)
        monkeypatch.setattr(pages, "SCANNED", 3)


@pytest.mark.usefixtures("found")
async def test_filters_hold_on_every_page(zoo: httpx.AsyncClient) -> None:
    for order in ("registered_at", "updated_at"):
        for params, expected in FILTERS:
            shown: list[int] = []
            async for page in walk(zoo, "/v1/tasks", order=order, **params):
                shown += [int(task["task_id"]) for task in page]
            assert (params, sorted(shown)) == (params, sorted(expected))


async def test_a_cursor_is_taken_with_its_own_filters_or_none_and_with_any_limit(zoo: httpx.AsyncClient) -> None:
    filters = {"status": "pending,ongoing", "registered_after": minute(0), "order": "updated_at", "label": []}
    cursor = (await zoo.get("/v1/tasks", params={**filters, "limit": 1})).json()["next_cursor"]
    rest = await zoo.get("/v1/tasks", params={"cursor": cursor, "limit": 100})
    assert rest.status_code == 200
    same = await zoo.get("/v1/tasks", params={**filters, "cursor": cursor})
    assert same.json() == rest.json()
    others: list[dict[str, Any]] = [
        {"status": "pending"},
        {"room_id": "room"},
        {"order": "registered_at"},
        {"order": "registered_at", "status": "pending,ongoing", "registered_after": minute(0)},
        {**filters, "label": "team:x"},
        {**filters, "registered_after": minute(1)},
    ]
    for other in others:
        response = await zoo.get("/v1/tasks", params={**other, "cursor": cursor})
        assert (other, response.status_code) == (other, 422)
        assert response.json()["errors"][0]["pointer"] == "cursor"


# -- files


FILE_FILTERS: list[tuple[dict[str, Any], set[str]]] = [
    ({}, {"lost", "backup", "ok", "live"}),
    ({"status": "lost,recording"}, {"lost", "live"}),
    ({"task_id": f"{task_id(LOST)},{task_id(99)}"}, {"lost", "backup"}),
    ({"app_id": 1}, {"lost", "backup", "ok", "live"}),
    ({"app_id": OTHER_APP}, set()),
    ({"room_id": "room"}, {"lost", "backup"}),
    ({"user_id": "ada"}, {"lost", "ok"}),
    ({"stream_id": "side"}, {"backup", "ok"}),
    ({"stream_id": "side", "user_id": "bob"}, {"backup"}),
    ({"updated_after": minute(1)}, {"ok", "live"}),
    ({"updated_before": minute(2)}, {"lost", "backup"}),
    ({"backup_expires_before": text(NOON + timedelta(days=3, minutes=1))}, set()),
    ({"backup_expires_before": text(NOON + timedelta(days=3, minutes=2))}, {"backup"}),
]


@pytest.mark.parametrize(
    ("query", "tried", "options"),
    [(TaskQuery, FILTERS, filters.TASK_FILTERS), (FileQuery, FILE_FILTERS, filters.FILE_FILTERS)],
)
def test_each_filter_is_tried_here_and_known_to_the_command_line(
    query: type[ListQuery], tried: list[tuple[dict[str, Any], set[Any]]], options: tuple[filters.Filter, ...]
) -> None:
    known = query.model_fields.keys() - {"limit", "cursor", "order", "include"}
    assert known - {name for params, _ in tried for name in params} <= {
        "task_id"
    }  # missing ones have tests of their own
    assert known - {"task_id"} == {option.name for option in options}


@pytest.mark.usefixtures("found")
async def test_each_filter_of_files_keeps_what_matches_on_every_page(zoo: httpx.AsyncClient) -> None:
    for params, expected in FILE_FILTERS:
        shown: list[dict[str, Any]] = []
        async for page in walk(zoo, "/v1/files", **params):
            shown += page
        assert (params, sorted(file["file_id"] for file in shown)) == (params, sorted(expected))
        assert [file["updated_at"] for file in shown] == sorted(file["updated_at"] for file in shown)
    for file in shown:
        task = (await zoo.get(f"/v1/tasks/{file['task_id']}")).json()
        assert file in task["files"]


# -- tampering


def tampered() -> list[str]:
    """Cursors that nobody was given."""
    places: list[Any] = [
        [],
        {},
        None,
        1,
        "ab",
        [1, 2],
        [minute(0), 5],
        [minute(0), None, None],
        [minute(0), "a\x00", "a\x00"],
        [minute(0), "\ud800", "\ud800"],
        ["2026-01-31T12:00:00", "a", "a"],
        ["0001-01-01T00:00:00+14:00", "a", "a"],
        ["\ud800", "a", "a"],
        [10**30],
        [-(10**30)],
        [float("inf")],
        [float("nan")],
        [["a"]],
    ]
    whole = [json.dumps([{}, place]) for place in places]
    whole += ["[{}]", "[]", "{}", "null", "1", "[[], []]", '[{"colour": 1}, []]', '[{"limit": 0}, ["a", "b"]]']
    whole += ["[{}, [" + "9" * 5000 + "]]", "[" * 5000, '[{"cursor": "x"}, 5]', '[{"label": 5}, ["a"]]']
    made = [base64.urlsafe_b64encode(one.encode()).decode() for one in whole]
    return [*made, "", "=", "a", "é", "\x00", "!!!!", "W10", "x" * 9000, base64.urlsafe_b64encode(b"\xff\xfe").decode()]


LISTS = ("/v1/tasks", "/v1/files", f"/v1/tasks/{task_id()}/events", f"/v1/tasks/{task_id()}/files")


async def test_a_cursor_that_was_tampered_with_is_422(client: httpx.AsyncClient) -> None:
    await register(client)
    for path in LISTS:
        for cursor in tampered():
            response = await client.get(path, params={"cursor": cursor})
            assert (path, cursor, response.status_code) == (path, cursor, 422)
            assert response.json()["errors"][0]["pointer"] == "cursor"


async def test_a_cursor_of_another_list_is_422(client: httpx.AsyncClient, service: Service) -> None:
    for number in range(2):
        await register(client, number)
    await observe(service, task_id(), Status.ONGOING, seen_file("a"), seen_file("b"))
    cursors = {path: (await client.get(path, params={"limit": 1})).json()["next_cursor"] for path in LISTS}
    assert all(cursors.values())
    for path in LISTS:
        for other in LISTS:
            response = await client.get(path, params={"cursor": cursors[other]})
            assert (path, other, response.status_code) == (path, other, 200 if path == other else 422)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(minute(0)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(value=st.tuples(st.just({}) | json_values, json_values), path=st.sampled_from(LISTS))
@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_cursor_whatever_crashes_a_list(tampering: Any, value: Any, path: str) -> None:
    cursor = base64.urlsafe_b64encode(json.dumps(value).encode()).decode()
    assert tampering(path, cursor) in (200, 422)


@pytest.fixture
def tampering(settings: MakeSettings) -> Any:
    """Asks for a list with a cursor, in a loop of its own: Hypothesis drives plain functions only."""
    loop = asyncio.Runner()
    opened = open_service(settings())
    service = loop.run(opened.__aenter__())
    transport = httpx.ASGITransport(create_app(service))
    client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")
    loop.run(register(client))

    def ask(path: str, cursor: str) -> int:
        return loop.run(client.get(path, params={"cursor": cursor})).status_code

    yield ask
    loop.run(client.aclose())
    loop.run(opened.__aexit__(None, None, None))
    loop.close()
