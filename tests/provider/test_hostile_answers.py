"""Answers by a provider that means harm, or by something broken on the way to it, over real HTTP and TLS: each ends as
a named error, in bounded time and memory, and nothing of it touches the next call."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
import tracemalloc
import zlib

import pytest
import trustme

from app.core.recording import Status
from app.errors import MESSAGE_LIMIT, AnswerUnknown, ProviderUnavailable
from app.provider.client import Provider
from app.provider.reading import ANSWER_LIMIT
from app.provider.wire import FILES_LIMIT
from tests.provider.scripted import (
    BRIEF,
    RUNNING,
    TASK,
    Behaviour,
    Server,
    a_provider,
    answer,
    describe,
    endless,
    failure,
    in_time,
    none_open,
)

MIB = 1024 * 1024
ANSWER = json.dumps(RUNNING).encode()
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x;a=b\r\n%s\r\n0\r\nX: y\r\n\r\n"


def raw(data: bytes, *, then_close: bool = True) -> Behaviour:
    """These bytes, whatever they are."""

    async def act(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        if then_close:
            raise ConnectionAbortedError

    return act


async def headers_without_end(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-More: " + b"x" * 8000 + b"\r\n")
        await writer.drain()


async def a_status_line_without_end(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 200 O" + b"K" * 8000)
        await writer.drain()


async def chunk_sizes_without_end(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;")
    while True:
        writer.write(b"x" * 8000)
        await writer.drain()


@pytest.mark.parametrize(
    "behaviour",
    [
        raw(b"\x00\xff" * 4000 + b"\r\n\r\n"),
        raw(b"HTTP/1.1 two hundred\r\n\r\n" + ANSWER),
        raw(b"HTTP/1.1 200 " + b"\xff" * 200_000 + b"\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\n{}"),
        raw(b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"),
        raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"),
        headers_without_end,
        a_status_line_without_end,
        chunk_sizes_without_end,
    ],
    ids=[
        "bytes", "status", "reason", "negative", "two lengths", "no colon", "NUL", "no chunk", "huge chunk",
        "TLS", "headers", "status line", "chunk extension",
    ],
)  # fmt: skip
async def test_what_is_no_http_breaks_off_in_bounded_memory(
    server: Server, provider: Provider, behaviour: Behaviour
) -> None:
    server.script = [behaviour]
    error = await failure(provider)
    assert (type(error), error.code, error.reached) == (ProviderUnavailable, "connection_broken", "perhaps")
    assert len(error.message) <= MESSAGE_LIMIT
    assert await none_open(server)
    assert (await describe(provider)).observation.status is Status.ONGOING


@pytest.mark.parametrize(
    "behaviour",
    [
        raw(b"HTTP/1.0 200 OK\r\n\r\n" + ANSWER),
        raw(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n" % len(ANSWER) + ANSWER),
        raw(b"HTTP/1.1 200\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n" % len(ANSWER) + ANSWER),
        raw(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n" + ANSWER),
        raw(CHUNKED % (len(ANSWER), ANSWER)),
        answer(gzip.compress(ANSWER), 200, "Content-Encoding: gzip"),
        answer(zlib.compress(ANSWER), 200, "Content-Encoding: deflate"),
    ],
    ids=["1.0", "1.0 keep-alive", "no reason", "1xx first", "chunked", "gzip", "deflate"],
)  # fmt: skip
async def test_odd_but_honest_http_is_read(server: Server, provider: Provider, behaviour: Behaviour) -> None:
    server.script = [behaviour]
    for _ in range(2):
        assert (await describe(provider)).observation.status is Status.ONGOING


async def hints_without_end(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100)
        await writer.drain()


async def slow_headers(writer: asyncio.StreamWriter) -> None:
    for letter in b"HTTP/1.1 200 OK\r\nX-Slow: yes and very slow\r\n":
        writer.write(bytes([letter]))
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("behaviour", [hints_without_end, slow_headers])
async def test_an_answer_that_never_gets_to_the_point_ends_at_the_deadline(
    server: Server, provider: Provider, behaviour: Behaviour
) -> None:
    server.script = [behaviour]
    error = await failure(provider, in_time(BRIEF))
    assert (error.code, error.reached) == ("timeout", "perhaps")
    assert await none_open(server)


# -- packed answers


def bomb(times: int) -> bytes:
    """So many MiB of blanks, a thousandth as large."""
    return gzip.compress(b" " * times * MIB)


async def test_an_answer_that_unpacks_without_end_is_cut_at_its_size(server: Server, provider: Provider) -> None:
    server.script = [answer(bomb(64), 200, "Content-Encoding: gzip")]
    tracemalloc.start()
    error = await failure(provider)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (type(error), error.code, error.reached) == (AnswerUnknown, "answer_too_large", "yes")
    assert most < 3 * ANSWER_LIMIT
    assert await none_open(server)


@pytest.mark.parametrize(
    ("body", "encoding"),
    [(ANSWER, "gzip"), (b"\x1f\x8b" + b"\xff" * 20, "deflate"), (ANSWER, "br"), (bomb(1), "gzip, gzip")],
)
async def test_what_cannot_be_unpacked_is_told(server: Server, provider: Provider, body: bytes, encoding: str) -> None:
    server.script = [answer(body, 200, f"Content-Encoding: {encoding}")]
    error = await failure(provider)
    assert (type(error), error.code, error.reached) == (ProviderUnavailable, "cannot_unpack", "yes")
    assert (await describe(provider)).observation.status is Status.ONGOING


async def test_an_endless_answer_costs_bounded_memory(server: Server, provider: Provider) -> None:
    server.script = [endless]
    tracemalloc.start()
    assert (await failure(provider)).code == "answer_too_large"
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 3 * ANSWER_LIMIT


# -- another task's answer


@pytest.mark.parametrize("later", [b"", b"\r\n"])
async def test_what_comes_behind_an_answer_is_not_the_answer_to_the_next_call(
    server: Server, provider: Provider, later: bytes
) -> None:
    """As from a proxy that answers twice: the next call would hear what became of this task."""
    stale = b"HTTP/1.1 200 OK\r\nContent-Length: 31\r\n\r\n" + b'{"Code": 0,"Data":{"Status":3}}'
    honest = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(ANSWER) + ANSWER
    server.script = [raw(honest + later + stale, then_close=False)]
    for _ in range(3):
        assert (await describe(provider)).observation.status is Status.ONGOING
    assert server.connections == 2


@pytest.mark.parametrize("named", ["X3CgNeE4I1qAAABO", TASK.lower(), "x" * MIB])
async def test_an_answer_that_names_another_task_is_refused(server: Server, provider: Provider, named: str) -> None:
    server.script = [answer({"Code": 0, "RequestId": "r1", "Data": {"TaskId": named, "Status": 3}})]
    error = await failure(provider)
    assert (type(error), error.code, error.request_id) == (AnswerUnknown, "other_task", "r1")
    assert len(error.message) <= MESSAGE_LIMIT


@pytest.mark.parametrize("named", [TASK, "", None, 17])
async def test_an_answer_that_names_its_task_or_none_is_read(server: Server, provider: Provider, named: object) -> None:
    server.script = [answer({"Code": 0, "Data": {"TaskId": named, "Status": 3}})]
    assert (await describe(provider)).observation.status is Status.COMPLETED


# -- too much of everything


async def test_a_list_of_files_may_be_as_long_as_the_limit_and_no_longer(server: Server, provider: Provider) -> None:
    many = [{"FileId": f"f{number}", "Status": 3} for number in range(FILES_LIMIT + 1)]
    data = {"Status": 3, "RecordFiles": many[:-1]}
    server.script = [answer({"Code": 0, "Data": data}), answer({"Code": 0, "Data": {**data, "RecordFiles": many}})]
    assert len((await describe(provider)).observation.files) == FILES_LIMIT
    error = await failure(provider)
    assert error.code == "too_many_files"
    assert error.message.startswith(f"{FILES_LIMIT + 1} files; {FILES_LIMIT} is the most")


async def test_a_hundred_thousand_files_are_refused_before_they_are_read(server: Server, provider: Provider) -> None:
    body = b'{"Code":0,"Data":{"Status":3,"RecordFiles":[' + b'{"FileId":"f","Status":3},' * 100_000 + b"{}]}}"
    server.script = [answer(body)]
    assert (await failure(provider)).code == "too_many_files"


async def test_megabytes_of_text_count_as_absent_and_are_counted(server: Server, provider: Provider) -> None:
    long = "\u754c" * (MIB // 4)
    file = {"FileId": "f", "Status": 3, "UserName": long, "FileUrl": "https://" + "x" * MIB}
    server.script = [
        answer({"Code": 0, "RequestId": "r" * MIB, "Message": long, "Data": {"Status": 2, "RoomId": long}}),
        answer({"Code": 0, "Data": {"Status": 2, "RecordFiles": [file], "RecordBeginTimestamp": -5}}),
        answer({"Code": 300000004, "RequestId": "r" * MIB, "Message": "m" * MIB}),
    ]
    told = await describe(provider)
    assert (told.observation.room_id, told.request_id, told.ignored) == (None, None, {"text": 1})
    told = await describe(provider)
    (seen,) = told.observation.files
    assert (seen.file_id, seen.user_name, seen.file_url) == ("f", None, None)
    assert told.ignored == {"text": 2, "time": 1}
    error = await failure(provider)
    assert len(str(error)) <= MESSAGE_LIMIT + 100
    assert "code 300000004" in error.message


# -- TLS


async def test_certificates_of_strangers_are_not_believed_and_nothing_is_sent() -> None:
    requests = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        requests += bool(await reader.read(1))
        writer.close()

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    provider = a_provider(f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    error = await failure(provider)
    assert (type(error), error.code, error.reached) == (ProviderUnavailable, "cannot_connect", "no")
    assert "certificate" in error.message
    listening.close()
    await listening.wait_closed()
    assert requests == 0


async def test_a_provider_that_speaks_no_tls_is_told(server: Server) -> None:
    server.greeting = b"220 ready to receive mail\r\n"
    error = await failure(a_provider(server.url.replace("http:", "https:")), in_time(2))
    assert (error.code, error.reached) == ("cannot_connect", "no")


async def test_a_handshake_without_end_ends_in_time_and_leaves_no_connection(server: Server) -> None:
    error = await failure(a_provider(server.url.replace("http:", "https:")), in_time(BRIEF))
    assert (error.code, error.reached) == ("timeout", "no")
    assert server.connections == 1
    assert await none_open(server)
