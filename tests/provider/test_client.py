import asyncio
import hashlib
import json
import re
import socket
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.clock import SystemClock
from app.core.recording import Status
from app.core.sweeping import Listed, Span
from app.errors import (
    AnswerUnknown,
    NeverSent,
    ProviderError,
    ProviderThrottled,
    ProviderUnavailable,
    TaskUnknown,
)
from app.provider.client import Provider
from app.provider.reading import ANSWER_LIMIT
from app.provider.task_list import ListPage
from tests.provider.scripted import (
    APP,
    BRIEF,
    RUNNING,
    SECRET,
    TASK,
    Behaviour,
    Server,
    a_provider,
    answer,
    answer_and_close,
    describe,
    drip,
    endless,
    failure,
    half_an_answer,
    hang_up,
    in_time,
    none_open,
    not_http,
    reset,
    silence,
)


class HeldUp(SystemClock):
    """A process that stands still for a minute between its ``after``-th and its next look at the monotonic clock."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._looks, self._after = 0, after

    def monotonic(self) -> float:
        self._looks += 1
        return super().monotonic() + (60 if self._looks > self._after else 0)


# -- what is sent


async def test_a_call_is_signed_as_documented(server: Server, provider: Provider) -> None:
    await describe(provider)
    (request,) = server.requests
    query = request.query
    assert (request.method, urlsplit(request.target).path) == ("POST", "/")
    assert query.keys() == {"Action", "AppId", "SignatureNonce", "Timestamp", "Signature", "SignatureVersion"}
    assert (query["Action"], query["AppId"], query["SignatureVersion"]) == ("DescribeRecordStatus", str(APP), "2.0")
    assert re.fullmatch("[0-9a-f]{16}", query["SignatureNonce"])
    assert abs(int(query["Timestamp"]) - time.time()) < 3
    signed = f"{APP}{query['SignatureNonce']}{SECRET}{query['Timestamp']}"
    assert query["Signature"] == hashlib.md5(signed.encode()).hexdigest()


async def test_the_body_is_the_task_id_alone(server: Server, provider: Provider) -> None:
    await describe(provider)
    (request,) = server.requests
    assert json.loads(request.body) == {"TaskId": TASK}
    assert request.headers["content-type"] == "application/json"
    assert SECRET not in request.target + request.body.decode() + str(request.headers)


@pytest.mark.parametrize(("configured", "sent"), [(None, None), (True, "true"), (False, "false")])
async def test_the_legacy_parameter_is_sent_only_where_it_is_configured(
    server: Server, configured: bool | None, sent: str | None
) -> None:
    provider = a_provider(server.url, is_test=configured)
    await describe(provider)
    await provider.close()
    assert server.requests[0].query.get("IsTest") == sent


async def test_every_call_has_a_nonce_of_its_own(server: Server, provider: Provider) -> None:
    await describe(provider)
    await describe(provider)
    first, second = (request.query for request in server.requests)
    assert first["SignatureNonce"] != second["SignatureNonce"]
    assert first["Signature"] != second["Signature"]


DAY = Span(datetime(2026, 3, 1, 12, tzinfo=UTC), datetime(2026, 3, 2, 12, 0, 0, 1000, tzinfo=UTC))


@pytest.mark.parametrize(("running", "status"), [(True, 2), (False, 3)])
@pytest.mark.parametrize("page", [1, 7])
async def test_a_page_of_the_task_list_is_asked_for_as_documented(
    server: Server, provider: Provider, running: bool, status: int, page: int
) -> None:
    server.script = [answer({"Code": 0, "Data": {"TaskidList": [{"TaskId": TASK, "Status": 1}], "TotalCount": 51}})]
    told = await provider.list_tasks(DAY, in_time(), running=running, page=page)
    assert told == ListPage((Listed(TASK, 1),), 51)
    (request,) = server.requests
    assert (request.method, request.query["Action"]) == ("POST", "DescribeTasks")
    assert request.headers["content-type"] == "application/json"
    assert json.loads(request.body) == {
        "Status": status,
        "StartTime": 1772366400000,
        "EndTime": 1772452800001,
        "PageOffset": page,
        "PageSize": 50,
    }
    signed = f"{APP}{request.query['SignatureNonce']}{SECRET}{request.query['Timestamp']}"
    assert request.query["Signature"] == hashlib.md5(signed.encode()).hexdigest()


async def test_the_list_fails_as_any_call_does(server: Server, provider: Provider) -> None:
    server.script = [answer({"Code": 300000003, "Message": "slow down"}), answer({"Code": 0, "Data": ["x"]}), reset]
    for error in (ProviderThrottled, AnswerUnknown, ProviderUnavailable):
        with pytest.raises(error):
            await provider.list_tasks(DAY, in_time(), running=True, page=1)


async def test_a_probe_asks_for_the_smallest_list_of_tasks(server: Server, provider: Provider) -> None:
    await provider.probe(in_time(), now=datetime(2026, 3, 1, 12, tzinfo=UTC))
    (request,) = server.requests
    assert request.query["Action"] == "DescribeTasks"
    end = 1772366400000
    assert json.loads(request.body) == {
        "Status": 2,
        "StartTime": end - 60_000,
        "EndTime": end,
        "PageOffset": 1,
        "PageSize": 1,
    }


@pytest.mark.parametrize("data", [None, {}, {"TaskidList": []}, {"anything": 1}])
async def test_a_probe_wants_an_answer_and_no_contents(server: Server, provider: Provider, data: Any) -> None:
    server.script = [answer({"Code": 0, "Data": data})]
    await provider.probe(in_time(), now=datetime.now(UTC))


async def test_a_probe_fails_as_any_call_does(server: Server, provider: Provider) -> None:
    server.script = [answer({"Code": 300000003, "Message": "slow down"}), reset]
    with pytest.raises(ProviderThrottled):
        await provider.probe(in_time(), now=datetime.now(UTC))
    with pytest.raises(ProviderUnavailable, match="connection_broken"):
        await provider.probe(in_time(), now=datetime.now(UTC))


# -- what is answered


async def test_an_answer_is_translated_and_kept_as_it_came(server: Server, provider: Provider) -> None:
    asked_at, call = datetime.now(UTC), in_time()
    told = await provider.describe(TASK, call, claim_no=3, asked_at=asked_at)
    observation = told.observation
    assert (observation.claim_no, observation.asked_at, observation.status) == (3, asked_at, Status.ONGOING)
    assert (told.body, told.request_id) == (json.dumps(RUNNING), "r1")


async def test_a_call_notes_when_it_was_sent_and_answered(provider: Provider) -> None:
    before, call = time.monotonic(), in_time()
    await describe(provider, call)
    assert call.sent_at is not None
    assert call.answered_at is not None
    assert before <= call.sent_at <= call.answered_at <= time.monotonic()


async def test_a_refusal_is_an_answer_and_names_its_request_id(server: Server, provider: Provider) -> None:
    server.script = [answer({"Code": 300001000, "Message": "no such task", "RequestId": "r-42"})]
    call = in_time()
    error = await failure(provider, call)
    assert isinstance(error, TaskUnknown)
    assert (error.request_id, error.reached) == ("r-42", "yes")
    assert "r-42" in str(error)
    assert call.answered_at is not None


@pytest.mark.parametrize(
    ("behaviour", "error", "code"),
    [
        (answer(b"<html>busy</html>"), ProviderUnavailable, "not_json"),
        (answer(b""), ProviderUnavailable, "not_json"),
        (answer(b"<html>oops</html>", 500), ProviderUnavailable, "http_error"),
        (answer(b"", 503), ProviderUnavailable, "http_error"),
        (answer(b"", 429), ProviderThrottled, "throttled"),
        (answer({"Code": 0}), AnswerUnknown, "garbled"),
        (answer({"Code": 5}), AnswerUnknown, "unknown_code"),
    ],
    ids=["HTML", "empty", "HTTP 500", "HTTP 503", "HTTP 429", "no Data", "unknown code"],
)
async def test_an_answer_that_tells_nothing_is_an_answer_all_the_same(
    server: Server, provider: Provider, behaviour: Behaviour, error: type[ProviderError], code: str
) -> None:
    server.script = [behaviour]
    told = await failure(provider)
    assert (type(told), told.code, told.reached) == (error, code, "yes")
    await describe(provider)
    assert server.connections == 1


async def test_a_redirection_is_not_followed(server: Server, provider: Provider) -> None:
    server.script = [answer(b"", 302, f"Location: {server.url}/elsewhere")]
    assert (await failure(provider)).code == "http_error"
    assert len(server.requests) == 1


# -- connections


async def test_calls_in_turn_share_a_connection(server: Server, provider: Provider) -> None:
    for _ in range(5):
        await describe(provider)
    assert [request.connection for request in server.requests] == [1] * 5


async def test_calls_at_once_have_a_connection_each_and_leave_them_to_later_ones(
    server: Server, provider: Provider
) -> None:
    for _ in range(2):
        await asyncio.gather(*(describe(provider) for _ in range(4)))
    assert (server.connections, len(server.requests)) == (4, 8)


async def test_closing_ends_the_idle_connections(server: Server, provider: Provider) -> None:
    await asyncio.gather(describe(provider), describe(provider))
    await provider.close()
    assert await none_open(server)


async def test_a_connection_that_ended_between_calls_costs_no_call(server: Server, provider: Provider) -> None:
    server.script = [answer_and_close(RUNNING)]
    await describe(provider)
    assert await none_open(server)
    await describe(provider)
    assert [request.connection for request in server.requests] == [1, 2]


async def test_a_refused_connection_means_that_nothing_arrived() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        call = in_time()
        error = await failure(a_provider(url), call)
    assert isinstance(error, ProviderUnavailable)
    assert (error.code, error.reached, call.sent_at) == ("cannot_connect", "no", None)


@pytest.mark.parametrize("behaviour", [reset, hang_up, half_an_answer, not_http])
async def test_a_connection_that_breaks_leaves_open_whether_the_call_arrived(
    server: Server, provider: Provider, behaviour: Behaviour
) -> None:
    server.script = [behaviour]
    call = in_time()
    error = await failure(provider, call)
    assert isinstance(error, ProviderUnavailable)
    assert (error.code, error.reached, call.answered_at) == ("connection_broken", "perhaps", None)
    assert call.sent_at is not None
    await describe(provider)
    assert [request.connection for request in server.requests] == [1, 2]


# -- deadlines


@pytest.mark.parametrize("behaviour", [silence, drip])
async def test_a_call_ends_at_its_deadline_and_its_connection_with_it(
    server: Server, provider: Provider, behaviour: Behaviour
) -> None:
    server.script = [behaviour]
    started, call = time.monotonic(), in_time(BRIEF)
    error = await failure(provider, call)
    assert BRIEF <= time.monotonic() - started < BRIEF + 0.5
    assert isinstance(error, ProviderUnavailable)
    assert (error.code, error.reached, call.answered_at) == ("timeout", "perhaps", None)
    if behaviour is drip:
        assert await none_open(server)
    await describe(provider)
    assert [request.connection for request in server.requests] == [1, 2]


async def test_a_slow_call_does_no_harm_to_the_others(server: Server, provider: Provider) -> None:
    server.script = [silence]
    slow = asyncio.create_task(failure(provider, in_time(BRIEF)))
    while not server.requests:  # noqa: ASYNC110 (an arrival sets no event)
        await asyncio.sleep(0.002)
    for _ in range(5):
        await describe(provider)
    assert (await slow).code == "timeout"
    await describe(provider)
    assert {request.connection for request in server.requests[1:]} == {2}


async def test_a_cancelled_call_takes_its_connection_with_it(server: Server, provider: Provider) -> None:
    server.script = [silence]
    call = asyncio.create_task(describe(provider))
    while not server.requests:  # noqa: ASYNC110 (an arrival sets no event)
        await asyncio.sleep(0.002)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await describe(provider)
    assert [request.connection for request in server.requests] == [1, 2]


@pytest.mark.parametrize("idle", [False, True], ids=["new connection", "idle connection"])
async def test_a_process_that_was_held_up_until_the_deadline_sends_not_one_byte(server: Server, idle: bool) -> None:
    provider = a_provider(server.url, clock=HeldUp(after=4 if idle else 1))
    if idle:
        await describe(provider)
    known, call = server.received, in_time()
    error = await failure(provider, call)
    assert isinstance(error, NeverSent)
    assert (error.reached, call.sent_at) == ("no", None)
    assert await none_open(server)
    assert server.received == known


@pytest.mark.parametrize("idle", [False, True], ids=["new connection", "idle connection"])
async def test_a_call_whose_deadline_has_passed_sends_not_one_byte(
    server: Server, provider: Provider, idle: bool
) -> None:
    if idle:
        await describe(provider)
    known, call = server.received, in_time(-1)
    error = await failure(provider, call)
    assert isinstance(error, NeverSent)
    assert (error.reached, call.sent_at) == ("no", None)
    await asyncio.sleep(0.02)
    assert server.received == known
    await describe(provider)
    assert len(server.requests) == (2 if idle else 1)


async def test_an_answer_without_end_is_cut_at_its_size(server: Server, provider: Provider) -> None:
    server.script = [endless]
    error = await failure(provider)
    assert isinstance(error, AnswerUnknown)
    assert (error.code, error.reached) == ("answer_too_large", "yes")
    assert await none_open(server)


async def test_an_answer_as_large_as_allowed_is_read(server: Server, provider: Provider) -> None:
    server.script = [answer(json.dumps(RUNNING).encode().ljust(ANSWER_LIMIT))]
    assert (await describe(provider)).observation.status is Status.ONGOING
