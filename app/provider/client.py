"""Sign, call, translate: the provider's query actions, one call at a time.

Each concurrent call has a connection of its own. One whose call went wrong is thrown away with everything in it, so a
call may be cut off at its deadline without harm to any other.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx

from app.clock import Clock
from app.core.recording import Observation
from app.core.signing import request_signature
from app.core.sweeping import Span
from app.errors import NeverSent, ProviderError, ProviderUnavailable, Reached
from app.provider.reading import Reading, has_surplus
from app.provider.task_list import ListPage, read_list
from app.provider.wire import Envelope, as_json, ignored, read_envelope, read_task

DESCRIBE_RECORD_STATUS = "DescribeRecordStatus"
DESCRIBE_TASKS = "DescribeTasks"

PAGE_SIZE = 50
"""Tasks on a page of the list: the most that it gives."""


CONNECT_SHARE = 0.45
"""Of a call's time, for its connection, and as much for TLS: cut off from outside they leave their socket open."""


@dataclass(slots=True)
class Call:
    """One call's times on the monotonic clock: its deadline, and what became of it as far as it got."""

    deadline: float
    sent_at: float | None = None
    answered_at: float | None = None


@dataclass(frozen=True, slots=True)
class Described:
    """What the provider said of a task, and its words as they came. ``ignored``: how many of them, by kind (`wire`)."""

    observation: Observation
    body: str
    request_id: str | None
    ignored: Mapping[str, int] = field(default_factory=dict)


class RequestSignature(httpx.Auth):
    """Puts the common parameters into the query (docs/provider.md 1.2); every attempt has its own nonce and time."""

    def __init__(self, app_id: int, server_secret: str, clock: Clock, *, is_test: bool | None) -> None:
        self._app_id, self._secret, self._clock, self._is_test = app_id, server_secret, clock, is_test

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        nonce, timestamp = self._clock.token(), int(self._clock.now().timestamp())
        common: dict[str, Any] = {
            "AppId": self._app_id,
            "SignatureNonce": nonce,
            "Timestamp": timestamp,
            "Signature": request_signature(self._app_id, nonce, self._secret, timestamp),
            "SignatureVersion": "2.0",
        }
        if self._is_test is not None:
            common["IsTest"] = "true" if self._is_test else "false"
        request.url = request.url.copy_merge_params(common)
        yield request


class Provider:
    """The provider, for one app."""

    def __init__(
        self,
        app_id: int,
        server_secret: str,
        *,
        url: str,
        clock: Clock,
        is_test: bool | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._clock = clock
        self._transport = transport
        self._url = url
        self._auth = RequestSignature(app_id, server_secret, clock, is_test=is_test)
        self._tls = httpx.create_ssl_context() if url.startswith("https") else False
        self._idle: list[httpx.AsyncClient] = []

    async def describe(self, task_id: str, call: Call, *, claim_no: int, asked_at: datetime) -> Described:
        """Ask for one task (DescribeRecordStatus). Raises a ProviderError for everything but an answer about it."""
        body = await self._call(DESCRIBE_RECORD_STATUS, {"TaskId": task_id}, call)
        envelope = self._envelope(body)
        observation = read_task(envelope, task_id, claim_no=claim_no, asked_at=asked_at)
        return Described(observation, as_json(body[1]), envelope.request_id, ignored(envelope.data))

    async def list_tasks(self, span: Span, call: Call, *, running: bool, page: int) -> ListPage:
        """Ask for a page of the tasks that started in this span and are running, or have ended (DescribeTasks).

        Raises a ProviderError as ``describe`` does.
        """
        item = {
            "Status": 2 if running else 3,
            "StartTime": _milliseconds(span.start),
            "EndTime": _milliseconds(span.end),
            "PageOffset": page,
            "PageSize": PAGE_SIZE,
        }
        return read_list(self._envelope(await self._call(DESCRIBE_TASKS, item, call)))

    async def probe(self, call: Call, *, now: datetime) -> None:
        """Ask for the smallest possible list of tasks (DescribeTasks), only to hear whether the provider answers.

        Raises a ProviderError as ``describe`` does.
        """
        end = _milliseconds(now)
        item = {"Status": 2, "StartTime": end - 60_000, "EndTime": end, "PageOffset": 1, "PageSize": 1}
        self._envelope(await self._call(DESCRIBE_TASKS, item, call))

    async def close(self) -> None:
        """Close all idle connections."""
        while self._idle:
            await self._idle.pop().aclose()

    def _envelope(self, answer: tuple[int, bytes]) -> Envelope:
        status, body = answer
        return read_envelope(body, status)

    async def _call(self, action: str, body: dict[str, Any], call: Call) -> tuple[int, bytes]:
        left = call.deadline - self._clock.monotonic()
        if left <= 0:
            raise _unanswered(LeaseLapsed(), call)
        client = self._idle.pop() if self._idle else self._new_client()
        try:
            async with self._clock.timeout(left):
                answer = await self._exchange(client, action, body, call, connect=CONNECT_SHARE * left)
        except BaseException as error:
            await client.aclose()
            if isinstance(error, (TimeoutError, httpx.HTTPError, LeaseLapsed)):
                raise _unanswered(error, call) from error
            raise
        call.answered_at = self._clock.monotonic()
        if has_surplus(client):
            await client.aclose()
        else:
            self._idle.append(client)
        return answer

    def _new_client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self._url,
            auth=self._auth,
            verify=self._tls,
            timeout=None,  # noqa: S113 - a call has a deadline of its own, for all of it
            limits=httpx.Limits(max_connections=1, keepalive_expiry=60.0),
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            transport=self._transport,
            follow_redirects=False,
            trust_env=False,  # only the settings configure the service
        )

    async def _exchange(
        self, client: httpx.AsyncClient, action: str, body: dict[str, Any], call: Call, *, connect: float
    ) -> tuple[int, bytes]:
        async def about_to_send(event: str, info: Any) -> None:
            if event != "http11.send_request_headers.started":
                return
            # As late as can be: a process that was frozen since its claim must not send on a lapsed lease.
            call.sent_at = self._clock.monotonic()
            if call.sent_at >= call.deadline:
                call.sent_at = None
                raise LeaseLapsed

        asking: Any = {"params": {"Action": action}, "json": body, "extensions": {"trace": about_to_send}}
        async with client.stream("POST", "/", timeout=httpx.Timeout(None, connect=connect), **asking) as response:
            try:
                reading = Reading(response.headers.get("content-encoding", ""))
                async for piece in response.aiter_raw():
                    reading.take(piece)
            except ProviderError:
                call.answered_at = self._clock.monotonic()
                raise
        return response.status_code, reading.body


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


class LeaseLapsed(Exception):
    """The lease ended before the first byte was sent."""


def _unanswered(error: Exception, call: Call) -> ProviderError:
    reached: Reached = "no" if call.sent_at is None else "perhaps"
    if isinstance(error, LeaseLapsed):
        return NeverSent("never_sent", "this process was held up; nothing was sent", reached="no")
    if isinstance(error, (TimeoutError, httpx.TimeoutException)):
        return ProviderUnavailable("timeout", "no whole answer in time", reached=reached)
    if isinstance(error, httpx.ConnectError):
        return ProviderUnavailable("cannot_connect", str(error) or "connection refused", reached=reached)
    return ProviderUnavailable("connection_broken", str(error) or type(error).__name__, reached=reached)
