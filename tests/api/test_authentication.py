"""Who may enter: the role each route needs, and the guard of a service without keys."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from app.api.keys import find_key
from app.main import create_app
from app.settings import ApiKey
from app.wiring import Service, open_service
from tests.world import HandClock, MakeSettings, open_client, register, task_id

ROLES = ("read", "write", "admin")
SECRETS = {role: f"secret-of-{role}-keys" for role in ROLES}
OLD, HASHED, ACCENTED = "the-old-secret-of-admin", "secret-of-a-hashed-key", "clé-très-secrète-🔑"
REVOKED = "the-revoked-secret-of-admin"
KEYS = ",".join(
    [
        *(f"{role}er:{role}:{secret}" for role, secret in SECRETS.items()),
        f"adminer:admin:{OLD}",
        f"french:read:{ACCENTED}",
        f"hashed:read:sha256={hashlib.sha256(HASHED.encode()).hexdigest()}",
    ]
)
JSON = {"Content-Type": "application/json"}

ROUTES = {
    ("POST", "/v1/tasks"): "write",
    ("POST", "/v1/tasks/batch"): "write",
    ("GET", "/v1/tasks"): "read",
    ("GET", "/v1/tasks/{task_id}"): "read",
    ("PATCH", "/v1/tasks/{task_id}"): "write",
    ("DELETE", "/v1/tasks/{task_id}"): "admin",
    ("POST", "/v1/tasks/{task_id}/refresh"): "write",
    ("POST", "/v1/tasks/{task_id}/untrack"): "admin",
    ("POST", "/v1/tasks/{task_id}/track"): "write",
    ("GET", "/v1/tasks/{task_id}/answer"): "read",
    ("GET", "/v1/tasks/{task_id}/events"): "read",
    ("GET", "/v1/tasks/{task_id}/files"): "read",
    ("GET", "/v1/files"): "read",
    ("GET", "/v1/events"): "read",
    ("GET", "/v1/events/stream"): "read",
    ("POST", "/v1/callbacks/zego"): "open",
    ("GET", "/v1/callbacks"): "admin",
    ("POST", "/v1/subscriptions"): "admin",
    ("GET", "/v1/subscriptions"): "read",
    ("GET", "/v1/subscriptions/{subscription_id}"): "read",
    ("PATCH", "/v1/subscriptions/{subscription_id}"): "admin",
    ("DELETE", "/v1/subscriptions/{subscription_id}"): "admin",
    ("POST", "/v1/subscriptions/{subscription_id}/rotate-secret"): "admin",
    ("POST", "/v1/subscriptions/{subscription_id}/ping"): "admin",
    ("GET", "/v1/subscriptions/{subscription_id}/deliveries"): "admin",
    ("GET", "/v1/deliveries"): "admin",
    ("POST", "/v1/subscriptions/{subscription_id}/deliveries/{delivery_id}/redeliver"): "admin",
    ("POST", "/v1/subscriptions/{subscription_id}/replay"): "admin",
    ("GET", "/v1/stats"): "read",
    ("GET", "/v1/stats/outcomes"): "read",
    ("GET", "/v1/apps"): "read",
    ("PATCH", "/v1/apps/{app_id}"): "admin",
    ("GET", "/v1/audit"): "admin",
    ("GET", "/livez"): "open",
    ("GET", "/readyz"): "open",
    ("GET", "/metrics"): "read",
    ("GET", "/openapi.json"): "open",
    ("GET", "/"): "open",
    ("GET", "/docs"): "open",
    ("GET", "/docs/problems"): "open",
    ("GET", "/assets"): "open",
}
"""The role each route needs. A new route is entered here before its test passes."""


def routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    """What the application answers, by method and path."""
    for route in iter_route_contexts(app.routes):
        assert route.path is not None
        for method in (route.methods or {"GET"}) - {"HEAD"}:
            yield method, route.path


@pytest.fixture
async def guarded(settings: MakeSettings, clock: HandClock) -> AsyncIterator[Service]:
    """A service with keys of every role, after one that knew another admin's key."""
    before = settings(api_keys=f"{KEYS},adminer:admin:{REVOKED}")
    async with open_service(before, clock=clock) as service, open_client(service, REVOKED) as client:
        assert (await client.get("/v1/audit")).status_code == 200
    async with open_service(settings(api_keys=KEYS), clock=clock) as service:
        yield service


@pytest.fixture
async def stranger(guarded: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with open_client(guarded) as client:
        yield client


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


async def test_every_route_is_entered_in_the_table_of_roles(guarded: Service) -> None:
    assert set(routes(create_app(guarded))) == ROUTES.keys()


def allowed(needed: str, role: str | None) -> int | None:
    """The status that keeps a caller of this role out; None lets it in."""
    if needed == "open":
        return None
    if role is None:
        return 401
    return 403 if ROLES.index(role) < ROLES.index(needed) else None


async def test_each_route_lets_in_its_role_and_those_above_it_alone(
    guarded: Service, stranger: httpx.AsyncClient
) -> None:
    callers: dict[str, tuple[dict[str, str], str, str | None]] = {
        "no key": ({}, "", None),
        "an empty key": ({"Authorization": "Bearer "}, "", None),
        "a wrong key": (bearer("x" * 20), "", None),
        "a revoked key": (bearer(REVOKED), "", None),
        "a key in the query": ({}, f"?key={SECRETS['admin']}&access_token={SECRETS['admin']}", None),
        "a key in another header": ({"X-Api-Key": SECRETS["admin"]}, "", None),
        "a key by another scheme": ({"Authorization": f"Basic {SECRETS['admin']}"}, "", None),
        **{role: (bearer(secret), "", role) for role, secret in SECRETS.items()},
    }
    guarded.stop()  # streams end at once
    for method, path in routes(create_app(guarded)):
        for caller, (headers, query, role) in callers.items():
            url = path.replace("{task_id}", task_id()) + query
            response = await stranger.request(method, url, headers=headers | JSON)
            expected = allowed(ROUTES[method, path], role)
            refused = response.status_code if response.status_code in (401, 403) else None
            assert (method, path, caller, refused) == (method, path, caller, expected)
            if refused:
                assert response.json()["code"] == {401: "unauthenticated", 403: "forbidden"}[refused]
                assert ("WWW-Authenticate" in response.headers) == (refused == 401)
                assert SECRETS["admin"] not in response.text


async def test_a_key_too_low_changes_nothing(guarded: Service, stranger: httpx.AsyncClient) -> None:
    async with open_client(guarded, SECRETS["admin"]) as admin:
        before = await register(admin)
        for secret in (SECRETS["read"], "x" * 20):
            for method, rest in (("PATCH", ""), ("DELETE", ""), ("POST", "/refresh"), ("POST", "/untrack")):
                url = f"/v1/tasks/{task_id()}{rest}"
                refused = await stranger.request(method, url, json={"labels": {"a": "b"}}, headers=bearer(secret))
                assert refused.status_code in (401, 403)
            await stranger.post("/v1/tasks", json={"task_id": task_id(1)}, headers=bearer(secret))
        assert (await admin.get("/v1/tasks", params={"include": "files"})).json()["items"] == [before]


async def test_a_key_may_be_rotated_and_may_be_kept_as_its_hash(stranger: httpx.AsyncClient) -> None:
    for secret in (OLD, HASHED, ACCENTED, *SECRETS.values()):
        for scheme in ("Bearer", "bearer"):
            headers = httpx.Headers({"Authorization": f"{scheme} {secret}"}, encoding="utf-8")
            assert (secret, (await stranger.get("/v1/tasks", headers=headers)).status_code) == (secret, 200)


RESEMBLING = (
    SECRETS["read"][:-1],
    SECRETS["read"] + "x",
    SECRETS["read"].upper(),
    f"reader:read:{SECRETS['read']}",
    "sha256=" + hashlib.sha256(HASHED.encode()).hexdigest(),
    hashlib.sha256(HASHED.encode()).hexdigest(),
    "\xff\xfe",
)


async def test_what_only_resembles_a_key_is_none(stranger: httpx.AsyncClient) -> None:
    for given in RESEMBLING:
        headers = httpx.Headers({"Authorization": f"Bearer {given}"}, encoding="latin-1")
        assert (given, (await stranger.get("/v1/tasks", headers=headers)).status_code) == (given, 401)


class Watched(bytes):
    """A hash that must be compared in constant time: not by the language's own means, which stop where two differ."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared in a time that tells how much of it is right")


class Counted(list[ApiKey]):
    """Keys that count how many of them were looked at."""

    looked_at = 0

    def __iter__(self) -> Iterator[ApiKey]:
        for key in super().__iter__():
            self.looked_at += 1
            yield key


def test_secrets_are_kept_as_hashes_and_compared_in_constant_time_whichever_is_given(settings: MakeSettings) -> None:
    there = settings(api_keys=KEYS)
    kept = repr(there.api_keys) + repr(there) + repr(there.model_dump())
    for secret in (*SECRETS.values(), OLD, HASHED, ACCENTED):
        assert secret not in kept
    keys = Counted(key._replace(sha256=Watched(key.sha256)) for key in there.api_keys)
    for secret, name in ((SECRETS["read"], "reader"), (HASHED, "hashed"), (OLD, "adminer"), ("x" * 20, None)):
        keys.looked_at = 0
        found = find_key(keys, {"headers": [(b"authorization", f"Bearer {secret}".encode())]})
        assert (found.name if found else None, keys.looked_at) == (name, len(keys))


async def test_a_stranger_learns_nothing_from_what_is_wrong_with_a_body(stranger: httpx.AsyncClient) -> None:
    for content in (b"{", b"\xff", b"{}", b'{"task_id": 1}', b"[" * 10_000):
        response = await stranger.post("/v1/tasks", content=content, headers=JSON)
        assert (content[:9], response.status_code) == (content[:9], 401)


async def test_a_service_with_keys_answers_whichever_name_it_is_called_by(stranger: httpx.AsyncClient) -> None:
    headers = {"Host": "recordings.example", "Origin": "https://elsewhere.example", "X-Forwarded-For": "192.0.2.1"}
    assert (await stranger.get("/v1/tasks", headers=headers | bearer(SECRETS["read"]))).status_code == 200


# -- without keys

FOREIGN = [
    {"Host": "recordings.example"},
    {"Host": "127.0.0.1.evil.example"},
    {"Host": "192.0.2.1:8000"},
    {"Host": ""},
    {"Host": "localhost@evil.example"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "http://evil.example:80#127.0.0.1"},
    {"Forwarded": "for=192.0.2.1"},
    {"X-Forwarded-For": "127.0.0.1"},
    {"X-Forwarded-Host": "localhost"},
    {"X-Forwarded-Proto": "https"},
]
OWN = [
    {},
    {"Host": "localhost"},
    {"Host": "LOCALHOST:8000"},
    {"Host": "127.0.0.1:8000"},
    {"Host": "[::1]:8000"},
    {"Host": "[::1]"},
    {"Origin": "http://127.0.0.1:8000"},
    {"Origin": "http://localhost:3000"},
    {"Origin": "http://[::1]:8000"},
]


async def test_a_service_without_keys_answers_its_own_machine_alone(client: httpx.AsyncClient) -> None:
    body = {"task_id": task_id()}
    for headers in FOREIGN:
        for response in (
            await client.get("/v1/tasks", headers=headers),
            await client.post("/v1/tasks", json=body, headers=headers),
            await client.get("/readyz", headers=headers),
        ):
            assert (headers, response.status_code) == (headers, 403)
            assert response.headers["Content-Type"] == "application/problem+json"
            assert response.json()["code"] == "forbidden"
            assert response.json()["request_id"] == response.headers["X-Request-Id"]
    for headers in OWN:
        assert (headers, (await client.get("/v1/tasks", headers=headers)).json()["items"]) == (headers, [])


async def test_a_service_without_keys_asks_for_none(client: httpx.AsyncClient) -> None:
    await register(client)
    assert (await client.delete(f"/v1/tasks/{task_id()}")).status_code == 204
