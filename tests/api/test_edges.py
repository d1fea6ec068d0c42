"""Every limit of what callers may send, at its edge and one beyond it (docs/limits.md)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.wiring import open_service
from tests.world import MakeSettings, open_client, register, task_id

TASK = f"/v1/tasks/{task_id()}"
URL = "https://hooks.example.com/"


@pytest.fixture
async def client(settings: MakeSettings) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        open_service(settings(secret_key="a key for tests of limits")) as service,
        open_client(service) as client,
    ):
        yield client


def over(response: httpx.Response) -> bool:
    """Whether it was refused for going beyond a limit."""
    return response.status_code == 422 and response.json()["code"] == "invalid_request"


PARAMETERS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "a page": ("/v1/tasks", {"limit": 500}, {"limit": 501}),
    "a page with files": ("/v1/tasks", {"limit": 50, "include": "files"}, {"limit": 51, "include": "files"}),
    "ids": (
        "/v1/tasks",
        {"task_id": ",".join(map(task_id, range(100)))},
        {"task_id": ",".join(map(task_id, range(101)))},
    ),
    "labels": ("/v1/tasks", {"label": ["a:b"] * 16}, {"label": ["a:b"] * 17}),
    "a label": ("/v1/tasks", {"label": "a:" + "x" * 1022}, {"label": "a:" + "x" * 1023}),
    "a text": ("/v1/tasks", {"room_id": "x" * 1024}, {"room_id": "x" * 1025}),
    "a text of files": ("/v1/files", {"stream_id": "x" * 1024}, {"stream_id": "x" * 1025}),
    "a wait": (TASK, {"wait": 50, "version": 0}, {"wait": 51, "version": 0}),
    "no wait": (TASK, {"wait": 1, "version": 0}, {"wait": 0, "version": 0}),
    "a wait for events": ("/v1/events", {"wait": 50}, {"wait": 51}),
    "a page of events": ("/v1/events", {"limit": 500}, {"limit": 501}),
    "an app": ("/v1/tasks", {"app_id": 2**63 - 1}, {"app_id": 2**63}),
    "a version": (TASK, {"wait": 1, "version": 0}, {"wait": 1, "version": -1}),
}


@pytest.mark.parametrize("name", PARAMETERS)
async def test_a_parameter_is_taken_up_to_its_limit(client: httpx.AsyncClient, name: str) -> None:
    await register(client)
    path, most, more = PARAMETERS[name]
    assert (await client.get(path, params=most)).status_code == 200
    assert over(await client.get(path, params=more))


async def test_a_patch_names_a_thousand_labels_at_most(client: httpx.AsyncClient) -> None:
    await register(client)
    patch = {f"key{number}": None for number in range(1001)}
    assert over(await client.patch(TASK, json={"labels": patch}))
    del patch["key0"]
    assert (await client.patch(TASK, json={"labels": patch})).status_code == 200


MEMBERS: dict[str, tuple[Any, Any]] = {
    "name": ("n" * 100, "n" * 101),
    "url": (URL.ljust(1024, "x"), URL.ljust(1025, "x")),
    "types": (["task.settled"] * 50, ["task.settled"] * 51),
    "description": ("d" * 1024, "d" * 1025),
    "max_in_flight": (100, 101),
    "labels": ({f"k{n}": "" for n in range(16)}, {f"k{n}": "" for n in range(17)}),
    "secret": ("whsec_" + "A" * 86 + "==", "whsec_" + "A" * 87 + "="),
    "app_id": (2**63 - 1, 2**63),
}


@pytest.mark.parametrize("member", MEMBERS)
async def test_a_subscriptions_members_are_taken_up_to_their_limits(client: httpx.AsyncClient, member: str) -> None:
    most, more = MEMBERS[member]
    wanted = {"name": "one", "url": URL}
    assert over(await client.post("/v1/subscriptions", json={**wanted, member: more}))
    assert (await client.post("/v1/subscriptions", json={**wanted, member: most})).status_code == 201


async def test_there_are_so_many_subscriptions_and_no_more(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.tracking.subscriptions.MOST_SUBSCRIPTIONS", 3)

    async def subscribe(name: str) -> httpx.Response:
        return await client.post("/v1/subscriptions", json={"name": name, "url": URL})

    assert [(await subscribe(name)).status_code for name in "abc"] == [201] * 3
    assert over(await subscribe("d"))
    assert (await subscribe("a")).status_code == 200
    assert [one["name"] for one in (await client.get("/v1/subscriptions")).json()["items"]] == ["a", "b", "c"]
