"""A provider that does as a script says, byte by byte, and the client that calls it."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from app.clock import SystemClock
from app.errors import ProviderError
from app.provider.client import Call, Described, Provider

APP, SECRET, TASK = 1234567890, "9193cc662a4c0ec135ec71fb57194b38", "X3CgNeE4I1qAAABN"
RUNNING = {"Code": 0, "Message": "succeed", "RequestId": "r1", "Data": {"RoomId": "räume", "Status": 2}}
BRIEF = 0.15
"""Seconds of a call that is to run out of time."""

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Request:
    """What arrived: the request line's method and target, the header fields in lower case, the body."""

    connection: int
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def query(self) -> dict[str, str]:
        return {name: value for name, (value,) in parse_qs(urlsplit(self.target).query).items()}


@dataclass
class Server:
    """Speaks just enough HTTP; each request meets the next behaviour of the script, then ordinary answers."""

    script: list[Behaviour] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    received: int = 0
    connections: int = 0
    open: int = 0
    url: str = ""
    greeting: bytes = b""
    serving: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        self.connections += 1
        self.open += 1
        try:
            writer.write(self.greeting)
            await self._answer_all(reader, writer, self.connections)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            self.serving.discard(task)
            writer.close()

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        while head := (await reader.readuntil(b"\r\n\r\n")).decode():
            self.received += len(head)
            first, *lines = head.strip().split("\r\n")
            method, target, _ = first.split(" ")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.requests.append(Request(number, method, target, headers, body))
            await self.choose(self.requests[-1])(writer)

    def choose(self, request: Request) -> Behaviour:
        return self.script.pop(0) if self.script else answer(RUNNING)


def answer(body: Any, status: int = 200, *headers: str) -> Behaviour:
    """One whole answer; ``body`` as it is, or as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(content)}", *headers, "", ""]

    async def act(writer: asyncio.StreamWriter) -> None:
        writer.write("\r\n".join(lines).encode() + content)
        await writer.drain()

    return act


def answer_and_close(body: Any) -> Behaviour:
    async def act(writer: asyncio.StreamWriter) -> None:
        await answer(body)(writer)
        raise ConnectionAbortedError

    return act


async def reset(writer: asyncio.StreamWriter) -> None:
    """Break the connection off with a reset instead of an answer."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    raise ConnectionAbortedError


async def hang_up(writer: asyncio.StreamWriter) -> None:
    raise ConnectionAbortedError


async def half_an_answer(writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"Code": 0,')
    raise ConnectionAbortedError


async def not_http(writer: asyncio.StreamWriter) -> None:
    writer.write(b"+OK POP3 ready\r\n\r\n")
    raise ConnectionAbortedError


async def silence(writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def drip(writer: asyncio.StreamWriter) -> None:
    """An answer of a thousand bytes, one every 10 ms."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(1000):
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


async def endless(writer: asyncio.StreamWriter) -> None:
    """An answer without end, as fast as it is taken."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"40000\r\n" + b" " * 0x40000 + b"\r\n")
        await writer.drain()


def a_provider(url: str, **options: Any) -> Provider:
    return Provider(APP, SECRET, url=url, **({"clock": SystemClock()} | options))


def in_time(seconds: float = 5.0) -> Call:
    return Call(deadline=time.monotonic() + seconds)


async def describe(provider: Provider, call: Call | None = None) -> Described:
    return await provider.describe(TASK, call or in_time(), claim_no=3, asked_at=datetime.now(UTC))


async def failure(provider: Provider, call: Call | None = None) -> ProviderError:
    """The error that a call ends with."""
    with pytest.raises(ProviderError) as caught:
        await describe(provider, call)
    return caught.value


async def none_open(server: Server) -> bool:
    """Whether the server has seen every connection end, within a moment."""
    for _ in range(50):
        if not server.open:
            return True
        await asyncio.sleep(0.004)
    return False


@asynccontextmanager
async def listening(server: Server | None = None) -> AsyncIterator[Server]:
    """Such a server, at work."""
    scripted = server or Server()
    doors = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    scripted.url = f"http://127.0.0.1:{doors.sockets[0].getsockname()[1]}"
    yield scripted
    doors.close()
    for task in list(scripted.serving):
        task.cancel()
    await asyncio.gather(*scripted.serving, return_exceptions=True)
    await doors.wait_closed()
