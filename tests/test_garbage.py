"""Bytes that no well-meaning sender sends: each is read, or refused in the way that is declared, and what is refused is
not stored.

A few examples, always the same, with the suite; many more, drawn anew, by `make fuzz`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from structlog.testing import capture_logs

from app.api import lists
from app.api.audit import AuditQuery
from app.api.subscriptions import DeliveryQuery
from app.core.signing import callback_signature, parse_webhook_secret
from app.errors import CallbackUnreadable, InvalidRequest, ProviderError
from app.main import create_app
from app.provider import callbacks
from app.provider.reading import Reading
from app.provider.task_list import read_list
from app.provider.wire import as_json, ignored, read_envelope, read_task
from app.wiring import open_service
from tests.fuzz.world import CALLBACK_SECRET, watching
from tests.world import APP, HandClock, MakeSettings, register, task_id

TIMES = int(os.environ.get("FUZZ", "1"))


def some(examples: int) -> settings:
    """So many examples with the suite, always the same; FUZZ times as many, always others, by `make fuzz`."""
    return settings(
        max_examples=examples * TIMES,
        derandomize=TIMES == 1,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


# -- JSON as no library writes it

ODD = [
    *(b"NaN", b"-Infinity", b"1e999", b"-0.0", b"1e18", b"7.0", b"0.5", b"-1", b"9" * 30, b"9" * 5000),
    *(b'"7"', b'" 7 "', b'"1e3"', '"\u0667"'.encode(), b'"true"', b"true", b"null", b'""', b"{}", b"[]", b"[null]"),
    *(b'"\\ud83d"', b'"\\udc00\\ud800"', b'"\\u0000"', b'"a\x00b"', b'"\xff\xfe"', b'"\xed\xa0\x80"', b'"\xc0\xaf"'),
    *(b'"' + b"x" * 9000 + b'"', '"\u202e\ufeff\ufffe"'.encode(), b'"' + b"\\ud800" * 300 + b'"', b"[" * 20_000),
    *(b"[" * deep + b"]" * deep for deep in (200, 300, 900, 2000)),
    *(b'{"a":' * deep + b"1" + b"}" * deep for deep in (200, 300, 900, 2000)),
]
ODD_NAMES = [b"", b"\\ud800", b"\\u0000", b"a\x00", b"\xff", b"a/b~c", b"x" * 3000, b"__proto__"]


def an_object(names: str, value: st.SearchStrategy[bytes], most: int = 4) -> st.SearchStrategy[bytes]:
    """Some of these members, as often as it comes, and some that nobody knows."""
    known = st.sampled_from([name.encode() for name in names.split()])
    member = st.tuples(st.one_of(known, known, st.sampled_from(ODD_NAMES)), value).map(lambda pair: b'"%s":%s' % pair)
    return st.lists(member, max_size=most).map(lambda members: b"{" + b",".join(members) + b"}")


def a_list(of: st.SearchStrategy[bytes], most: int = 3) -> st.SearchStrategy[bytes]:
    return st.lists(of, max_size=most).map(lambda items: b"[" + b",".join(items) + b"]")


odd = st.sampled_from(ODD)
nothing = st.just(lambda body: body)
wrapped = st.sampled_from(
    [
        lambda body: b"\xef\xbb\xbf" + body,
        lambda body: body + b"\x00",
        lambda body: body.decode("latin-1").encode("utf-16"),
        lambda body: quote(body).encode(),
    ]
)
cut = st.tuples(st.integers(0, 200), st.binary(max_size=2)).map(
    lambda cut: lambda body: body[: cut[0]] + cut[1] + body[cut[0] + 1 :]
)
spoiled = st.one_of(nothing, nothing, nothing, wrapped, cut)
"""What else can happen to a body on its way: most often nothing."""


# -- the doors

FILE = "file_id status file_url user_id user_name stream_id file_size duration begin_timestamp media_track_type"
DETAIL = "file_info upload_status quit_reason image_type image_url stream_id file_id file_url media_track_type"
detail = an_object(DETAIL, odd | a_list(an_object(FILE, odd)))
labels = an_object("team a", odd)
CALLBACK = an_object("task_id event_type sequence app_id nonce timestamp signature detail message", odd | detail)
TASK = an_object("task_id app_id started_at labels", odd | labels)
SUBSCRIPTION = an_object("name url types app_id labels secret max_in_flight description", odd | labels | a_list(odd))
KNOWN: dict[str, dict[str, Any]] = {
    "/v1/tasks": {"task_id": task_id(1)},
    "/v1/tasks/batch": {"tasks": [{"task_id": task_id(2)}]},
    f"/v1/tasks/{task_id()}": {"labels": {"team": "a"}},
    "/v1/subscriptions": {"name": "billing", "url": "https://billing.example"},
}
REQUESTS = st.one_of(
    st.tuples(st.just("/v1/tasks"), TASK),
    st.tuples(st.just("/v1/tasks/batch"), an_object("tasks", odd | a_list(TASK | odd))),
    st.tuples(st.just(f"/v1/tasks/{task_id()}"), an_object("labels", odd | labels)),
    st.tuples(st.just("/v1/subscriptions"), SUBSCRIPTION),
)


def merged(good: dict[str, Any], more: bytes, *, last: bool) -> bytes:
    """A body that is good but for what is put before or behind: of two members of a name the last one counts."""
    parts = [json.dumps(good).encode()[1:-1], more[1:-1]]
    return b"{" + b",".join(part for part in (parts if last else parts[::-1]) if part) + b"}"


@dataclass(frozen=True)
class Door:
    """A service, asked in a loop of its own: Hypothesis drives plain functions only."""

    loop: asyncio.Runner
    client: httpx.AsyncClient
    look: Any
    clock: HandClock
    numbers: Iterator[int]

    def ask(self, method: str, path: str, body: bytes | None = None) -> httpx.Response:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        return self.loop.run(self.client.request(method, path, content=body, headers=headers))

    def refused(self, method: str, path: str, body: bytes) -> bool:
        """Whether the body was; then nothing is stored. Else all that shows what was stored can be seen."""
        before = self.loop.run(self.look())
        answer = self.ask(method, path, body)
        assert answer.status_code < 500, answer.text
        json.loads(answer.content, parse_constant=pytest.fail)
        if answer.status_code < 400:
            return False
        assert self.loop.run(self.look()) == before, "it was refused, and yet something is stored"
        return True

    def signed(self) -> dict[str, Any]:
        timestamp, nonce = str(int(self.clock.now().timestamp())), str(next(self.numbers))
        signature = callback_signature(CALLBACK_SECRET, timestamp, nonce)
        return {"app_id": APP, "timestamp": timestamp, "nonce": nonce, "signature": signature, "task_id": task_id()}


@pytest.fixture
def door(settings: MakeSettings, clock: HandClock) -> Iterator[Door]:
    with asyncio.Runner() as loop, capture_logs():  # a crash's traceback would be drawn, with all that is in it
        opened = open_service(settings(zego_callback_secret=CALLBACK_SECRET), clock=clock)
        service = loop.run(opened.__aenter__())
        watch = watching(service.database)
        look = loop.run(watch.__aenter__())
        transport = httpx.ASGITransport(create_app(service))
        client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")
        loop.run(register(client))
        yield Door(loop, client, look, clock, count())
        loop.run(client.aclose())
        loop.run(watch.__aexit__(None, None, None))
        loop.run(opened.__aexit__(None, None, None))


@some(30)
@given(more=CALLBACK, last=st.booleans(), spoil=spoiled)
@example(more=b'{"message":"\\ud83d"}', last=True, spoil=bytes)
@example(more=b'{"message":%s}' % (b"[" * 300 + b"]" * 300), last=True, spoil=bytes)
def test_no_callback_crashes_its_door(door: Door, more: bytes, last: bool, spoil: Any) -> None:
    body = spoil(merged({**door.signed(), "event_type": 1}, more, last=last))
    if not door.refused("POST", "/v1/callbacks/zego", body):
        for path in ("/v1/callbacks?limit=1", f"/v1/tasks/{task_id()}", f"/v1/tasks/{task_id()}/events"):
            shown = door.ask("GET", path)
            assert shown.status_code == 200, shown.text
            json.loads(shown.content, parse_constant=pytest.fail)


@some(30)
@given(request=REQUESTS, last=st.booleans(), spoil=spoiled)
def test_no_request_crashes_its_door(door: Door, request: tuple[str, bytes], last: bool, spoil: Any) -> None:
    path, more = request
    method = "PATCH" if path.endswith(task_id()) else "POST"
    door.refused(method, path, spoil(merged(KNOWN[path], more, last=last)))


# -- what is read without a door


def storable(value: Any) -> bool:
    """Whether every database takes it: no NUL, no half of a pair, no number beyond 64 bits."""
    if is_dataclass(value):
        return all(storable(getattr(value, one.name)) for one in fields(value))
    if isinstance(value, (list, tuple)):
        return all(map(storable, value))
    if isinstance(value, str):
        return "\x00" not in value and value.encode("utf-8", "replace").decode() == value
    return not isinstance(value, int) or -(2**63) <= value < 2**63


QUERIES: list[tuple[type[lists.ListQuery], Any]] = [
    (lists.TaskQuery, lists.TASK_PLACE),
    (lists.FileQuery, lists.FILE_PLACE),
    (lists.CallbackQuery, lists.CALLBACK_PLACE),
    (AuditQuery, lists.AUDIT_PLACE),
    (DeliveryQuery, lists.DELIVERY_PLACE),
    (lists.ListQuery, lists.SUBSCRIPTION_PLACE),
    (lists.ListQuery, lists.EVENT_PLACE),
]
FILTERS = "limit cursor order include label app_id room_id task_id tracking attention known after key registered_after"
MOMENTS = [b'"2026-01-31T00:00:00Z"', b'"0001-01-01T00:00:00+14:00"']
KINDS = [b'"subscription"', b'"callback"', b'"audit"', b'"delivery"']
place_items = odd | st.sampled_from([*KINDS, *MOMENTS, b"1", b'"%s"' % task_id().encode()])
cursors = st.one_of(
    st.tuples(an_object(FILTERS, odd | place_items | a_list(odd)), a_list(place_items)).map(
        lambda pair: base64.urlsafe_b64encode(b"[" + b",".join(pair) + b"]").decode()
    ),
    st.binary(max_size=40).map(lambda raw: base64.urlsafe_b64encode(raw).decode()),
    st.text(st.characters(), max_size=20),
)


@some(100)
@given(kind=st.sampled_from(QUERIES), cursor=cursors)
def test_any_cursor_is_read_or_refused(kind: tuple[type[lists.ListQuery], Any], cursor: str) -> None:
    form, read = kind
    with contextlib.suppress(InvalidRequest, ValidationError):
        query, place = lists.resume(form(cursor=cursor), read)
        assert storable(place)
        assert storable(list(query.filters().values()))
        if hasattr(query, "to_filter"):
            assert storable(query.to_filter())


WIRE_FILE = "FileId Status FileUrl UserId UserName StreamId FileSize Duration BeginTimestamp CustomBeginTimestamp"
DATA = "TaskId RoomId Status RecordFiles RecordBeginTimestamp RecordEndTimestamp RecordMode TaskIdList TotalCount"
data = an_object(DATA, odd | a_list(an_object(WIRE_FILE, odd)))
ANSWER = an_object("Code Message RequestId Data", odd | data)


@some(100)
@given(
    more=ANSWER,
    inner=data,
    spoil=spoiled,
    status=st.sampled_from([200, 200, 200, 429, 503]),
    packing=st.sampled_from(["", "identity", "gzip", "DEFLATE ", "br", "\xff\x00"]),
    spoil_packed=spoiled,
)
def test_any_answer_is_read_or_is_an_error_of_the_providers(
    more: bytes, inner: bytes, spoil: Any, status: int, packing: str, spoil_packed: Any
) -> None:
    whole = merged({"Code": 0}, b'{"Data":%s,%s' % (merged({"Status": 3}, inner, last=True), more[1:]), last=True)
    body, refusal = spoil(whole.replace(b",}", b"}")), None
    try:
        reading = Reading(packing)
        for piece in (spoil_packed(gzip.compress(body)) if packing == "gzip" else body,):
            reading.take(piece[:7])
            reading.take(piece[7:])
        envelope = read_envelope(reading.body, status)
        ignored(envelope.data)
        with contextlib.suppress(ProviderError):
            read_list(envelope)
        assert storable(read_task(envelope, task_id(), claim_no=1, asked_at=datetime(2026, 1, 1, tzinfo=UTC)))
        text = as_json(reading.body)
        assert storable(text)
        json.loads(text, parse_constant=pytest.fail)
    except ProviderError as error:
        refusal = error
    assert refusal is None or storable([refusal.message, refusal.request_id])


@some(50)
@given(more=CALLBACK, spoil=spoiled, last=st.booleans())
def test_any_letter_can_be_asked_for_its_signature(more: bytes, spoil: Any, last: bool) -> None:
    with contextlib.suppress(CallbackUnreadable):
        letter = callbacks.read(spoil(merged({"nonce": "1", "timestamp": "2", "signature": "3"}, more, last=last)))
        assert not letter.is_signed_by(CALLBACK_SECRET)
        assert (len(letter.signed), len(letter.said)) == (64, 64)
        assert storable(letter)


@some(100)
@given(text=st.text(st.characters(), max_size=90) | st.binary(max_size=70).map(base64.b64encode).map(bytes.decode))
def test_any_text_is_a_webhooks_secret_or_refused(text: str) -> None:
    for secret in (text, f"whsec_{text}"):
        with contextlib.suppress(InvalidRequest):
            assert 24 <= len(parse_webhook_secret(secret)) <= 64
