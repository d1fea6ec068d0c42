"""A target on loopback that behaves as a test says, and what it saw."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

Behaviour = Callable[["Target", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Target:
    """``requests``: heads and bodies as they came. ``connections``: how many were made. ``left``: how many ended."""

    port: int
    connections: int = 0
    left: int = 0
    requests: list[tuple[str, bytes]] = field(default_factory=list)

    def url(self, host: str, path: str = "/hook", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    async def read(self, reader: asyncio.StreamReader) -> None:
        """Take one whole request."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(line.split(":")[1] for line in head.split("\r\n") if line.lower().startswith("content-length"))
        self.requests.append((head, await reader.readexactly(int(length))))

    async def all_left(self) -> None:
        """Wait until no connection is left."""
        async with asyncio.timeout(5):
            while self.left < self.connections:  # noqa: ASYNC110 (nothing is told when a connection ends)
                await asyncio.sleep(0.005)


def answering(*answers: bytes) -> Behaviour:
    """Read the request, answer with these bytes in turn (the last again and again), and close."""
    waiting = list(answers)

    async def behave(target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await target.read(reader)
        writer.write(waiting.pop(0) if len(waiting) > 1 else waiting[0])
        await writer.drain()

    return behave


def then_silent(answer: bytes = b"") -> Behaviour:
    """Read the request, answer with these bytes, and say no more until the sender goes."""

    async def behave(target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await target.read(reader)
        writer.write(answer)
        await reader.read()

    return behave


def endless(start: bytes, again: bytes, pause: float = 0) -> Behaviour:
    """Read the request, answer without end."""

    async def behave(target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await target.read(reader)
        writer.write(start)
        while True:
            writer.write(again)
            await writer.drain()
            await asyncio.sleep(pause)

    return behave


async def reset(target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Drop the connection with RST."""
    await reader.read(1)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


OK = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@contextlib.asynccontextmanager
async def listening(
    behave: Behaviour, host: str = "127.0.0.1", *, port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Target]:
    """Behave like this to every connection while the context lasts."""
    target = Target(port)
    conversations: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await behave(target, reader, writer)
                writer.close()
        finally:
            target.left += 1
            writer.transport.abort()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target.connections += 1
        conversations.add(asyncio.create_task(converse(reader, writer)))

    server = await asyncio.start_server(accept, host, port, ssl=tls, backlog=500)
    target.port = server.sockets[0].getsockname()[1]
    try:
        yield target
    finally:
        server.close()
        for conversation in conversations:
            conversation.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)
