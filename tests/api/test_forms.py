"""What every request and every answer has in common: forms, request ids, errors."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator, MutableMapping
from datetime import timedelta
from typing import Any

import httpx
import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from app.core.recording import FileStatus, Status
from app.errors import AnswerUnknown
from app.main import create_app
from app.wiring import Service
from tests.world import NOON, HandClock, fail, observe, register, seen_file, task_id, text

JSON = {"Content-Type": "application/json"}
ID = task_id()
SHOWN_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def problem(response: httpx.Response, code: str) -> dict[str, Any]:
    """The problem in an answer, which must have the contract's form."""
    assert response.headers["Content-Type"] == "application/problem+json"
    found: dict[str, Any] = response.json()
    wanted = {"type", "title", "status", "detail", "code", "request_id"}
    assert found.keys() == wanted | ({"errors"} if response.status_code == 422 else set())
    assert found["code"] == code
    assert found["type"] == f"/docs/problems#{code}"
    assert found["status"] == response.status_code
    assert found["request_id"] == response.headers["X-Request-Id"] != ""
    assert found["title"]
    assert found["detail"]
    assert all(fault.keys() == {"pointer", "detail"} for fault in found.get("errors", []))
    return found


# -- times


def times(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """All fields that hold a time."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from times(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from times(inner, name)
    elif value is not None and (name.endswith("_at") or name == "query_deadline"):
        yield name, value


async def test_every_time_is_shown_in_utc_with_three_decimals(
    client: httpx.AsyncClient, service: Service, clock: HandClock
) -> None:
    await register(client, started_at="2026-01-31T13:00:00.123456+02:00")
    await fail(service, ID, AnswerUnknown("unknown_code", "no idea"))
    seen: set[str] = set()
    for path in ("/v1/tasks/" + ID, f"/v1/tasks/{ID}/events", "/v1/tasks", f"/v1/tasks/{ID}/answer", "/v1/files"):
        for name, value in times((await client.get(path)).json()):
            assert SHOWN_TIME.fullmatch(value), (path, name, value)
            seen.add(name)
        if path == "/v1/tasks/" + ID:
            file = seen_file("a", FileStatus.UPLOADED_TO_BACKUP, began_at=NOON.replace(microsecond=120000))
            clock.advance(0.0625)
            await observe(service, ID, Status.COMPLETED, file, began_at=NOON, ended_at=NOON + timedelta(minutes=1))
    assert seen == TIMES


TIMES = {
    "at",
    "asked_at",
    "backup_expires_at",
    "began_at",
    "first_seen_at",
    "last_polled_at",
    "next_poll_at",
    "occurred_at",
    "query_deadline",
    "reached_end_at",
    "recording_began_at",
    "recording_ended_at",
    "registered_at",
    "settled_at",
    "updated_at",
} - {"at"}


async def test_a_time_is_taken_with_any_offset_and_any_number_of_decimals(client: httpx.AsyncClient) -> None:
    given = {
        "2026-01-31T11:00:00Z": "11:00:00.000",
        "2026-01-31t11:00:00z": "11:00:00.000",
        "2026-01-31T13:00:00+02:00": "11:00:00.000",
        "2026-01-31T11:00:00.5-00:00": "11:00:00.500",
        "2026-01-31T11:00:00.1239Z": "11:00:00.123",
        "2026-01-31T11:00:00.123456789Z": "11:00:00.123",
    }
    found = {}
    for number, moment in enumerate(given):
        deadline = (await register(client, number, started_at=moment))["query_deadline"]
        found[moment] = deadline.removeprefix("2026-02-03T").removesuffix("Z")
    assert found == given


# -- request ids


async def test_a_request_id_is_taken_and_returned(client: httpx.AsyncClient) -> None:
    for given in ("x", "a" * 64, "018f-0a_b.c/d+e=", "!~"):
        for path in ("/v1/tasks", "/nowhere", "/livez"):
            response = await client.get(path, headers={"X-Request-Id": given})
            assert response.headers.get_list("X-Request-Id") == [given]


async def test_another_request_id_is_given_where_none_can_be_taken(client: httpx.AsyncClient) -> None:
    ids = [(await client.get("/v1/tasks")).headers["X-Request-Id"]]
    for given in ("", "a" * 65, "a b", "caf\xe9", "a\tb"):
        headers = httpx.Headers({"X-Request-Id": given}, encoding="latin-1")
        ids.append((await client.get("/v1/tasks", headers=headers)).headers["X-Request-Id"])
        assert ids[-1] != given
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[\x21-\x7e]{1,64}", one) for one in ids)


# -- errors


async def test_the_frameworks_own_errors_are_problems(client: httpx.AsyncClient) -> None:
    answers = [
        (await client.get("/nowhere"), 404, "not_found"),
        (await client.get("/v1/tasks/"), 404, "not_found"),
        (await client.put("/v1/tasks", json={}), 405, "method_not_allowed"),
        (await client.delete("/v1/tasks"), 405, "method_not_allowed"),
        (await client.post(f"/v1/tasks/{ID}", json={}), 405, "method_not_allowed"),
        (await client.post("/v1/tasks", json={}), 422, "invalid_request"),
        (await client.get("/v1/tasks", params={"x": 1}), 422, "invalid_request"),
        (await client.post("/v1/tasks", content=b"{", headers=JSON), 422, "invalid_request"),
    ]
    for response, status, code in answers:
        assert (response.request.url, response.status_code) == (response.request.url, status)
        problem(response, code)
    assert answers[2][0].headers["Allow"] == "GET, POST"


async def test_a_refused_method_is_told_all_that_are_offered_at_the_address(client: httpx.AsyncClient) -> None:
    for path, offered in ((f"/v1/tasks/{ID}", "DELETE, GET, PATCH"), ("/v1/tasks/batch", "POST"), ("/livez", "GET")):
        assert (await client.put(path, json={})).headers["Allow"] == offered
    for method in ("GET", "PATCH", "DELETE", "HEAD"):  # "batch" is no task's id
        response = await client.request(method, "/v1/tasks/batch")
        assert (response.status_code, response.headers["Allow"]) == (405, "POST")


async def test_a_whole_number_may_be_written_with_a_point_but_not_as_text(client: httpx.AsyncClient) -> None:
    app = (await client.get("/v1/apps")).json()["items"][0]["app_id"]
    answers = [
        (
            await client.post(
                "/v1/tasks", content=b'{"task_id": "%b", "app_id": %b}' % (ID.encode(), given), headers=JSON
            )
        )
        for given in (b"%d.0" % app, b"%d.5" % app, b'"%d"' % app, b"true", b"1e999")
    ]
    assert [answer.status_code for answer in answers] == [201, 422, 422, 422, 422]


async def test_yes_and_no_are_not_numbers_nor_texts(client: httpx.AsyncClient) -> None:
    for given in (0, 1, "true"):
        path = "/v1/subscriptions/sub_0/replay"
        answer = await client.post(path, json={"since": "2026-01-31T12:00:00Z", "dry_run": given})
        assert problem(answer, "invalid_request")["errors"][0]["pointer"] == "/dry_run"


async def test_a_crash_is_a_problem_too_and_names_its_request(service: Service) -> None:
    app = create_app(service)

    @app.get("/crash")
    async def crash() -> None:
        raise RuntimeError("a secret of ours")

    transport = httpx.ASGITransport(app)
    with capture_logs(processors=[merge_contextvars]) as log:
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            response = await client.get("/crash", headers={"X-Request-Id": "mine"})
    assert [(line["event"], line["request_id"], line["path"]) for line in log] == [
        ("request crashed", "mine", "/crash")
    ]
    assert response.status_code == 500
    assert response.headers["X-Request-Id"] == "mine"
    assert "secret" not in response.text
    problem(response, "internal")


async def test_a_client_that_hangs_up_in_the_middle_of_its_request_is_no_crash(service: Service) -> None:
    path = "/v1/callbacks/zego"
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": [(b"host", b"127.0.0.1")]}
    arriving: list[dict[str, Any]] = [
        {"type": "http.request", "body": b'{"app_', "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> dict[str, Any]:
        return arriving.pop(0)

    async def send(message: MutableMapping[str, Any]) -> None:
        pytest.fail(f"there is nobody to say this to: {message}")

    with capture_logs() as log:
        await create_app(service)(scope, receive, send)
    assert [(line["event"], line["log_level"], line["path"]) for line in log] == [("client hung up", "info", path)]


async def test_a_write_must_say_that_it_is_json(client: httpx.AsyncClient) -> None:
    await register(client, 1)
    body = json.dumps({"task_id": ID}).encode()
    others = (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "",
    )
    for headers in ({}, *({"Content-Type": media} for media in others)):
        for method, path in (("POST", "/v1/tasks"), ("POST", "/v1/tasks/batch"), ("PATCH", f"/v1/tasks/{task_id(1)}")):
            response = await client.request(method, path, content=body, headers=headers)
            assert (headers, path, response.status_code) == (headers, path, 415)
            problem(response, "unsupported_media_type")
    assert (await client.get(f"/v1/tasks/{ID}")).status_code == 404


async def test_json_by_any_of_its_names_is_taken(client: httpx.AsyncClient) -> None:
    names = ("application/json", "Application/JSON; charset=utf-8", "application/merge-patch+json")
    for number, media in enumerate(names):
        body = json.dumps({"task_id": task_id(number)}).encode()
        response = await client.post("/v1/tasks", content=body, headers={"Content-Type": media})
        assert (media, response.status_code) == (media, 201)


async def test_a_write_without_a_body_needs_no_media_type(client: httpx.AsyncClient) -> None:
    await register(client)
    assert (await client.post(f"/v1/tasks/{ID}/refresh")).status_code == 202


BROKEN: dict[str, bytes] = {
    "empty": b"",
    "white space": b"  ",
    "half an object": b'{"task_id": "',
    "two objects": b"{}{}",
    "single quotes": b"{'task_id': 'x'}",
    "not UTF-8": b'{"task_id": "\xff\xfe"}',
    "half a UTF-16": b"\xff\xfe{",
    "NaN": b'{"task_id": NaN}',
    "NaN where a number may stand": b'{"task_id": "%s", "app_id": NaN}' % ID.encode(),
    "infinity as time": b'{"task_id": "%s", "started_at": -Infinity}' % ID.encode(),
    "NaN as label": b'{"task_id": "%s", "labels": {"a": NaN}}' % ID.encode(),
    "a huge number": b'{"task_id": "%s", "app_id": %s}' % (ID.encode(), b"9" * 4000),
    "a number beyond all": b'{"task_id": "%s", "app_id": %s}' % (ID.encode(), b"9" * 100_000),
    "a huge exponent": b'{"task_id": "%s", "app_id": 1e999999}' % ID.encode(),
    "deep nesting": b'{"task_id": ' + b"[" * 200_000,
    "deep nesting, well formed": b'{"task_id": "%s", "labels": %s}' % (ID.encode(), b"[" * 50_000 + b"]" * 50_000),
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "a lone surrogate": b'{"task_id": "%s", "labels": {"a": "\\ud800"}}' % ID.encode(),
    "a lone surrogate as name": b'{"task_id": "%s", "\\udc00": 1}' % ID.encode(),
    "a lone surrogate as key": b'{"task_id": "%s", "labels": {"\\udc00": ""}}' % ID.encode(),
    "no JSON at all": bytes(range(256)),
}


async def test_a_body_that_cannot_be_read_is_422(client: httpx.AsyncClient) -> None:
    for path, method in (("/v1/tasks", "POST"), ("/v1/tasks/batch", "POST"), (f"/v1/tasks/{ID}", "PATCH")):
        for case, content in BROKEN.items():
            response = await client.request(method, path, content=content, headers=JSON)
            assert (path, case, response.status_code) == (path, case, 422)
            pointers = [fault["pointer"] for fault in problem(response, "invalid_request")["errors"]]
            assert pointers, (path, case)
            assert all(re.fullmatch(r"(/[^/]*)*", pointer) for pointer in pointers)
    assert (await client.get("/v1/tasks")).json()["items"] == []


async def test_a_repeated_member_crashes_nothing(client: httpx.AsyncClient) -> None:
    content = b'{"task_id": "x", "task_id": "%s"}' % ID.encode()
    assert (await client.post("/v1/tasks", content=content, headers=JSON)).status_code in (201, 422)


async def test_broken_items_of_a_batch_crash_nothing(client: httpx.AsyncClient) -> None:
    items = [b"NaN", b"1e999", b"[" * 500 + b"]" * 500, b'{"task_id": NaN}', b'"\\ud800"', b"9" * 4000]
    response = await client.post("/v1/tasks/batch", content=b'{"tasks": [' + b",".join(items) + b"]}", headers=JSON)
    assert response.status_code == 200
    assert response.json()["invalid"] == len(items)


async def chunks(size: int) -> AsyncIterator[bytes]:
    """A JSON body of unknown length."""
    yield b'{"task_id": "%s"' % ID.encode()
    for _ in range(size // 65536):
        yield b" " * 65536
    yield b"}"


async def test_a_body_that_says_to_be_beyond_1_mib_is_413(client: httpx.AsyncClient) -> None:
    content = b"".join([part async for part in chunks(2**20)])
    for method, path in (("POST", "/v1/tasks"), ("PATCH", f"/v1/tasks/{ID}"), ("POST", "/nowhere")):
        response = await client.request(method, path, content=content, headers=JSON)
        assert (path, response.status_code) == (path, 413)
        problem(response, "too_large")
    assert (await client.get("/v1/tasks")).json()["items"] == []


async def test_a_body_that_turns_out_to_be_beyond_1_mib_is_413(client: httpx.AsyncClient) -> None:
    for method, path in (("POST", "/v1/tasks"), ("PATCH", f"/v1/tasks/{ID}")):
        response = await client.request(method, path, content=chunks(2**20), headers=JSON)
        assert (path, response.status_code) == (path, 413)
        problem(response, "too_large")
    assert (await client.get("/v1/tasks")).json()["items"] == []


async def test_a_body_of_1_mib_is_taken(client: httpx.AsyncClient) -> None:
    start, end = f'{{"task_id": "{ID}"', "}"
    content = (start + " " * (2**20 - len(start) - len(end)) + end).encode()
    assert (await client.post("/v1/tasks", content=content, headers=JSON)).status_code == 201


async def test_a_time_in_the_list_of_tasks_is_the_same_as_everywhere(client: httpx.AsyncClient) -> None:
    task = await register(client)
    (listed,) = (await client.get("/v1/tasks")).json()["items"]
    assert listed == {name: value for name, value in task.items() if name not in ("files", "files_truncated")}
    assert listed["registered_at"] == text(NOON)
