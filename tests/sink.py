"""A subscriber: takes webhooks in over real HTTP, and answers as it is told to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from app.core.signing import parse_webhook_secret, webhook_headers
from app.settings import Settings
from tests.world import MakeSettings


@dataclass(frozen=True, slots=True)
class Letter:
    """A webhook as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def said(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.body)
        return said

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = self.said["data"]
        return event


@dataclass(frozen=True, slots=True)
class Reply:
    """``wait``: answered only once this happens; ``delay``: or after so many seconds."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    wait: asyncio.Event | None = None
    delay: float = 0.0


class Sink:
    """Where webhooks arrive. ``answer`` says what becomes of each."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []
        self.answer: Callable[[Letter], Reply] = lambda letter: Reply()
        self.arrived = asyncio.Event()
        self.under_way: dict[str, int] = {}
        self.most: dict[str, int] = {}
        """By path: how many requests were under way at once."""
        self.port = 0
        self._conversations: set[asyncio.Task[None]] = set()

    def url(self, path: str = "/hook") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def settings(self, make: MakeSettings, **more: Any) -> Settings:
        """Settings by which webhooks may come here."""
        return make(
            webhook_allow_http=True,
            webhook_allowed_networks="127.0.0.0/8",
            webhook_allowed_ports=f"443,80,9,{self.port}",
            **more,
        )

    def ids(self, path: str = "/hook") -> list[str]:
        return [letter.id for letter in self.letters if letter.path == path]

    def types(self, path: str = "/hook") -> list[str]:
        return [letter.said["type"] for letter in self.letters if letter.path == path]

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = asyncio.create_task(self._converse(reader, writer))
        self._conversations.add(conversation)
        conversation.add_done_callback(self._conversations.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError):
            while True:
                first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                reply = await self._take(Letter(first.split()[1], headers, body))
                head = {"content-length": str(len(reply.body)), **reply.headers}
                text = "".join(f"{name}: {value}\r\n" for name, value in head.items())
                writer.write(f"HTTP/1.1 {reply.status} Any\r\n{text}\r\n".encode() + reply.body)
                await writer.drain()
        writer.close()

    async def _take(self, letter: Letter) -> Reply:
        now = self.under_way[letter.path] = self.under_way.get(letter.path, 0) + 1
        self.most[letter.path] = max(self.most.get(letter.path, 0), now)
        self.letters.append(letter)
        self.arrived.set()
        try:
            reply = self.answer(letter)
            if reply.wait:
                await reply.wait.wait()
            await asyncio.sleep(reply.delay)
            return reply
        finally:
            self.under_way[letter.path] -= 1

    async def close(self) -> None:
        for conversation in self._conversations:
            conversation.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)


@asynccontextmanager
async def open_sink() -> AsyncIterator[Sink]:
    """A sink on a free port of this machine."""
    sink = Sink()
    server = await asyncio.start_server(sink.accept, "127.0.0.1", 0)
    sink.port = server.sockets[0].getsockname()[1]
    try:
        yield sink
    finally:
        server.close()
        await sink.close()
        await server.wait_closed()


def is_signed_by(letter: Letter, secret: str) -> bool:
    """Whether one of its signatures is by this secret."""
    at = datetime.fromtimestamp(int(letter.headers["webhook-timestamp"]), UTC)
    own = webhook_headers(letter.id, at, letter.body, [parse_webhook_secret(secret)])["webhook-signature"]
    return own in letter.headers["webhook-signature"].split()
