"""Sends one POST to an address that somebody else chose, and lets nobody get inside by it.

Each attempt opens a connection of its own to an address that was looked up and judged for this attempt; the event loop
gets that address, never the name. The name is used for SNI, the certificate and Host. There is no pool, so an attempt
can be cut off at any moment without harm to another. Redirects are answers like any other, and nothing is read from
the environment.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_address

import certifi
import h11

from app.clock import Clock
from app.core.targets import Address, Rules, Target, check_url, why_refused
from app.errors import TargetRefused
from app.outgoing.answers import EXCERPT_LIMIT, Answer, excerpt_of, read_retry_after
from app.outgoing.names import Names

TOTAL_TIME = 15.0
"""Seconds for all of an attempt."""
CONNECT_TIME = 5.0
"""Seconds to look the name up, connect and agree on TLS."""
ANSWER_LIMIT = 16 * 1024
"""Bytes after which no more of an answer is read, headers included."""
MOST_ADDRESSES = 4
"""Addresses of one name that are tried in turn; they share the time to connect."""
_CHUNK = 4096

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""From a name to its addresses; raises OSError."""


class NoAnswer(Exception):
    """The attempt cannot go on; says why in a sentence."""


@dataclass(slots=True)
class Received:
    """An answer, as far as it came."""

    status_code: int | None = None
    retry_after: str | None = None
    body: bytearray = field(default_factory=bytearray)


class Sender:
    """Any number of attempts at the same time; each holds one task and one connection, for 15 s at most."""

    def __init__(
        self, rules: Rules, *, clock: Clock, resolve: Resolve | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self._rules, self._clock = rules, clock
        self._resolve = resolve or Names()
        self._given_tls = tls

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        # Reading all those authorities takes longer than most that happens at a start, and may never be needed.
        return self._given_tls or trusting_context()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send the body and tell what came of it. Never raises for anything the target, its name or its URL does."""
        began = self._clock.monotonic()
        received = Received()
        error = None
        try:
            async with self._clock.timeout(TOTAL_TIME):
                await self._attempt(url, headers, body, received)
        except TimeoutError:
            error = f"no {'answer' if received.status_code is None else 'end of the answer'} within {TOTAL_TIME:.0f} s"
        except NoAnswer as reason:
            error = str(reason)
        return self._answer(began, received, error)

    async def _attempt(self, url: str, headers: Mapping[str, str], body: bytes, received: Received) -> None:
        try:
            target = check_url(url, self._rules)
        except TargetRefused as refusal:
            raise NoAnswer(f"refused: the URL {refusal.detail}") from None
        http = h11.Connection(h11.CLIENT, max_incomplete_event_size=ANSWER_LIMIT + _CHUNK)
        request = _request(http, target, headers, body)
        reader, writer = await self._connect(target)
        try:
            # Nobody waits until all is written: a target may answer, and close, before it has read everything.
            writer.write(request)
            await _receive(http, reader, received)
        except h11.RemoteProtocolError as error:
            raise NoAnswer(f"the answer is no HTTP/1.1: {error}") from None
        except OSError as error:
            raise NoAnswer(f"the connection broke: {_words(error)}") from None
        finally:
            # Closing in good manners would wait for the target.
            writer.transport.abort()

    async def _connect(self, target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        deadline = self._clock.monotonic() + CONNECT_TIME
        try:
            async with self._clock.timeout(CONNECT_TIME):
                addresses = await self._addresses(target)
                return await self._open(target, addresses[:MOST_ADDRESSES], deadline)
        except TimeoutError:
            raise NoAnswer(f"no connection within {CONNECT_TIME:.0f} s") from None

    async def _addresses(self, target: Target) -> Sequence[Address]:
        """All addresses of the host, each of them allowed. One that is not refuses the attempt: see decisions.md."""
        if target.address:
            return [target.address]  # check_url has judged it
        try:
            found = [ip_address(text) for text in await self._resolve(target.host)]
        except (OSError, ValueError) as error:
            raise NoAnswer(f"the name {target.host} cannot be looked up: {_words(error)}") from None
        for address in found:
            reason = why_refused(address, self._rules)
            if reason:
                raise NoAnswer(f"refused: {target.host} has the address {address}, which is {reason}")
        if not found:
            raise NoAnswer(f"the name {target.host} has no address")
        return list(dict.fromkeys(found))

    async def _open(
        self, target: Target, addresses: Sequence[Address], deadline: float
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the first address that takes one; each gets an equal share of the time that is left."""
        secure = target.scheme == "https"
        failures = []
        for left in range(len(addresses), 0, -1):
            address = addresses[-left]
            try:
                async with self._clock.timeout((deadline - self._clock.monotonic()) / left):
                    return await asyncio.open_connection(
                        str(address),
                        target.port,
                        limit=_CHUNK,
                        ssl=self._tls if secure else None,
                        server_hostname=target.host if secure else None,
                    )
            except (OSError, ValueError) as error:
                failures.append(f"{address}: {_words(error)}")
        raise NoAnswer(f"no connection to {'; '.join(failures)}")

    def _answer(self, began: float, received: Received, error: str | None) -> Answer:
        now = self._clock.now()
        return Answer(
            status_code=received.status_code,
            duration_ms=round((self._clock.monotonic() - began) * 1000),
            error=error,
            excerpt=None if received.status_code is None else excerpt_of(bytes(received.body)),
            retry_after=None if received.retry_after is None else read_retry_after(received.retry_after, now),
        )


def trusting_context() -> ssl.SSLContext:
    """TLS 1.2 or newer; trusts the machine's authorities and certifi's, since slim containers have none."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context


def _request(http: h11.Connection, target: Target, headers: Mapping[str, str], body: bytes) -> bytes:
    framing = {
        "Host": target.authority,
        "Content-Length": str(len(body)),
        "Connection": "close",
        "Accept-Encoding": "identity",
        "User-Agent": "recording-status",
    }
    head = h11.Request(method="POST", target=target.path, headers=[*framing.items(), *headers.items()])
    parts = [http.send(event) for event in (head, h11.Data(data=body), h11.EndOfMessage())]
    return b"".join(part for part in parts if part)


async def _receive(http: h11.Connection, reader: asyncio.StreamReader, received: Received) -> None:
    """Read until the answer ends, or enough of it is there."""
    size = 0
    while len(received.body) <= EXCERPT_LIMIT:
        event = http.next_event()
        if event is h11.NEED_DATA:
            if size >= ANSWER_LIMIT:
                break
            data = await reader.read(_CHUNK)
            if not data and received.status_code is None:
                raise NoAnswer("the connection was closed without an answer")
            size += len(data)
            http.receive_data(data)
        elif isinstance(event, h11.Response):
            received.status_code = event.status_code
            received.retry_after = next((_text(value) for name, value in event.headers if name == b"retry-after"), None)
        elif isinstance(event, h11.Data):
            received.body += event.data
        elif not isinstance(event, h11.InformationalResponse):
            return
    if received.status_code is None:
        raise NoAnswer(f"more than {ANSWER_LIMIT // 1024} KiB of headers")


def _text(value: bytes) -> str:
    return value.decode("latin-1")


def _words(error: Exception) -> str:
    """An error in words, without numbers and places of libraries."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or error})"
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionResetError):
        return "connection reset"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
