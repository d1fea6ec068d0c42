"""What every answer forbids those who get it, errors included; generated from the routing table."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from app.api.pages import DASHBOARD_POLICY, POLICY
from app.main import create_app
from app.settings import load_settings
from app.wiring import Service, open_service
from tests.api.test_authentication import KEYS, SECRETS, bearer, routes
from tests.world import APP, SECRET, HandClock, open_client, register, sqlite_url, task_id

ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
NO_FRAME = "frame-ancestors 'none'"
PAGES = {"/": DASHBOARD_POLICY, "/docs": POLICY, "/docs/problems": POLICY}


@pytest.fixture
async def service(tmp_path: Path, clock: HandClock) -> AsyncIterator[Service]:
    settings = load_settings(
        database_url=sqlite_url(tmp_path / "one.db"),
        zego_app_id=APP,
        zego_server_secret=SECRET,
        api_keys=KEYS,
    )
    async with open_service(settings, clock=clock) as service:
        yield service


@pytest.fixture
async def stranger(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with open_client(service) as client:
        yield client


def faults(response: httpx.Response) -> list[str]:
    """What is wrong with the headers of an answer."""
    path = response.request.url.path
    page = path in PAGES and response.is_success
    kept = "no-cache" if page or (path.startswith("/assets/") and response.is_success) else "no-store"
    wanted = ALWAYS | {"Cache-Control": kept}
    wrong = [name for name, value in wanted.items() if response.headers.get_list(name) != [value]]
    policies = response.headers.get_list("Content-Security-Policy")
    if len(policies) != 1 or NO_FRAME not in policies[0] or not policies[0].startswith("default-src 'none'; "):
        wrong.append("Content-Security-Policy")
    if page and policies != [PAGES[path]]:
        wrong.append("the policy of a page")
    return wrong + [name for name in ("Server", "X-Powered-By") if name in response.headers]


async def test_every_route_says_so_whether_it_lets_a_caller_in_or_not(
    service: Service, stranger: httpx.AsyncClient
) -> None:
    async with open_client(service, SECRETS["admin"]) as admin:
        await register(admin)
        service.stop()  # streams end at once
        statuses = set()
        for method, path in routes(create_app(service)):
            url = "/assets/docs.css" if path == "/assets" else path.replace("{task_id}", task_id())
            for client in (admin, stranger):
                response = await client.request(method, url)
                statuses.add(response.status_code)
                assert (method, url, response.status_code, faults(response)) == (method, url, response.status_code, [])
    assert {200, 401, 404, 422} <= statuses


async def test_every_kind_of_error_says_so(service: Service, stranger: httpx.AsyncClient) -> None:
    json = {"Content-Type": "application/json"}
    admin = bearer(SECRETS["admin"])
    tried = {
        400: await stranger.post("/v1/callbacks/zego", content=b"hello"),
        401: await stranger.get("/v1/tasks"),
        403: await stranger.get("/v1/callbacks", headers=bearer(SECRETS["read"])),
        404: await stranger.get("/nowhere"),
        405: await stranger.put("/v1/tasks", headers=admin | json),
        413: await stranger.post("/v1/tasks", content=b" " * 1_100_000, headers=admin | json),
        415: await stranger.post("/v1/tasks", content=b"a", headers=admin),
        422: await stranger.post("/v1/tasks", content=b"{", headers=admin | json),
    }
    async with service.database.write() as connection:
        await connection.execute(text("ALTER TABLE tasks RENAME TO gone"))
    with capture_logs():
        tried[500] = await stranger.get("/v1/tasks", headers=admin)
    for status, response in tried.items():
        assert (status, faults(response)) == (response.status_code, [])


async def test_who_has_an_etag_is_answered_304_though_nobody_on_the_way_may_keep_anything(service: Service) -> None:
    async with open_client(service, SECRETS["admin"]) as admin:
        await register(admin)
        first = await admin.get(f"/v1/tasks/{task_id()}")
        again = await admin.get(f"/v1/tasks/{task_id()}", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content, faults(again)) == (304, b"", [])
    assert again.headers["ETag"] == first.headers["ETag"]


async def test_an_answer_without_one_of_them_would_be_noticed(stranger: httpx.AsyncClient) -> None:
    good = await stranger.get("/livez")
    for name in (*ALWAYS, "Cache-Control", "Content-Security-Policy"):
        headers = httpx.Headers([(key, value) for key, value in good.headers.items() if key != name.lower()])
        assert faults(httpx.Response(200, headers=headers, request=good.request)) == [name]
    banner = httpx.Response(200, headers={**good.headers, "Server": "some"}, request=good.request)
    assert faults(banner) == ["Server"]
