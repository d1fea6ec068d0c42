"""A client that is cheaper than what it measures: HTTP/1.1 by hand, so many connections, each with one request at a
time."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from bench.report import quantile

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


@dataclass(slots=True)
class Blows:
    """What came back: seconds each answer took, bytes of bodies, and how often each status was seen."""

    seconds: float
    took: list[float] = field(default_factory=list)
    body_bytes: int = 0
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.took) / self.seconds

    @property
    def throughput(self) -> float:
        """Bytes of bodies a second."""
        return self.body_bytes / self.seconds

    @property
    def p99(self) -> float:
        """Seconds."""
        return quantile(self.took, 0.99)


def request(method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """A request as it goes over the wire."""
    given = {"Host": "127.0.0.1", **headers}
    if body:
        given |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class _Striker(asyncio.Protocol):
    """One connection."""

    def __init__(self, requests: Iterator[bytes], blows: Blows, until: float) -> None:
        self._requests, self._blows, self._until = requests, blows, until
        self._loop = asyncio.get_running_loop()
        self._buffer, self._wanted, self._status, self._sent_at = b"", -1, 0, 0.0
        self.done: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._strike()

    def _strike(self) -> None:
        self._sent_at = self._loop.time()
        following = next(self._requests, None) if self._sent_at < self._until else None
        if following is None:
            self._transport.close()
            return
        self._transport.write(following)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._wanted < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            self._status = int(self._buffer[9:12])
            length = _LENGTH.search(self._buffer, 0, end)
            self._wanted = end + 4 + (int(length[1]) if length and self._status != 304 else 0)
            self._blows.body_bytes += self._wanted - end - 4
        if len(self._buffer) >= self._wanted:
            self._buffer, self._wanted = b"", -1
            self._blows.took.append(self._loop.time() - self._sent_at)
            self._blows.statuses[self._status] += 1
            self._strike()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def hammer(url: str, requests: Iterator[bytes], *, connections: int, seconds: float) -> Blows:
    """Send requests over so many connections for so many seconds, or until there are none left."""
    loop, at = asyncio.get_running_loop(), urlsplit(url)
    host, port = at.hostname or "", at.port or 80
    began, blows = loop.time(), Blows(seconds)
    strikers = [
        (await loop.create_connection(lambda: _Striker(requests, blows, began + seconds), host, port))[1]
        for _ in range(connections)
    ]
    await asyncio.gather(*(one.done for one in strikers))
    blows.seconds = loop.time() - began
    return blows
