"""Who did what: a line for each request that changed something, and none for any other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.wiring import Service, open_service
from tests.api.test_authentication import ROUTES, SECRETS
from tests.world import APP, HandClock, MakeSettings, open_client, register, task_id, text

KEYS = ",".join(f"{role}er:{role}:{secret}" for role, secret in SECRETS.items())
TASK = f"/v1/tasks/{task_id()}"
HOOK = {"name": "billing", "url": "https://billing.example/secret-path", "types": ["task.registered"]}


@pytest.fixture
async def service(settings: MakeSettings, clock: HandClock) -> AsyncIterator[Service]:
    async with open_service(settings(api_keys=KEYS, rate_limit="1000000/s"), clock=clock) as service:
        yield service


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with open_client(service, SECRETS["admin"]) as client:
        yield client


async def lines(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    """The lines, oldest first."""
    response = await client.get("/v1/audit", params=query)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["items"]
    return found[::-1]


async def told(client: httpx.AsyncClient) -> list[tuple[str, str | None, dict[str, Any]]]:
    """What the lines tell, oldest first."""
    return [(one["action"], one["subject"], one["details"]) for one in await lines(client)]


async def subscribed(client: httpx.AsyncClient, **more: Any) -> str:
    answer = await client.post("/v1/subscriptions", json=HOOK | more)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["subscription_id"])


async def test_a_line_tells_who_did_what_and_when_and_in_which_request(
    client: httpx.AsyncClient, service: Service, clock: HandClock
) -> None:
    async with open_client(service, SECRETS["write"]) as writer:
        await writer.post("/v1/tasks", json={"task_id": task_id()}, headers={"X-Request-Id": "mine"})
    (line,) = await lines(client)
    assert line.pop("id").startswith("aud_")
    assert line == {
        "at": text(clock.now()),
        "key": "writeer",
        "action": "task.register",
        "subject": task_id(),
        "details": {},
        "request_id": "mine",
    }


async def test_what_is_done_to_tasks(client: httpx.AsyncClient) -> None:
    await register(client)
    await register(client, labels={"team": "a name", "b": "c"})
    await client.patch(TASK, json={"labels": {"team": None, "x": "y"}})
    await client.post(f"{TASK}/untrack")
    await client.post(f"{TASK}/track")
    await client.delete(TASK)
    assert await told(client) == [
        ("task.register", task_id(), {}),
        ("task.label", task_id(), {"labels": ["b", "team"]}),
        ("task.label", task_id(), {"labels": ["team", "x"]}),
        ("task.untrack", task_id(), {}),
        ("task.track", task_id(), {}),
        ("task.delete", task_id(), {}),
    ]
    assert "a name" not in (await client.get("/v1/audit")).text  # the erasure would have missed it


async def test_a_batch_is_one_line(client: httpx.AsyncClient) -> None:
    await register(client, 7)
    tasks = [{"task_id": task_id(number)} for number in range(5)]
    merged = [{"task_id": task_id(7), "labels": {"a": "b"}}, {"task_id": task_id(0), "labels": {"a": "b"}}]
    answer = await client.post("/v1/tasks/batch", json={"tasks": [*tasks, *merged, {"task_id": "wrong"}]})
    assert answer.json()["created"] == 5
    assert await told(client) == [
        ("task.register", task_id(7), {}),
        ("task.register", None, {"created": 5, "labelled": 1}),
    ]


async def test_what_is_done_to_subscriptions(client: httpx.AsyncClient, clock: HandClock) -> None:
    one = await subscribed(client)
    url = f"/v1/subscriptions/{one}"
    await register(client)
    await client.patch(url, json={"enabled": False, "max_in_flight": 10, "labels": {"a": "b"}})
    await client.patch(url, json={"enabled": True})
    await client.post(f"{url}/rotate-secret")
    (delivery,) = (await client.get(f"{url}/deliveries")).json()["items"]
    again = await client.post(f"{url}/deliveries/{delivery['delivery_id']}/redeliver")
    assert again.status_code == 202
    replayed = await client.post(f"{url}/replay", json={"since": text(clock.now()), "only": "all"})
    assert replayed.json() == {"count": 0}  # it waits to be sent already
    await client.delete(url)
    assert [line for line in await told(client) if line[0] != "task.register"] == [
        ("subscription.create", one, {"name": "billing"}),
        ("subscription.change", one, {"name": "billing", "changed": ["labels", "enabled"]}),
        ("subscription.change", one, {"name": "billing", "changed": ["enabled"]}),
        ("subscription.rotate_secret", one, {"name": "billing"}),
        ("delivery.redeliver", one, {"delivery_id": delivery["delivery_id"]}),
        ("subscription.delete", one, {"name": "billing"}),
    ]
    shown = (await client.get("/v1/audit")).text
    assert "secret-path" not in shown
    assert "whsec_" not in shown


async def test_a_replay_is_one_line_that_counts_all_of_it(
    client: httpx.AsyncClient, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.tracking.subscriptions.PAGE", 2)
    since = text(clock.now())
    clock.advance(1)
    for number in range(5):
        await register(client, number)
    one = await subscribed(client)
    url = f"/v1/subscriptions/{one}/replay"
    assert (await client.post(url, json={"since": since, "dry_run": True})).json() == {"count": 5}
    assert (await client.post(url, json={"since": since})).json() == {"count": 5}
    details = {"name": "billing", "only": "undelivered", "count": 5, "since": since, "until": None}
    assert (await told(client))[-2:] == [
        ("subscription.create", one, {"name": "billing"}),
        ("subscription.replay", one, details),
    ]


async def test_switches_tell_what_was_turned(client: httpx.AsyncClient) -> None:
    for body in ({"polling": "paused", "poll_budget": 10}, {"polling": "paused"}, {"poll_budget": 3}, {}):
        assert (await client.patch(f"/v1/apps/{APP}", json=body)).status_code == 200
    assert await told(client) == [
        ("app.switch", str(APP), {"polling": "paused"}),
        ("app.switch", str(APP), {"poll_budget": 3}),
    ]


SILENT = {"/v1/tasks/{task_id}/refresh", "/v1/subscriptions/{subscription_id}/ping", "/v1/callbacks/zego"}
"""They change nothing that a caller would be asked about: app.tracking.audit."""


async def test_every_write_has_its_line_or_is_known_to_have_none(client: httpx.AsyncClient, clock: HandClock) -> None:
    """By the table of routes, so that a new one without a line is noticed."""
    since = text(clock.now())
    clock.advance(1)
    await register(client, 2)
    one = await subscribed(client)
    await register(client, 3)
    (delivery,) = (await client.get(f"/v1/subscriptions/{one}/deliveries")).json()["items"]
    places = {"subscription_id": one, "task_id": task_id(), "app_id": APP, "delivery_id": delivery["delivery_id"]}
    bodies: dict[str, Any] = {
        "/v1/tasks": {"task_id": task_id()},
        "/v1/tasks/batch": {"tasks": [{"task_id": task_id(1)}]},
        "/v1/tasks/{task_id}": {"labels": {"a": "b"}},
        "/v1/subscriptions": HOOK | {"name": "other"},
        "/v1/subscriptions/{subscription_id}": {"description": "another"},
        "/v1/subscriptions/{subscription_id}/replay": {"since": since},
        "/v1/apps/{app_id}": {"poll_budget": 4},
    }
    writes = [(method, path) for method, path in ROUTES if method != "GET" and path not in SILENT]
    for method, path in sorted(writes, key=lambda write: write[0] == "DELETE"):
        before = await lines(client)
        answer = await client.request(
            method, path.format(**places), json=bodies.get(path) if method != "DELETE" else None
        )
        assert answer.is_success, (method, path, answer.text)
        after = await lines(client)
        assert len(after) == len(before) + 1, (method, path)
        assert after[-1]["key"] == "adminer"
        assert after[-1]["request_id"] == answer.headers["X-Request-Id"]
    before = await lines(client)
    await register(client)
    for path in SILENT:
        await client.post(path.format(**places), json={})
    assert [one["subject"] for one in await lines(client)][len(before) :] == [task_id()]  # the registration alone


async def test_what_changes_nothing_and_what_is_refused_is_no_line(client: httpx.AsyncClient, clock: HandClock) -> None:
    await register(client, labels={"a": "b"})
    one = await subscribed(client)
    before = await lines(client)
    for _ in range(2):
        await register(client, labels={"a": "b"})
        await client.post("/v1/tasks/batch", json={"tasks": [{"task_id": task_id()}, {"task_id": "wrong"}]})
        await client.patch(TASK, json={"labels": {"a": "b", "none": None}})
        await client.post(f"{TASK}/track")
        await client.post("/v1/subscriptions", json=HOOK)
        await client.patch(f"/v1/subscriptions/{one}", json={"max_in_flight": 10, "enabled": True})
        await client.post(f"/v1/subscriptions/{one}/replay", json={"since": text(clock.now()), "dry_run": True})
    refused = [
        await client.post("/v1/tasks", json={"task_id": task_id(1), "app_id": 99}),
        await client.patch(TASK, json={"labels": {"a": "c"}}, headers={"If-Match": '"0"'}),
        await client.patch(TASK, json={"labels": {str(number): "" for number in range(17)}}),
        await client.post("/v1/tasks", json={"task_id": task_id(), "labels": {str(n): "" for n in range(16)}}),
        await client.delete(f"/v1/tasks/{task_id(5)}"),
        await client.post("/v1/subscriptions", json=HOOK | {"max_in_flight": 3}),
        await client.patch(f"/v1/subscriptions/{one}", json={"url": "https://127.0.0.1/"}),
        await client.delete("/v1/subscriptions/sub_0"),
        await client.post("/v1/subscriptions/sub_0/rotate-secret"),
        await client.post(f"/v1/subscriptions/{one}/deliveries/dlv_99/redeliver"),
        await client.post("/v1/subscriptions/sub_0/replay", json={"since": text(clock.now())}),
        await client.patch(f"/v1/apps/{APP}", json={"poll_budget": 11}),
        await client.patch("/v1/apps/99", json={"polling": "paused"}),
    ]
    assert {400 <= one.status_code < 500 for one in refused} == {True}, [one.status_code for one in refused]
    assert await lines(client) == before


async def test_without_keys_a_line_names_none(settings: MakeSettings, clock: HandClock) -> None:
    async with open_service(settings(), clock=clock) as service, open_client(service) as client:
        await register(client)
        assert [one["key"] for one in await lines(client)] == [None]


async def test_the_list_is_narrowed_and_paged(client: httpx.AsyncClient, service: Service, clock: HandClock) -> None:
    async with open_client(service, SECRETS["write"]) as writer:
        for number in range(5):
            await register(writer if number % 2 else client, number)
            clock.advance(10)
    moments = [one["at"] for one in await lines(client)]
    await client.post(f"{TASK}/untrack")

    async def subjects(**query: Any) -> list[str]:
        return [one["subject"][-1] for one in await lines(client, **query)]

    assert await subjects(key="writeer") == ["1", "3"]
    assert await subjects(key="writeer,adminer", action="task.register") == ["0", "1", "2", "3", "4"]
    assert await subjects(action="task.untrack,task.track") == ["0"]
    assert await subjects(key="nobody") == []
    assert await subjects(after=moments[1], before=moments[4]) == ["2", "3"]
    for wrong in ({"action": "typo"}, {"after": "yesterday"}, {"keys": "a"}, {"cursor": "x"}, {"key": "\x00"}):
        assert (await client.get("/v1/audit", params=wrong)).status_code == 422

    found: list[str] = []
    query: dict[str, Any] = {"action": "task.register", "limit": 2}
    while query.get("cursor", "") is not None:
        page = (await client.get("/v1/audit", params=query)).json()
        found += [one["subject"][-1] for one in page["items"]]
        query = {"cursor": page["next_cursor"], "limit": 2}
        await register(client, 10 + len(found))  # a new line does not shift the pages
    assert found == ["4", "3", "2", "1", "0"]
