"""A small web server on loopback that callbacks are sent to, and what it got."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from app.provider.simulator.answers import Reply
from app.provider.simulator.connection import Connection


@dataclass
class Receiver:
    """Answers with these replies in turn, then with 200. `bodies` and `stamps` (monotonic) tell what arrived."""

    url: str
    replies: list[Reply] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    stamps: list[float] = field(default_factory=list)

    async def has(self, count: int, within: float = 5.0) -> list[bytes]:
        """Wait until so many bodies have arrived, and return them."""
        async with asyncio.timeout(within):
            while len(self.bodies) < count:  # noqa: ASYNC110 (an arrival sets no event)
                await asyncio.sleep(0.005)
        return self.bodies

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        with contextlib.suppress(OSError):
            while (request := await connection.receive()) is not None:
                self.bodies.append(request.body)
                self.stamps.append(time.monotonic())
                reply = self.replies.pop(0) if self.replies else Reply()
                if reply.reset:
                    connection.reset()
                    return
                await connection.send(reply)
        connection.close()


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[Receiver]:
    """Receive while the context lasts."""
    receiver = Receiver("")
    conversations: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversations.add(asyncio.create_task(receiver.converse(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/callbacks"
    try:
        yield receiver
    finally:
        server.close()
        for conversation in conversations:
            conversation.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)
