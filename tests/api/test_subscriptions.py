"""The doors to subscriptions and deliveries: what they take, what they show, and the secret they show once."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from app.wiring import Service, open_service
from tests.sink import Reply, Sink, is_signed_by, open_sink
from tests.world import HandClock, MakeSettings, open_client, register, task_id, text

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
OTHER = "whsec_" + base64.b64encode(b"o" * 24).decode()


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with open_sink() as sink:
        yield sink


@pytest.fixture
async def service(settings: MakeSettings, clock: HandClock, sink: Sink) -> AsyncIterator[Service]:
    async with open_service(sink.settings(settings), clock=clock) as service:
        yield service


async def subscribe(client: httpx.AsyncClient, sink: Sink, **more: Any) -> dict[str, Any]:
    response = await client.post("/v1/subscriptions", json={"name": "one", "url": sink.url(), **more})
    assert response.status_code == 201, response.text
    one: dict[str, Any] = response.json()
    return one


async def test_a_subscription_is_made_with_the_documented_defaults_and_shows_its_secret_once(
    client: httpx.AsyncClient, sink: Sink, clock: HandClock
) -> None:
    response = await client.post("/v1/subscriptions", json={"name": "one", "url": sink.url()})
    one = response.json()
    assert response.status_code == 201
    assert response.headers["Location"] == f"/v1/subscriptions/{one['subscription_id']}"
    secret = one.pop("secret")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    assert one == {
        "subscription_id": one["subscription_id"],
        "name": "one",
        "url": sink.url(),
        "types": [
            "file.backup_expiring", "task.deleted", "task.ended", "task.expired", "task.expiring", "task.reopened",
            "task.settled", "task.untracked", "task.updated",
        ],
        "app_id": None,
        "labels": {},
        "max_in_flight": 10,
        "description": None,
        "enabled": True,
        "disabled_at": None,
        "disabled_reason": None,
        "failing_since": None,
        "created_at": text(clock.now()),
        "updated_at": text(clock.now()),
    }  # fmt: skip
    assert (await client.get(response.headers["Location"])).json() == one
    assert (await client.get("/v1/subscriptions")).json() == {"items": [one], "next_cursor": None}


async def test_creation_may_be_repeated_but_not_with_other_settings(client: httpx.AsyncClient, sink: Sink) -> None:
    wanted: dict[str, Any] = {"types": ["task.settled", "task.ended"], "labels": {"a": "b"}, "secret": SECRET}
    first = await subscribe(client, sink, **wanted)
    assert first.pop("secret") == SECRET
    wanted |= {"name": "one", "url": sink.url(), "types": ["task.ended", "task.settled"]}
    for body in (wanted, {name: value for name, value in wanted.items() if name != "secret"}):
        again = await client.post("/v1/subscriptions", json=body)
        assert (again.status_code, again.json()) == (200, first)
    others: list[dict[str, Any]] = [
        {"url": sink.url("/x")},
        {"labels": {}},
        {"app_id": 1},
        {"secret": OTHER},
        {"max_in_flight": 2},
    ]
    for other in others:
        refused = await client.post("/v1/subscriptions", json={**wanted, **other})
        assert (other, refused.status_code, refused.json()["code"]) == (other, 409, "name_conflict")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "/name"),
    ({"name": "a/b"}, "/name"),
    ({"url": "ftp://example.com/"}, "/url"),
    ({"url": "https://user:secret@example.com/"}, "/url"),
    ({"types": []}, "/types"),
    ({"types": ["callback.received"]}, "/types/0"),
    ({"types": ["task.setled"]}, "/types/0"),
    ({"secret": "whsec_c2hvcnQ="}, "/secret"),
    ({"secret": "plain-secret-of-somebody"}, "/secret"),
    ({"secret": "whsec_" + base64.b64encode(b"x" * 65).decode()}, "/secret"),
    ({"max_in_flight": 0}, "/max_in_flight"),
    ({"max_in_flight": "10"}, "/max_in_flight"),
    ({"labels": {"A": "b"}}, "/labels/A/[key]"),
    ({"enable": True}, "/enable"),
]


@pytest.mark.parametrize(("wrong", "pointer"), WRONG)
async def test_what_is_wrong_is_named_and_changes_nothing(
    client: httpx.AsyncClient, sink: Sink, wrong: dict[str, Any], pointer: str
) -> None:
    refused = await client.post("/v1/subscriptions", json={"name": "one", "url": sink.url(), **wrong})
    assert refused.status_code == 422, refused.text
    assert refused.json()["errors"][0]["pointer"] == pointer
    assert str(wrong.get("secret", "never there")) not in refused.text
    assert (await client.get("/v1/subscriptions")).json()["items"] == []


async def test_a_subscription_is_changed_switched_off_and_on_and_removed(
    client: httpx.AsyncClient, sink: Sink, clock: HandClock
) -> None:
    one = await subscribe(client, sink, app_id=1)
    del one["secret"]
    address = f"/v1/subscriptions/{one['subscription_id']}"
    clock.advance(1)
    changed = (await client.patch(address, json={"app_id": None, "description": "d", "types": ["task.ended"]})).json()
    moved = {"app_id": None, "description": "d", "types": ["task.ended"], "updated_at": text(clock.now())}
    assert changed == one | moved
    off = (await client.patch(address, json={"enabled": False})).json()
    assert off == changed | {"enabled": False, "disabled_at": text(clock.now()), "disabled_reason": "caller"}
    assert (await client.patch(address, json={"enabled": True})).json() == changed
    assert (await client.patch(address, json={"name": "two"})).status_code == 422
    assert (await client.patch(address, json={"url": "gopher://x/"})).status_code == 422
    assert (await client.delete(address)).status_code == 204
    for method, rest in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/ping"), ("POST", "/rotate-secret")):
        assert (await client.request(method, address + rest, json={})).status_code == 404
    assert (await client.get(f"{address}/deliveries")).status_code == 404
    await subscribe(client, sink)  # the name is free again


async def test_a_ping_is_answered_with_its_attempt_also_while_disabled(
    client: httpx.AsyncClient, sink: Sink, clock: HandClock
) -> None:
    one = await subscribe(client, sink, secret=SECRET)
    address = f"/v1/subscriptions/{one['subscription_id']}"
    await client.patch(address, json={"enabled": False})
    sink.answer = lambda letter: Reply(418, body=b"teapot")
    response = await client.post(f"{address}/ping")
    assert response.status_code == 200
    attempt = response.json()
    assert isinstance(attempt.pop("duration_ms"), int)
    assert attempt == {"at": text(clock.now()), "status_code": 418, "error": None, "response_excerpt": "teapot"}
    (letter,) = sink.letters
    assert is_signed_by(letter, SECRET)
    assert letter.said["type"] == "ping"


async def test_a_secret_is_rotated_to_a_given_one_or_a_new_one(client: httpx.AsyncClient, sink: Sink) -> None:
    one = await subscribe(client, sink, secret=SECRET)
    address = f"/v1/subscriptions/{one['subscription_id']}"
    assert (await client.post(f"{address}/rotate-secret", json={"secret": OTHER})).json()["secret"] == OTHER
    made = (await client.post(f"{address}/rotate-secret")).json()["secret"]
    await client.post(f"{address}/ping")
    assert [is_signed_by(sink.letters[0], secret) for secret in (SECRET, OTHER, made)] == [True, True, True]
    assert (await client.post(f"{address}/rotate-secret", json={"secret": "x"})).status_code == 422


async def test_deliveries_are_listed_filtered_and_sent_again(
    client: httpx.AsyncClient, service: Service, sink: Sink, clock: HandClock
) -> None:
    one = await subscribe(client, sink, types=["task.registered", "task.updated"])
    two = await subscribe(client, sink, name="two", url=sink.url("/two"))
    sink.answer = lambda letter: Reply(500 if letter.path == "/two" else 200)
    for number in range(3):
        await register(client, number)
    await client.patch(f"/v1/tasks/{task_id()}", json={"labels": {"a": "b"}})
    await service.webhooks.run_once()
    own = f"/v1/subscriptions/{one['subscription_id']}/deliveries"
    first = (await client.get(own, params={"limit": 3})).json()
    rest = (await client.get(own, params={"cursor": first["next_cursor"]})).json()
    items = first["items"] + rest["items"]
    assert [item["type"] for item in items] == ["task.updated"] + ["task.registered"] * 3
    assert [item["task_id"] for item in items] == [task_id(), task_id(2), task_id(1), task_id(0)]
    assert rest["next_cursor"] is None
    every = (await client.get("/v1/deliveries")).json()["items"]
    assert len(every) == 5
    (failing,) = (await client.get("/v1/deliveries", params={"status": "pending,failed"})).json()["items"]
    assert failing["subscription_id"] == two["subscription_id"]
    assert failing["attempts"][0]["status_code"] == 500
    now = text(clock.now())
    for params, number in (
        ({"type": "task.updated"}, 2),
        ({"subscription_id": two["subscription_id"]}, 1),
        ({"created_after": now}, 0),
        ({"created_before": now}, 0),
    ):
        found = (await client.get("/v1/deliveries", params=params)).json()["items"]
        assert (params, len(found)) == (params, number)
    for wrong in ({"status": "lost"}, {"task": "x"}, {"cursor": "x"}):
        assert (await client.get("/v1/deliveries", params=wrong)).status_code == 422
    again = await client.post(f"{own}/{items[0]['delivery_id']}/redeliver")
    assert (again.status_code, again.json()["status"], again.json()["next_attempt_at"]) == (202, "pending", now)
    for stranger in (failing["delivery_id"], "dlv_0", "x", "dlv_99999999999999999999"):
        assert (await client.post(f"{own}/{stranger}/redeliver")).status_code == 404


async def test_a_replay_counts_and_queues(client: httpx.AsyncClient, service: Service, sink: Sink) -> None:
    since = text(service.clock.now())
    for number in range(3):
        await register(client, number)
    one = await subscribe(client, sink, types=["task.registered"])
    address = f"/v1/subscriptions/{one['subscription_id']}/replay"
    dry = await client.post(address, json={"since": since, "dry_run": True})
    assert (dry.status_code, dry.json()) == (202, {"count": 3})
    assert (await client.post(address, json={"since": since})).json() == {"count": 3}
    await service.webhooks.run_once()
    assert len(sink.letters) == 3
    assert (await client.post(address, json={"since": since})).json() == {"count": 0}
    assert (await client.post(address, json={"since": since, "only": "all"})).json() == {"count": 3}
    for wrong in ({}, {"since": 1}, {"since": since, "only": "some"}, {"since": since, "types": ["x"]}):
        assert (await client.post(address, json=wrong)).status_code == 422
    await client.patch(address.removesuffix("/replay"), json={"enabled": False})
    assert (await client.post(address, json={"since": since})).status_code == 422


async def test_secrets_stand_nowhere_but_in_the_answer_that_shows_them(
    client: httpx.AsyncClient, service: Service, sink: Sink
) -> None:
    with capture_logs() as logs:
        one = await subscribe(client, sink, secret=SECRET)
        address = f"/v1/subscriptions/{one['subscription_id']}"
        await client.post(f"{address}/rotate-secret", json={"secret": OTHER})
        await register(client)
        await client.patch(f"/v1/tasks/{task_id()}", json={"labels": {"a": "b"}})
        sink.answer = lambda letter: Reply(500)
        await service.webhooks.run_once()
        await client.post(f"{address}/ping")
        shown = [(await client.get(path)).text for path in (address, "/v1/subscriptions", "/v1/deliveries")]
    stored = await service.subscriptions.get(one["subscription_id"])
    for secret in (SECRET, OTHER):
        for place in (*shown, json.dumps(logs, default=str), repr(stored), str(stored)):
            assert secret not in place


async def test_lists_go_by_pages(client: httpx.AsyncClient, sink: Sink) -> None:
    for name in ("b", "a", "c"):
        await subscribe(client, sink, name=name)
    first = (await client.get("/v1/subscriptions", params={"limit": 2})).json()
    rest = (await client.get("/v1/subscriptions", params={"cursor": first["next_cursor"]})).json()
    assert [one["name"] for one in first["items"] + rest["items"]] == ["a", "b", "c"]


async def test_what_reads_may_not_steer(settings: MakeSettings, sink: Sink, clock: HandClock) -> None:
    keys = "boss:admin:secret-of-the-boss-1,eye:read:secret-of-the-eye-01"
    async with open_service(sink.settings(settings, api_keys=keys), clock=clock) as service:
        async with open_client(service, "secret-of-the-boss-1") as boss:
            one = await subscribe(boss, sink)
        async with open_client(service, "secret-of-the-eye-01") as eye:
            address = f"/v1/subscriptions/{one['subscription_id']}"
            assert (await eye.get(address)).status_code == 200
            assert (await eye.post(f"{address}/ping")).status_code == 403
            assert (await eye.get("/v1/deliveries")).status_code == 403
        assert sink.letters == []


async def test_the_numbers_tell_what_is_on_its_way(client: httpx.AsyncClient, sink: Sink, clock: HandClock) -> None:
    nothing = {"pending": 0, "oldest_pending_seconds": None, "failed": 0}
    assert (await client.get("/v1/stats")).json()["deliveries"] == nothing
    await client.post("/v1/subscriptions", json={"name": "a", "url": sink.url(), "types": ["task.registered"]})
    await client.post("/v1/tasks", json={"task_id": task_id()})
    clock.advance(7)
    waiting = (await client.get("/v1/stats")).json()["deliveries"]
    assert waiting == {"pending": 1, "oldest_pending_seconds": 7.0, "failed": 0}


async def test_metrics_count_attempts_by_result(service: Service, client: httpx.AsyncClient, sink: Sink) -> None:
    async def counted(result: str) -> float:
        text = (await client.get("/metrics")).text
        name = f'recording_status_delivery_attempts_total{{result="{result}"}} '
        return float(next(line for line in text.splitlines() if line.startswith(name)).removeprefix(name))

    before = {result: await counted(result) for result in ("delivered", "failed")}
    for name in ("good", "bad"):
        body = {"name": name, "url": sink.url(f"/{name}"), "types": ["task.registered"]}
        await client.post("/v1/subscriptions", json=body)
    sink.answer = lambda letter: Reply(200 if letter.path == "/good" else 500)
    await client.post("/v1/tasks", json={"task_id": task_id()})
    await service.webhooks.run_once()
    assert {result: await counted(result) - before[result] for result in before} == {"delivered": 1, "failed": 1}


async def test_an_empty_secret_is_no_secret_rather_than_none(client: httpx.AsyncClient, sink: Sink) -> None:
    wanted = {"name": "empty", "url": sink.url()}
    assert (await client.post("/v1/subscriptions", json=wanted | {"secret": ""})).status_code == 422
    path = f"/v1/subscriptions/{(await client.post('/v1/subscriptions', json=wanted)).json()['subscription_id']}"
    assert (await client.post(f"{path}/rotate-secret", json={"secret": ""})).status_code == 422
    assert (await client.post(f"{path}/rotate-secret", json={"secret": None})).status_code == 200
