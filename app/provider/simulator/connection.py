"""One client's connection, HTTP/1.1 over a stream. It knows bytes and requests, and nothing of recordings."""

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass

import h11

from app.provider.simulator.answers import Reply

LARGEST_BODY = 1 << 20
_CHUNK = 1 << 16
_LINGER = 1.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request; the body is decoded from its transfer coding."""

    method: str
    path: str
    query: str
    body: bytes


class BadRequestError(Exception):
    """The client broke the protocol, or sent more than 1 MiB."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Connection:
    """Receives requests and sends replies in turn. OSError, anywhere, means that the client has gone."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._http = h11.Connection(h11.SERVER)
        self._head_only = False

    async def receive(self) -> Request | None:
        """Return the next request, or None if there is no more; BadRequestError if it cannot be read."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        try:
            head = await self._event()
            if not isinstance(head, h11.Request):
                return None
            self._head_only = head.method == b"HEAD"
            body = await self._body()
        except h11.RemoteProtocolError as wrong:
            raise BadRequestError(wrong.error_status_hint, str(wrong)) from wrong
        path, _, query = head.target.decode("latin-1").partition("?")
        return Request(head.method.decode("ascii"), path, query, body)

    async def send(self, reply: Reply) -> None:
        """Send a reply as it is."""
        sized = [*reply.headers, ("Content-Length", str(len(reply.body)))]
        out = self._http.send(h11.Response(status_code=reply.status, headers=sized)) or b""
        out += self._http.send(h11.Data(data=b"" if self._head_only else reply.body)) or b""
        out += self._http.send(h11.EndOfMessage()) or b""
        self._writer.write(out)
        await self._writer.drain()

    @property
    def is_spent(self) -> bool:
        """Whether no further request can follow."""
        return self._http.our_state is not h11.DONE

    async def refuse(self, reply: Reply) -> None:
        """Send a last reply to a request that was not read to its end."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        await self.send(Reply(reply.status, reply.body, (*reply.headers, ("Connection", "close"))))
        self._writer.write_eof()
        # Closing with bytes unread would make the kernel send a reset, which can overtake the reply.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stay_silent(), _LINGER)

    async def stay_silent(self) -> None:
        """Ignore what the client sends, until it goes."""
        while await self._reader.read(_CHUNK):
            pass

    def reset(self) -> None:
        """Break the connection with a TCP reset."""
        raw: socket.socket = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._writer.transport.abort()

    def abort(self) -> None:
        """Close the connection at once, whatever is still unsent."""
        self._writer.transport.abort()

    def close(self) -> None:
        """Close the connection; harmless if it is closed."""
        self._writer.close()

    async def _body(self) -> bytes:
        body = bytearray()
        while not isinstance(event := await self._event(), h11.EndOfMessage):
            if isinstance(event, h11.Data):
                body += event.data
            if len(body) > LARGEST_BODY:
                raise BadRequestError(413, f"the body may have {LARGEST_BODY} bytes at most")
        return bytes(body)

    async def _event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                go_ahead = h11.InformationalResponse(status_code=100, headers=[])
                self._writer.write(self._http.send(go_ahead) or b"")
            self._http.receive_data(await self._reader.read(_CHUNK))
        return event
