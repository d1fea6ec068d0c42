"""What one connection may cost us before a route sees its request: time to arrive, and bytes that are no body.

uvicorn bounds neither: its parser keeps a header that does not end, and waits for the rest of a request for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

HEAD_LIMIT = 64 * 1024
"""Bytes of a request's line and headers together, of its trailers, and of what frames a few bytes of a chunked body."""

REQUEST_TIME = 60.0
"""Seconds in which a request must have arrived, from the connection's or its own first byte to its last: for a batch of
8 MiB that is 140 KB/s."""

FRAMED_AS = 9
"""Bytes that may frame a byte of a chunked body: the smallest chunk has five."""


class TooLarge(Exception):
    """The head of a request, or its trailers, are."""


AT_ONCE = 256 * 1024
"""Bytes that an answer, and others in the same turn of the event loop, may have to leave together."""


class Gathering:
    """A transport that sends the answers begun in one turn of the event loop at its end, each in one piece.

    uvicorn writes an answer's head and its body one after the other, and each way to the socket, with whoever it wakes
    there, costs as much as making a small answer.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._held: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._held:
            if not data.startswith(b"HTTP/"):  # of a stream, whose readers shall not wait for each other
                self._transport.write(data)
                return
            self._loop.call_soon(self._send)
        self._held.append(data)
        self._size += len(data)
        if self._size > AT_ONCE:
            self._send()

    def close(self) -> None:
        self._send()
        self._transport.close()

    def _send(self) -> None:
        held, self._held, self._size = self._held, [], 0
        if held and not self._transport.is_closing():
            self._transport.writelines(held)


class Connection(HttpToolsProtocol):
    """uvicorn's connection, with bounds. One that is full or too slow is answered, if it can be, and closed."""

    request_time = REQUEST_TIME

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._no_body = 0
        self._arriving: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(asyncio.Transport, Gathering(transport, self.loop)))
        self._start()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self._start()  # also for what is no request yet: it ends uvicorn's own patience with idle connections
        self._no_body += len(data)
        super().data_received(data)
        if self._no_body > HEAD_LIMIT and not self.transport.is_closing():
            self._refuse(431, "too many headers")

    # -- the parser's callbacks

    def on_message_begin(self) -> None:
        self._start()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > HEAD_LIMIT:
            raise TooLarge  # the parser stops, and asks send_400_response for an answer
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._no_body = max(0, self._no_body - (1 + FRAMED_AS) * len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._stop()
        self._no_body = 0
        super().on_message_complete()

    # -- refusing

    def send_400_response(self, msg: str) -> None:
        """The parser cannot go on."""
        if self._no_body > HEAD_LIMIT:
            self._refuse(431, "too many headers")
        else:
            self._refuse(400, "no HTTP request")

    def _too_slow(self) -> None:
        self._arriving = None
        if self.flow.read_paused:  # it is us who do not read on
            self._start()
        else:
            self._refuse(408, "the request did not arrive in time")

    def _refuse(self, status: int, reason: str) -> None:
        structlog.get_logger(__name__).info("connection closed", status=status, reason=reason)
        under_way = self.cycle is not None and self.cycle.response_started
        if not under_way or (self.cycle.response_complete and not self.cycle.more_body):
            head = b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
            self.transport.write(STATUS_LINE[status] + head % len(reason) + reason.encode())
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    # -- the time

    def _start(self) -> None:
        if self._arriving is None:
            self._arriving = self.loop.call_later(self.request_time, self._too_slow)

    def _stop(self) -> None:
        if self._arriving is not None:
            self._arriving.cancel()
            self._arriving = None


def server_config(app: ASGIApp, *, shutdown_timeout: int, connection: type[Connection] = Connection) -> uvicorn.Config:
    """How uvicorn serves us, wherever it does."""
    return uvicorn.Config(
        app,
        http=connection,
        log_config=None,
        access_log=False,
        proxy_headers=False,  # a proxy is believed nothing
        lifespan="on",  # FastAPI sets up its telemetry there, if it is switched on
        server_header=False,
        timeout_graceful_shutdown=shutdown_timeout,
    )
