"""Hostile connections to the server as it is started: each is answered or closed, and costs little."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar, cast

import httpx
import pytest
import uvicorn

from app.api.connections import HEAD_LIMIT, Connection, server_config
from app.main import create_app
from app.wiring import Service, open_service
from tests.clocks import FastClock
from tests.world import MakeSettings, task_id

POST = b"POST /v1/tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
GET = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
TASK = json.dumps({"task_id": task_id()}).encode()


class Hasty(Connection):
    """As it is, but less patient; it counts how often it goes to the socket."""

    request_time = 0.15
    writes: ClassVar[list[int]] = []

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(asyncio.Transport, Counted(transport)))


class Counted:
    """A transport that notes how many bytes are written at a time."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        Hasty.writes.append(len(data))
        self._transport.write(data)

    def writelines(self, parts: list[bytes]) -> None:
        self.write(b"".join(parts))


# What happens here happens before any database.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
async def fast_service(settings: MakeSettings) -> AsyncIterator[Service]:
    async with open_service(settings(), clock=FastClock(5)) as service:
        yield service


@pytest.fixture
async def port(fast_service: Service) -> AsyncIterator[int]:
    server = uvicorn.Server(server_config(create_app(fast_service), shutdown_timeout=1, connection=Hasty))
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        serving = asyncio.create_task(server._serve([listener]))
        yield listener.getsockname()[1]
        server.should_exit = True
        await serving


async def sent(port: int, parts: Iterator[bytes], *, pause: float = 0.0) -> bytes:
    """What the server says until it closes the connection, while it is sent these parts."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def send() -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)

    sending = asyncio.create_task(send())
    said = bytearray()
    try:
        while part := await asyncio.wait_for(reader.read(65536), 5):
            said += part
    except ConnectionError:
        pass
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    writer.transport.abort()
    return bytes(said)


def endless(first: bytes, again: bytes) -> Iterator[bytes]:
    yield first
    while True:
        yield again


async def nothing_is_stored(port: int) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        assert (await client.get("/v1/tasks")).json()["items"] == []


LAST = GET.replace(b"Host", b"Connection: close\r\nHost")


@pytest.mark.parametrize("asked", [LAST, LAST.replace(b"GET", b"HEAD"), GET + LAST], ids=["one", "its head", "two"])
async def test_an_answer_leaves_in_one_piece(port: int, asked: bytes) -> None:
    Hasty.writes.clear()
    said = await sent(port, iter([asked]))
    answers = asked.count(b"Host")
    assert said.count(b"HTTP/1.1 ") == answers
    assert len(Hasty.writes) <= answers
    assert sum(Hasty.writes) == len(said)


SLOW = {
    "nothing": (b"", b""),
    "a letter": (b"G", b""),
    "a header": (b"GET /livez HTTP/1.1\r\nX: ", b"a"),
    "headers": (b"GET /livez HTTP/1.1\r\n", b"X: a\r\n"),
    "a body": (POST + b"Content-Length: 1000\r\n\r\n", b" "),
    "chunks": (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "a body announced": (POST + b"Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n", b""),
}


async def test_a_request_that_does_not_arrive_in_time_is_given_up(port: int) -> None:
    answers = await asyncio.gather(*(sent(port, endless(*parts), pause=0.03) for parts in SLOW.values()))
    timed_out = [name for name, said in zip(SLOW, answers, strict=True) if b"HTTP/1.1 408 " in said]
    assert timed_out == [*SLOW]
    await nothing_is_stored(port)


async def test_a_connection_cannot_be_kept_by_empty_lines(port: int) -> None:
    said = await sent(port, endless(GET, b"\r\n"), pause=0.03)
    assert said.startswith(b"HTTP/1.1 200 ")


async def test_a_body_that_goes_on_after_the_answer_is_cut_off(port: int) -> None:
    head = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    said = await sent(port, endless(head, b"1\r\n \r\n"), pause=0.03)
    assert said.startswith(b"HTTP/1.1 200 ")
    assert said.count(b"HTTP/1.1") == 1


async def test_a_request_that_has_arrived_may_take_its_time(port: int) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        answer = await client.get("/v1/events", params={"wait": 2})
        assert (answer.status_code, answer.json()["items"]) == (200, [])
        assert answer.elapsed.total_seconds() > Hasty.request_time


FLOODS = {
    "address": (b"GET /" + b"a" * HEAD_LIMIT + b" HTTP/1.1\r\n", b""),
    "a whole header": (b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * HEAD_LIMIT + b"\r\n\r\n", b""),
    "a header": (b"GET /livez HTTP/1.1\r\nX: ", b"a" * 4096),
    "headers": (b"GET /livez HTTP/1.1\r\n", b"X: a\r\n" * 1000),
    "a trailer": (POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n \r\n0\r\nX: ", b"a" * 4096),
    "trailers": (POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n \r\n0\r\n", b"X: a\r\n" * 1000),
    "an extension": (POST + b"Transfer-Encoding: chunked\r\n\r\n1;", b"a=b;" * 1000),
}


async def test_headers_without_end_are_refused(port: int) -> None:
    answers = [await sent(port, endless(*parts)) for parts in FLOODS.values()]
    refused = [name for name, said in zip(FLOODS, answers, strict=True) if said.startswith(b"HTTP/1.1 431 ")]
    assert refused == [*FLOODS]
    await nothing_is_stored(port)


async def test_a_body_in_the_smallest_chunks_is_taken(port: int) -> None:
    body = TASK + b" " * 10_000
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    said = await sent(
        port, iter([POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"])
    )
    assert said.startswith(b"HTTP/1.1 201 ")


async def test_garbage_behind_a_request_ends_the_connection(port: int) -> None:
    http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for garbage in (b"\x00\xff" * 100, b"G@RB AGE\r\n\r\n", b"\x16\x03\x01\x02\x00", http2):
        said = await sent(port, iter([GET + garbage]))
        assert b"HTTP/1.1 400 " in said
    await nothing_is_stored(port)


@pytest.mark.parametrize("path", [b"/v1/tasks", b"/v1/tasks/batch", b"/v1/callbacks/zego"])
async def test_ten_megabytes_are_refused_whether_announced_or_not(port: int, path: bytes) -> None:
    head = POST.replace(b"/v1/tasks", path) + b"Connection: close\r\n"
    size = 10 * 1024 * 1024
    announced = await sent(port, iter([head + b"Content-Length: %d\r\n\r\n" % size, b" " * size]))
    assert announced.startswith(b"HTTP/1.1 413 ")
    chunks = b"%x\r\n%b\r\n" % (size, b" " * size)
    in_chunks = await sent(port, iter([head + b"Transfer-Encoding: chunked\r\n\r\n", chunks]))
    assert in_chunks.startswith(b"HTTP/1.1 413 ")
    await nothing_is_stored(port)
