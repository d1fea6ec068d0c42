"""Doors that the failure drill opens and shuts: the way to the provider, and the way of callbacks to the service."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import httpx

from app.provider.simulator.answers import Reply
from app.provider.simulator.connection import BadRequestError, Connection

HOST = "127.0.0.1"
CHUNK = 1 << 16


class Gate:
    """Passes TCP connections on. While it is shut, connections are refused and those there were are broken off."""

    def __init__(self, to: httpx.URL) -> None:
        self._to, self.port = to, 0
        self._listener: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    async def open(self) -> None:
        self._listener = await asyncio.start_server(self._accept, HOST, self.port, backlog=1024)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for one in self._passing:
            one.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        one = asyncio.create_task(self._pass(reader, writer))
        self._passing.add(one)
        one.add_done_callback(self._passing.discard)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Both ways, until either side ends or breaks off."""
        try:
            there, back = await asyncio.open_connection(self._to.host, self._to.port)
        except OSError:
            writer.transport.abort()
            return
        ways = [asyncio.create_task(_copy(reader, back)), asyncio.create_task(_copy(there, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (back, writer):
                end.close()  # what was written is still delivered, as by a network


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def gate(to: str) -> AsyncIterator[Gate]:
    """An open gate."""
    one = Gate(httpx.URL(to))
    await one.open()
    try:
        yield one
    finally:
        await one.shut()


Heard = tuple[str, int, int]
"""What tells a callback from the others: task, event type, sequence."""


class Front:
    """A load balancer for callbacks: passes each to an api process that is up, and remembers which were acknowledged.

    ``ups`` names the processes' addresses, those to be asked first in front.
    """

    PATIENCE = 2.0
    """Seconds until the next process is tried."""

    def __init__(self, ups: Callable[[], Sequence[str]], client: httpx.AsyncClient) -> None:
        self._ups, self._client = ups, client
        self.acknowledged: Counter[Heard] = Counter()
        self.statuses: Counter[int] = Counter()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/v1/callbacks/zego"

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        try:
            while (request := await connection.receive()) is not None:
                await connection.send(Reply(await self._pass_on(request.body)))
                if connection.is_spent:
                    break
        except (BadRequestError, OSError):
            pass  # the sender hung up
        finally:
            connection.close()

    async def _pass_on(self, body: bytes) -> int:
        for url in self._ups():
            try:
                answer = await self._client.post(f"{url}/v1/callbacks/zego", content=body)
            except httpx.HTTPError:
                self.statuses[0] += 1
                continue
            self.statuses[answer.status_code] += 1
            if answer.is_success:
                said = json.loads(body)
                self.acknowledged[said["task_id"], said["event_type"], said["sequence"]] += 1
                return 200
        return 502


@asynccontextmanager
async def front(ups: Callable[[], Sequence[str]]) -> AsyncIterator[Front]:
    """A front that listens."""
    async with httpx.AsyncClient(
        trust_env=False, timeout=Front.PATIENCE, limits=httpx.Limits(max_connections=None)
    ) as client:
        one = Front(ups, client)
        listener = await asyncio.start_server(one.converse, HOST, 0, backlog=256)
        one.port = listener.sockets[0].getsockname()[1]
        try:
            yield one
        finally:
            listener.close()
